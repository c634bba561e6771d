//! Engines, definitions, documents and requests as the tests need them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gleaner::collection::definition::{
    Analyzer, ChunkingDefinition, ChunkingStrategy, Definition, EmbeddingDefinition, TextDefinition,
};
use gleaner::collection::remote::{EmbeddingEncoding, RemoteEmbedding};
use gleaner::collection::verify::{VerifyReport, verify};
use gleaner::dispatch::ProviderAccess;
use gleaner::document::{BatchItem, Document, StoredDocument};
use gleaner::engine::{Engine, EngineConfig};
use gleaner::search::request::SearchRequest;
use gleaner::search::response::Hit;
use gleaner::store::OsDisk;
use gleaner::{Code, Result};
use serde_json::Value;

/// How the tests open a data directory.
pub fn config(dir: &Path) -> EngineConfig {
    let disk = Arc::new(OsDisk);
    EngineConfig {
        data_dir: dir.to_owned(),
        threads: 2,
        models_dir: "models".into(),
        disk,
        max_waiting_bytes: 1 << 30,
        provider_access: ProviderAccess::default(),
        embedding_cache_bytes: 64 << 20,
    }
}

/// Opens a data directory; waits for an engine before it that is still being dropped.
pub async fn open(dir: &Path) -> Arc<Engine> {
    try_open(dir).await.unwrap_or_else(|error| panic!("the engine does not open: {error}"))
}

/// Like [`open`], with the error.
pub async fn try_open(dir: &Path) -> Result<Arc<Engine>> {
    loop {
        match Engine::open(config(dir)).await {
            Err(error) if error.code == Code::Locked => tokio::time::sleep(Duration::from_millis(2)).await,
            other => return other,
        }
    }
}

/// Shuts an engine down.
pub async fn close(engine: Arc<Engine>) {
    engine.shutdown().await;
}

/// Checks a data directory whose engine is shut down.
pub fn verified(dir: &Path) -> VerifyReport {
    loop {
        match verify(dir) {
            Err(error) if error.code == Code::Locked => std::thread::sleep(Duration::from_millis(2)),
            other => return other.unwrap(),
        }
    }
}

/// No vectors, chunks of a few words, words as they are.
pub fn lexical() -> Definition {
    Definition {
        embedding: EmbeddingDefinition::None {},
        chunking: ChunkingDefinition {
            strategy: ChunkingStrategy::Text,
            max_tokens: Some(16),
            overlap_tokens: 0,
        },
        text: TextDefinition { analyzer: Analyzer::Plain, ..TextDefinition::default() },
        ..Definition::default()
    }
}

/// Vectors from the client; a document is one chunk.
pub fn client(dimensions: u32) -> Definition {
    Definition { embedding: EmbeddingDefinition::Client { dimensions }, ..lexical() }
}

/// Two dimensions from a provider at that address.
pub fn openai(base_url: &str) -> Definition {
    let remote = RemoteEmbedding {
        base_url: Some(base_url.into()),
        api_key_env: Some(String::new()),
        encoding: EmbeddingEncoding::Float,
        ..RemoteEmbedding::new("test", 2)
    };
    let embedding = EmbeddingDefinition::Openai(remote);
    Definition { embedding, ..lexical() }
}

pub fn document(id: &str, text: &str) -> Document {
    Document { id: Some(id.into()), text: text.into(), ..Document::default() }
}

pub fn items(documents: impl IntoIterator<Item = Document>) -> Vec<BatchItem> {
    documents.into_iter().map(Ok).collect()
}

pub fn metadata(value: Value) -> gleaner::document::Metadata {
    value.as_object().unwrap().clone()
}

/// The `n`-th of words that no analyzer shortens, splits or confuses with another.
pub fn word(prefix: char, mut n: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrtv";
    let mut word = String::from(prefix);
    for _ in 0..5 {
        word.push(char::from(LETTERS[(n % 16) as usize]));
        n /= 16;
    }
    word.push('x');
    word
}

/// A search for up to 1000 hits.
pub fn query(text: &str) -> SearchRequest {
    SearchRequest {
        query: Some(text.into()),
        limit: Some(1000),
        window: Some(10_000),
        ..SearchRequest::default()
    }
}

/// All hits, over all pages.
pub async fn all_hits(engine: &Engine, collection: &str, mut request: SearchRequest) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    loop {
        let response = engine.search(collection, request.clone()).await?;
        assert!(!response.status.degraded, "{:?}", response.status);
        hits.extend(response.hits);
        match response.next_cursor {
            Some(next) => request.cursor = Some(next),
            None => return Ok(hits),
        }
    }
}

/// Ids of the documents that are found, ascending, each once.
pub async fn found(engine: &Engine, collection: &str, request: SearchRequest) -> Result<Vec<String>> {
    let hits = all_hits(engine, collection, request).await?;
    let ids: std::collections::BTreeSet<_> = hits.into_iter().map(|hit| hit.document_id).collect();
    Ok(ids.into_iter().collect())
}

/// All documents that pass the filter, in the order of the list, over pages of `limit`.
pub async fn listed(
    engine: &Engine,
    collection: &str,
    limit: usize,
    filter: Option<&Value>,
) -> Result<Vec<StoredDocument>> {
    let mut documents = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = engine.documents(collection, after.as_deref(), limit, filter).await?;
        assert!(page.documents.len() <= limit);
        documents.extend(page.documents);
        after = page.next;
        if after.is_none() {
            return Ok(documents);
        }
    }
}
