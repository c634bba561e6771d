//! The middle of the write path: accepted documents become chunks, vectors and metadata terms.

use std::sync::Arc;

use rayon::prelude::*;

use crate::chunk::{Chunk, Tokenizer};
use crate::collection::Collection;
use crate::collection::definition::EmbeddingDefinition;
use crate::collection::inbox::AcceptedDocument;
use crate::document::ItemResult;
use crate::embed::{EmbedError, Kind};
use crate::error::{Error, Result};
use crate::ingest::receive::{failure, of_document};
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
}

/// Chunks and embeds documents. A document that cannot be prepared fails alone; an error means that none
/// could be and that trying again may help (gleaner is shutting down).
pub async fn prepare(collection: &Arc<Collection>, documents: Vec<AcceptedDocument>) -> Result<Prepared> {
    let chunker = Arc::clone(collection);
    let chunked = collection.shared.pools.build.run(move || chunk_all(&chunker, documents)).await?;
    let (mut ready, mut failures) = (Vec::new(), Vec::new());
    for (version, index, id, result) in chunked? {
        match result {
            Ok(document) => ready.push((index, document)),
            Err(error) => failures.push((version, failure(index, Some(id), &error))),
        }
    }
    if let Some(embedder) = &collection.embedder {
        let (reader, documents) = (Arc::clone(collection), ready);
        let job = move || embedded_texts(&reader, &documents).map(|texts| (texts, documents));
        let texts;
        (texts, ready) = collection.shared.pools.build.run(job).await??;
        match embedder.embed(texts, Kind::Document).await {
            Ok(embeddings) => {
                let mut rows = embeddings.values.as_slice();
                for (_, document) in &mut ready {
                    let (own, rest) = rows.split_at(document.chunks.len() * embeddings.dimensions);
                    document.vectors = own.to_vec();
                    rows = rest;
                }
            }
            Err(error @ EmbedError::Cancelled) => return Err(error.into()),
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
    Ok(Prepared { documents: ready.into_iter().map(|(_, document)| document).collect(), failures })
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
