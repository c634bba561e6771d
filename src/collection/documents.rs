//! Reading documents back: one by id, and pages in the order of the ids.

use crate::collection::Collection;
use crate::document::{DocumentPage, StoredDocument};
use crate::error::{Code, Error, Result};
use crate::rows::RowSet;
use crate::segment::SourcePart;
use crate::segment::source::DocumentEntry;
use crate::text::filter::Filter;

/// A document with its text.
pub fn get(collection: &Collection, id: &str) -> Result<StoredDocument> {
    let snapshot = collection.snapshot();
    let (source, entry) = snapshot.find(id)?.ok_or_else(|| not_found(&collection.record.name, id))?;
    let text = source.text(&entry)?;
    Ok(StoredDocument { text: Some(text), ..stored(source, &entry)? })
}

/// The error for a document that is not there.
pub fn not_found(collection: &str, id: &str) -> Error {
    let message = format!("the collection `{collection}` has no document `{id}`");
    Error::new(Code::DocumentNotFound, message).with_param("id")
}

/// At most `limit` documents without their texts, in the order of their ids, from after `after`.
pub fn list(
    collection: &Collection,
    after: Option<&str>,
    limit: usize,
    filter: Option<&Filter>,
) -> Result<DocumentPage> {
    let snapshot = collection.snapshot();
    let mut cursors = Vec::with_capacity(snapshot.segments.len());
    for live in &snapshot.segments {
        let mut allowed = live.alive_rows();
        if let Some(filter) = filter {
            allowed.and(&filter.rows(live.segment.text()?)?);
        }
        let source = live.segment.source()?;
        let rank = after.map_or(Ok(0), |after| source.id_rank(after, true))?;
        let mut cursor = Cursor { source, allowed, rank, next: None };
        cursor.advance()?;
        cursors.push(cursor);
    }
    let mut documents = Vec::new();
    // merges the segments' sorted ids; a live id is in one segment only
    while documents.len() <= limit {
        let first = cursors.iter_mut().filter(|cursor| cursor.next.is_some());
        let Some(cursor) = first.min_by(|a, b| a.id().cmp(&b.id())) else { break };
        if let Some((_, entry)) = cursor.next.take() {
            documents.push(stored(cursor.source, &entry)?);
        }
        cursor.advance()?;
    }
    let more = documents.len() > limit;
    documents.truncate(limit);
    let next = documents.last().filter(|_| more).map(|last| last.id.clone());
    Ok(DocumentPage { documents, next })
}

/// A walk over the allowed documents of a segment in the order of their ids.
struct Cursor<'a> {
    source: &'a SourcePart,
    allowed: RowSet,
    rank: u32,
    next: Option<(&'a str, DocumentEntry)>,
}

impl Cursor<'_> {
    fn id(&self) -> Option<&str> {
        self.next.as_ref().map(|(id, _)| *id)
    }

    fn advance(&mut self) -> Result<()> {
        while self.rank < self.source.documents() {
            let (_, entry) = self.source.by_id_rank(self.rank)?;
            self.rank += 1;
            if self.allowed.contains(entry.first_row) {
                self.next = Some((self.source.id(&entry)?, entry));
                break;
            }
        }
        Ok(())
    }
}

fn stored(source: &SourcePart, entry: &DocumentEntry) -> Result<StoredDocument> {
    let head = source.head(entry)?;
    Ok(StoredDocument {
        id: source.id(entry)?.to_owned(),
        title: head.title,
        uri: head.uri,
        metadata: head.metadata,
        text: None,
        chunks: entry.rows,
        version: entry.version,
    })
}
