//! Queries that were asked before, in memory; and those that are being embedded, so that the same query asked
//! at the same time is embedded once.
//!
//! Queries do not go to disk: asked once for the most part, they would drive out the documents.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Key;
use crate::embed::EmbedError;

/// A few thousand vectors.
const MAX_BYTES: u64 = 16 << 20;

type Outcome = Result<Arc<[f32]>, EmbedError>;
type Run = BoxFuture<'static, Outcome>;

/// The process's queries.
pub(super) struct Queries {
    known: Cache<Key, Arc<[f32]>, Bytes>,
    /// Runs that somebody waits for. Held weakly: a run goes with the last who waits for it.
    under_way: Mutex<HashMap<Key, WeakShared<Run>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
}

/// What became of the queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Known from before.
    pub hits: u64,
    /// Embedded.
    pub misses: u64,
    /// Asked while the same query was being embedded.
    pub shared: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<[f32]>> for Bytes {
    fn weight(&self, _: &Key, vector: &Arc<[f32]>) -> u64 {
        (size_of_val::<[f32]>(vector) + 64) as u64
    }
}

impl Queries {
    /// None yet.
    pub fn new() -> Queries {
        let known = Cache::with_weighter((MAX_BYTES / 2048) as usize, MAX_BYTES, Bytes);
        let counter = AtomicU64::default;
        Queries { known, under_way: Mutex::default(), hits: counter(), misses: counter(), shared: counter() }
    }

    /// The vector of the query `key`: from memory, from the run under way, or from `run`. A failure is told to
    /// all who wait for the run, and not kept.
    pub async fn get(self: &Arc<Self>, key: Key, run: impl FnOnce() -> Run) -> Outcome {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let shared = {
            let mut under_way = self.under_way.lock();
            // a run leaves its vector before it leaves the table: asked under the lock, it is in one of them
            if let Some(vector) = self.known.get(&key) {
                count(&self.hits);
                return Ok(vector);
            }
            match under_way.get(&key).and_then(WeakShared::upgrade) {
                Some(shared) => {
                    count(&self.shared);
                    shared
                }
                None => {
                    count(&self.misses);
                    let shared = self.run(key, run());
                    under_way.retain(|_, run| run.upgrade().is_some());
                    under_way.extend(shared.downgrade().map(|weak| (key, weak)));
                    shared
                }
            }
        };
        shared.await
    }

    fn run(self: &Arc<Self>, key: Key, run: Run) -> Shared<Run> {
        let queries = Arc::clone(self);
        let kept = async move {
            let outcome = run.await;
            if let Ok(vector) = &outcome {
                queries.known.insert(key, Arc::clone(vector));
            }
            queries.under_way.lock().remove(&key);
            outcome
        };
        kept.boxed().shared()
    }

    /// What became of the queries so far.
    pub fn stats(&self) -> QueryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueryStats { hits: read(&self.hits), misses: read(&self.misses), shared: read(&self.shared) }
    }
}
