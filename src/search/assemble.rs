//! The last step of a search: texts, metadata and neighbours of one page of hits.

use crate::collection::Collection;
use crate::collection::snapshot::Snapshot;
use crate::error::Result;
use crate::search::Ranked;
use crate::search::plan::Plan;
use crate::search::response::{Explain, Hit, Neighbour, Span};
use crate::segment::SourcePart;
use crate::segment::source::{ChunkEntry, DocumentEntry};

/// Reads the hits of a page.
pub fn assemble(snapshot: &Snapshot, page: &[Ranked], plan: &Plan) -> Result<Vec<Hit>> {
    page.iter().map(|ranked| hit(snapshot, ranked, plan)).collect()
}

fn hit(snapshot: &Snapshot, ranked: &Ranked, plan: &Plan) -> Result<Hit> {
    let (source, chunk, entry) = place(snapshot, ranked)?;
    let head = source.head(&entry)?;
    let number = ranked.row.saturating_sub(entry.first_row);
    let first = number.saturating_sub(plan.expand.before);
    let last = (number + plan.expand.after).min(entry.rows.saturating_sub(1));
    let explain = plan.explain.then_some(Explain {
        dense: ranked.dense,
        lexical: ranked.lexical,
        fused: ranked.fused,
        rerank: ranked.rerank,
    });
    Ok(Hit {
        document_id: source.id(&entry)?.to_owned(),
        chunk: number,
        chunks: entry.rows,
        score: ranked.score,
        text: source.text_range(&entry, chunk.byte_start..chunk.byte_end)?,
        title: head.title,
        headings: source.headings(&chunk)?,
        uri: head.uri,
        metadata: head.metadata,
        span: span(&chunk),
        before: neighbours(source, &entry, first..number)?,
        after: neighbours(source, &entry, number + 1..last + 1)?,
        explain,
    })
}

/// The text that was embedded for a hit: title and headings before the chunk.
pub fn embedded_text(collection: &Collection, snapshot: &Snapshot, ranked: &Ranked) -> Result<String> {
    let (source, chunk, entry) = place(snapshot, ranked)?;
    let (head, headings) = (source.head(&entry)?, source.headings(&chunk)?);
    let text = source.text_range(&entry, chunk.byte_start..chunk.byte_end)?;
    let tokenizer = collection.tokenizer()?;
    Ok(collection.chunker.embedded_text(&*tokenizer, head.title.as_deref(), &headings, &text))
}

fn place<'a>(snapshot: &'a Snapshot, ranked: &Ranked) -> Result<(&'a SourcePart, ChunkEntry, DocumentEntry)> {
    let source = snapshot.segments[ranked.segment as usize].segment.source()?;
    let chunk = source.chunk(ranked.row)?;
    let entry = source.document(chunk.document)?;
    Ok((source, chunk, entry))
}

fn neighbours(
    source: &SourcePart,
    entry: &DocumentEntry,
    numbers: std::ops::Range<u32>,
) -> Result<Vec<Neighbour>> {
    numbers
        .map(|number| {
            let chunk = source.chunk(entry.first_row + number)?;
            let text = source.text_range(entry, chunk.byte_start..chunk.byte_end)?;
            Ok(Neighbour { chunk: number, text, span: span(&chunk) })
        })
        .collect()
}

fn span(chunk: &ChunkEntry) -> Span {
    Span {
        byte_start: chunk.byte_start,
        byte_end: chunk.byte_end,
        char_start: chunk.char_start,
        char_end: chunk.char_end,
    }
}
