//! Nothing is embedded twice: [`Cached`] stands around an embedder and asks the [`store`] on disk for documents
//! and the [`queries`] in memory for questions first.
//!
//! A vector belongs to a model, a kind of text and exactly the string that is embedded: title and headings take
//! part, neighbours do not. So a changed paragraph pays for its own chunks, and a renamed heading for all
//! below it. What was embedded is kept as it arrives, before the documents around it are published: a job that
//! is broken off pays only for what is left.

mod queries;
mod store;
mod volume;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use queries::Queries;
pub use queries::QueryStats;
use store::Store;
pub use store::StoreStats;

use super::{Arrived, EmbedError, Embedder, Embeddings, Kind, Model};
use crate::chunk::Tokenizer;
use crate::dispatch::Usage;
use crate::runtime::{Pools, Stop};

/// Names what a vector is of. A hash that nobody can make collide: texts of one client must not get at the
/// vectors of another's.
type Key = [u8; 32];

/// Part of every key: raised when a vector of the same model and text would come out differently.
const RECIPE: u32 = 1;

/// The process's cache.
pub struct EmbeddingCache {
    store: Option<Arc<Store>>,
    queries: Arc<Queries>,
}

/// What the cache holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Documents, on disk.
    pub documents: StoreStats,
    /// Queries, in memory.
    pub queries: QueryStats,
}

impl EmbeddingCache {
    /// A cache whose vectors of documents are in `dir`, at most `max_bytes` bytes of them; 0: they are not kept.
    pub fn new(dir: PathBuf, max_bytes: u64) -> EmbeddingCache {
        let store = (max_bytes > 0).then(|| Arc::new(Store::new(dir, max_bytes)));
        EmbeddingCache { store, queries: Arc::new(Queries::new()) }
    }

    /// `embedder`, asked only for what is not known.
    pub fn around(&self, embedder: Arc<dyn Embedder>, pools: Pools) -> Arc<dyn Embedder> {
        let (store, queries) = (self.store.clone(), Arc::clone(&self.queries));
        Arc::new(Cached { embedder, store, queries, pools })
    }

    /// What it holds and did.
    pub fn stats(&self) -> CacheStats {
        let documents = self.store.as_ref().map(|store| store.stats()).unwrap_or_default();
        CacheStats { documents, queries: self.queries.stats() }
    }
}

/// An embedder that is asked only for what is not known.
struct Cached {
    embedder: Arc<dyn Embedder>,
    store: Option<Arc<Store>>,
    queries: Arc<Queries>,
    pools: Pools,
}

/// The key of a text.
fn key(model: &Model, kind: Kind, text: &str) -> Key {
    let kind = match kind {
        Kind::Document => b'd',
        Kind::Query => b'q',
    };
    let mut hash = Sha256::new();
    hash.update(RECIPE.to_le_bytes());
    for name in [&model.id, &model.origin] {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    hash.update((model.dimensions as u64).to_le_bytes());
    hash.update([kind]);
    hash.update(text.as_bytes());
    hash.finalize().into()
}

/// Texts with what is known of them.
struct LookedUp {
    dimensions: usize,
    /// `texts × dimensions` values; those of the missing are zero.
    values: Vec<f32>,
    /// Texts that are to be embedded, each once.
    missing: Vec<String>,
    /// Their keys.
    keys: Vec<Key>,
    /// Where each of them belongs.
    places: Vec<Vec<usize>>,
    /// Which texts were known.
    known: Vec<Range<usize>>,
}

/// Asks the store for `texts`.
fn look_up(store: &Store, model: &Model, texts: Vec<String>) -> LookedUp {
    let dimensions = model.dimensions;
    let wanted: Vec<Key> = texts.iter().map(|text| key(model, Kind::Document, text)).collect();
    let mut looked_up = LookedUp {
        dimensions,
        values: vec![0.0; texts.len() * dimensions],
        missing: Vec::new(),
        keys: Vec::new(),
        places: Vec::new(),
        known: Vec::new(),
    };
    let mut asked: HashMap<Key, usize> = HashMap::new();
    let found = store.get(&wanted, dimensions);
    for (at, ((text, key), vector)) in texts.into_iter().zip(wanted).zip(found).enumerate() {
        if let Some(vector) = vector {
            looked_up.values[at * dimensions..][..dimensions].copy_from_slice(&vector);
            match looked_up.known.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ => looked_up.known.push(at..at + 1),
            }
            continue;
        }
        let missing = *asked.entry(key).or_insert_with(|| {
            looked_up.missing.push(text);
            looked_up.keys.push(key);
            looked_up.places.push(Vec::new());
            looked_up.keys.len() - 1
        });
        looked_up.places[missing].push(at);
    }
    looked_up
}

impl LookedUp {
    /// Puts the vectors of the missing in their places; one that failed is missing in all of its own.
    fn complete(mut self, embedded: Embeddings) -> Embeddings {
        let dimensions = self.dimensions;
        for (vector, places) in embedded.rows().zip(&self.places) {
            for &at in places {
                self.values[at * dimensions..][..dimensions].copy_from_slice(vector);
            }
        }
        let mut failures = Vec::new();
        for (missing, error) in &embedded.failures {
            failures.extend(self.places[*missing].iter().map(|&at| (at, error.clone())));
        }
        failures.sort_by_key(|(at, _)| *at);
        Embeddings { dimensions, values: self.values, failures, usage: embedded.usage }
    }
}

impl Cached {
    async fn documents(
        &self,
        texts: Vec<String>,
        arrived: &Arrived<'_>,
        stop: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        let Some(store) = self.store.clone() else {
            return self.embedder.embed_each(texts, Kind::Document, arrived, stop).await;
        };
        let (reader, model) = (Arc::clone(&store), self.model().clone());
        let look_up = self.pools.build.run(move || look_up(&reader, &model, texts)).await;
        let mut looked_up = look_up.map_err(|error| EmbedError::Provider(error.to_string()))?;
        let missing = std::mem::take(&mut looked_up.missing);
        let dimensions = looked_up.dimensions;
        for run in &looked_up.known {
            arrived(run.start, &looked_up.values[run.start * dimensions..run.end * dimensions]);
        }
        if missing.is_empty() {
            return Ok(looked_up.complete(Embeddings::default()));
        }
        let (keys, places) = (&looked_up.keys, &looked_up.places);
        // Written here and not by another thread, for there must be no moment at which a vector was paid for and
        // can be lost. It is a copy into the page cache.
        let keep = |first: usize, values: &[f32]| {
            let vectors = values.chunks_exact(dimensions);
            store.put(keys[first..].iter().zip(vectors.clone()));
            for (places, vector) in places[first..].iter().zip(vectors) {
                places.iter().for_each(|&at| arrived(at, vector));
            }
        };
        let embedded = self.embedder.embed_each(missing, Kind::Document, &keep, stop).await?;
        Ok(looked_up.complete(embedded))
    }

    /// The vector of a query, and what it cost: nothing, where another call asked for it.
    async fn query(&self, text: String) -> Result<(Arc<[f32]>, Usage), EmbedError> {
        let key = key(self.model(), Kind::Query, &text);
        let embedder = Arc::clone(&self.embedder);
        let cost = Arc::new(Mutex::new(Usage::default()));
        let told = Arc::clone(&cost);
        let run = async move {
            let mut embedded = embedder.embed(vec![text], Kind::Query).await?;
            *told.lock() = embedded.usage;
            match embedded.failures.pop() {
                Some((_, error)) => Err(error),
                None => Ok(embedded.values.into()),
            }
        };
        let vector = self.queries.get(key, || run.boxed()).await?;
        let usage = *cost.lock();
        Ok((vector, usage))
    }
}

#[async_trait]
impl Embedder for Cached {
    fn model(&self) -> &Model {
        self.embedder.model()
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        self.embedder.tokenizer()
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| {}, &Stop::new()).await
    }

    async fn embed_each(
        &self,
        texts: Vec<String>,
        kind: Kind,
        arrived: &Arrived<'_>,
        stop: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        match kind {
            Kind::Document => self.documents(texts, arrived, stop).await,
            Kind::Query => {
                let count = texts.len();
                let vectors = futures::future::try_join_all(texts.into_iter().map(|text| self.query(text)));
                let dimensions = self.model().dimensions;
                let (mut values, mut usage) = (Vec::with_capacity(count * dimensions), Usage::default());
                for (vector, cost) in vectors.await? {
                    values.extend_from_slice(&vector);
                    usage += cost;
                }
                arrived(0, &values);
                Ok(Embeddings { dimensions, values, failures: Vec::new(), usage })
            }
        }
    }

    async fn warm(&self) -> Result<(), EmbedError> {
        self.embedder.warm().await
    }
}

#[cfg(test)]
mod tests;
