//! The middle of the write path: accepted documents become chunks, vectors and metadata terms.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::chunk::{Chunk, Tokenizer};
use crate::collection::Collection;
use crate::collection::definition::EmbeddingDefinition;
use crate::collection::inbox::AcceptedDocument;
use crate::dispatch::Usage;
use crate::document::ItemResult;
use crate::embed::{EmbedError, Embeddings, Kind};
use crate::error::{Error, Result};
use crate::ingest::receive::{failure, of_document};
use crate::runtime::Stop;
use crate::segment::build::PreparedDocument;
use crate::segment::source::Head;
use crate::text::metadata;

/// Prepared documents, and those that could not be.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Ready to be written.
    pub documents: Vec<PreparedDocument>,
    /// Why the others are not, by version.
    pub failures: Vec<(u64, ItemResult)>,
    /// What embedding them cost.
    pub usage: Usage,
    /// It was stopped: the others are not known yet. What was embedded is in the cache.
    pub stopped: bool,
}

/// What became of some chunks of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// They were cut.
    Chunked,
    /// They have their vectors.
    Embedded,
}

/// Is told a document's version, and what became of how many of its chunks.
pub type OnProgress<'a> = dyn Fn(u64, Step, u64) + Send + Sync + 'a;

/// Chunks and embeds documents. A document that cannot be prepared fails alone; an error means that it broke off and
/// that trying again may help. It stops when the collection closes, and when `unwanted` says so, which is asked at each
/// change of the collection.
pub async fn prepare(
    collection: &Arc<Collection>,
    documents: Vec<AcceptedDocument>,
    on_progress: &OnProgress<'_>,
    unwanted: &(dyn Fn() -> bool + Sync),
) -> Result<Prepared> {
    let chunker = Arc::clone(collection);
    let chunked = collection.shared.pools.build.run(move || chunk_all(&chunker, documents)).await?;
    let (mut ready, mut failures, mut usage) = (Vec::new(), Vec::new(), Usage::default());
    for (version, index, id, result) in chunked? {
        match result {
            Ok(document) => {
                on_progress(version, Step::Chunked, document.chunks.len() as u64);
                ready.push((index, document));
            }
            Err(error) => failures.push((version, failure(index, Some(id), &error))),
        }
    }
    if let Some(embedder) = &collection.embedder {
        let (reader, documents) = (Arc::clone(collection), ready);
        let job = move || embedded_texts(&reader, &documents).map(|texts| (texts, documents));
        let texts;
        (texts, ready) = collection.shared.pools.build.run(job).await??;
        let owners = owners(&ready);
        let arrived = |first: usize, values: &[f32]| {
            let arrived = first..first + values.len() / embedder.model().dimensions.max(1);
            for (version, chunks) in overlaps(&owners, arrived) {
                on_progress(version, Step::Embedded, chunks);
            }
        };
        let stop = Stop::new();
        let stopping = async {
            let _ = collection.wait_until(|_| unwanted()).await; // an error: it closes
            stop.stop();
            std::future::pending().await
        };
        let embedded = tokio::select! {
            embedded = embedder.embed_each(texts, Kind::Document, &arrived, &stop) => embedded,
            never = stopping => never,
        };
        match embedded {
            Ok(embeddings) => {
                usage = embeddings.usage;
                collection.spend(usage);
                if embeddings.failures.iter().any(|(_, error)| matches!(error, EmbedError::Cancelled)) {
                    return Ok(Prepared { usage, stopped: true, ..Prepared::default() });
                }
                let (whole, failed) = with_vectors(ready, &embeddings);
                ready = whole;
                failures.extend(failed);
            }
            Err(EmbedError::Cancelled) => return Ok(Prepared { stopped: true, ..Prepared::default() }),
            Err(error) => {
                let error = Error::from(error);
                failures.extend(
                    ready.drain(..).map(|(index, document)| {
                        (document.version, failure(index, Some(document.id), &error))
                    }),
                );
            }
        }
    }
    let documents = ready.into_iter().map(|(_, document)| document).collect();
    Ok(Prepared { documents, failures, usage, stopped: false })
}

/// A document and its index in the request.
type Indexed = (usize, PreparedDocument);

/// Gives the documents their chunks' vectors. A document that has a chunk without one fails, with that chunk's
/// reason; the others do not.
fn with_vectors(documents: Vec<Indexed>, embeddings: &Embeddings) -> (Vec<Indexed>, Vec<(u64, ItemResult)>) {
    let (mut ready, mut failures) = (Vec::with_capacity(documents.len()), Vec::new());
    let mut faults = embeddings.failures.iter().peekable();
    let mut first = 0;
    for (index, mut document) in documents {
        let end = first + document.chunks.len();
        let mut reason = None;
        while let Some((_, error)) = faults.next_if(|(text, _)| *text < end) {
            reason = reason.or(Some(error));
        }
        match reason {
            Some(error) => {
                let error = Error::from(error.clone());
                failures.push((document.version, failure(index, Some(document.id), &error)));
            }
            None => {
                let own = first * embeddings.dimensions..end * embeddings.dimensions;
                document.vectors = embeddings.values[own].to_vec();
                ready.push((index, document));
            }
        }
        first = end;
    }
    (ready, failures)
}

/// Whose the chunks are: the end of each document's chunks, and its version.
fn owners(documents: &[(usize, PreparedDocument)]) -> Vec<(usize, u64)> {
    let mut end = 0;
    let next = |(_, document): &(usize, PreparedDocument)| {
        end += document.chunks.len();
        (end, document.version)
    };
    documents.iter().map(next).collect()
}

/// How many of the chunks in `range` each document has.
fn overlaps(owners: &[(usize, u64)], range: Range<usize>) -> impl Iterator<Item = (u64, u64)> {
    let (first, start) = (owners.partition_point(|&(end, _)| end <= range.start), range.start);
    let own = move |start: &mut usize, &(end, version): &(usize, u64)| {
        let chunks = (*start < range.end).then(|| end.min(range.end) - *start)?;
        *start = end;
        Some((version, chunks as u64))
    };
    owners[first..].iter().scan(start, own).filter(|&(_, chunks)| chunks > 0)
}

/// Version, index in the request, id, and the document without its vectors.
type Chunked = (u64, usize, String, Result<PreparedDocument>);

fn chunk_all(collection: &Collection, documents: Vec<AcceptedDocument>) -> Result<Vec<Chunked>> {
    let tokenizer = collection.tokenizer()?;
    let prepare = |accepted: AcceptedDocument| {
        let (version, index, id) = (accepted.version, accepted.index, accepted.id.clone());
        let chunked = chunk_one(collection, &*tokenizer, accepted);
        (version, index, id, chunked.map_err(|error| of_document(index, error)))
    };
    Ok(documents.into_par_iter().map(prepare).collect())
}

fn chunk_one(
    collection: &Collection,
    tokenizer: &dyn Tokenizer,
    accepted: AcceptedDocument,
) -> Result<PreparedDocument> {
    let AcceptedDocument { version, index, id, document } = accepted;
    let terms = metadata::terms(&document.metadata)?;
    let chunks = match collection.definition().embedding {
        // the client's vector stands for the whole document
        EmbeddingDefinition::Client { .. } => vec![whole(&document.text)],
        _ => collection.chunker.chunk(tokenizer, document.title.as_deref(), &document.text),
    };
    if chunks.is_empty() {
        return Err(Error::invalid("text", "the text holds nothing that can be indexed"));
    }
    let head = Head { title: document.title, uri: document.uri, metadata: document.metadata };
    let vectors = document.vector.unwrap_or_default();
    Ok(PreparedDocument { id, version, index, head, text: document.text, chunks, terms, vectors })
}

/// A chunk that is the whole text.
fn whole(text: &str) -> Chunk {
    let chars = text.chars().count() as u32;
    Chunk { bytes: 0..text.len() as u32, chars: 0..chars, headings: Vec::new(), tokens: 0 }
}

/// What the embedder sees of each chunk, in order.
fn embedded_texts(collection: &Collection, documents: &[(usize, PreparedDocument)]) -> Result<Vec<String>> {
    let tokenizer = collection.tokenizer()?;
    let of_document = |(_, document): &(usize, PreparedDocument)| {
        let title = document.head.title.as_deref();
        let texts = document.chunks.iter().map(|chunk| {
            let text = &document.text[chunk.bytes.start as usize..chunk.bytes.end as usize];
            collection.chunker.embedded_text(&*tokenizer, title, &chunk.headings, text)
        });
        texts.collect::<Vec<_>>()
    };
    Ok(documents.par_iter().flat_map_iter(of_document).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_arrive_are_counted_for_their_documents() {
        let owners = [(3, 70), (3, 71), (5, 72), (9, 73)];
        let told = |range| overlaps(&owners, range).collect::<Vec<_>>();
        assert_eq!(told(0..9), [(70, 3), (72, 2), (73, 4)]);
        assert_eq!(told(2..6), [(70, 1), (72, 2), (73, 1)]);
        assert_eq!(told(4..5), [(72, 1)]);
        assert_eq!(told(3..3), []);
        assert_eq!(told(9..12), []);
    }
}
