//! A consistent, immutable view of a collection: what a query holds from start to end.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::rows::RowSet;
use crate::segment::source::DocumentEntry;
use crate::segment::{Segment, SourcePart};

/// A segment with the rows that are deleted in it.
#[derive(Clone, Debug)]
pub struct LiveSegment {
    /// The immutable parts.
    pub segment: Arc<Segment>,
    /// Rows of deleted documents.
    pub deleted: Arc<RoaringBitmap>,
    /// The other rows; `None` while nothing is deleted.
    pub alive: Option<Arc<RowSet>>,
    /// How many documents are not deleted.
    pub live_documents: u32,
}

impl LiveSegment {
    /// Joins a segment with its deleted rows.
    pub fn new(segment: Arc<Segment>, deleted: Arc<RoaringBitmap>) -> LiveSegment {
        let alive = (!deleted.is_empty()).then(|| {
            let mut rows = RowSet::from_bitmap(&deleted, segment.rows());
            rows.invert();
            Arc::new(rows)
        });
        let gone = segment.source().map_or(0, |source| {
            let (mut rows, mut gone) = (deleted.iter(), 0);
            while let Some(row) = rows.next()
                && let Ok(entry) = source.chunk(row).and_then(|chunk| source.document(chunk.document))
            {
                gone += 1;
                rows.advance_to(entry.row_range().end); // its other rows are deleted too
            }
            gone
        });
        let live_documents = segment.record.documents.saturating_sub(gone);
        LiveSegment { segment, deleted, alive, live_documents }
    }

    /// Rows that are not deleted.
    pub fn live_rows(&self) -> u32 {
        self.alive.as_ref().map_or(self.segment.rows(), |alive| alive.len())
    }

    /// Whether `row` is not deleted.
    pub fn is_alive(&self, row: u32) -> bool {
        self.alive.as_ref().is_none_or(|alive| alive.contains(row))
    }

    /// The rows that are not deleted.
    pub fn alive_rows(&self) -> RowSet {
        self.alive.as_ref().map_or_else(|| RowSet::full(self.segment.rows()), |alive| (**alive).clone())
    }

    /// The live document of that id.
    pub fn find(&self, id: &str) -> Result<Option<(&SourcePart, DocumentEntry)>> {
        let source = self.segment.source()?;
        Ok(source.find(id)?.filter(|entry| self.is_alive(entry.first_row)).map(|entry| (source, entry)))
    }
}

/// A consistent view of a collection.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Oldest first.
    pub segments: Vec<LiveSegment>,
    /// BM25 statistics over these segments, made by the first lexical search.
    pub statistics: std::sync::OnceLock<Arc<crate::text::Statistics>>,
}

impl Snapshot {
    /// A view of these segments, in the order of their ids: the same after a restart.
    pub fn new(mut segments: Vec<LiveSegment>) -> Snapshot {
        segments.sort_by_key(|live| live.segment.record.id);
        Snapshot { segments, statistics: std::sync::OnceLock::new() }
    }

    /// The live document of that id.
    pub fn find(&self, id: &str) -> Result<Option<(&SourcePart, DocumentEntry)>> {
        for live in &self.segments {
            if let Some(found) = live.find(id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Searchable documents.
    pub fn documents(&self) -> u64 {
        self.segments.iter().map(|live| u64::from(live.live_documents)).sum()
    }

    /// Searchable chunks.
    pub fn chunks(&self) -> u64 {
        self.segments.iter().map(|live| u64::from(live.live_rows())).sum()
    }
}
