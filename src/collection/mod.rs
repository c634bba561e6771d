//! A named set of documents with one definition.
//!
//! All changes of a collection go through one task, its [`publisher`]: it commits to the [`catalog`] and then
//! swaps the [`snapshot`] that searches hold. [`order`] decides which version of a document stays,
//! [`inbox`] keeps what was accepted and is not indexed yet, [`failed`] what could not be, [`maintenance`] merges segments and builds
//! graphs in the background, [`recovery`] clears what a crash left, [`mod@verify`] and [`mod@inspect`] read a
//! data directory that nobody serves.

pub mod catalog;
pub mod definition;
pub mod documents;
pub mod failed;
pub mod inbox;
pub mod inspect;
pub mod maintenance;
pub mod order;
pub mod publisher;
pub mod recovery;
pub mod remote;
pub mod snapshot;
pub mod verify;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::chunk::{ApproximateTokenizer, Chunker, Tokenizer};
use crate::collection::catalog::{BatchRecord, Catalog, CollectionRecord};
use crate::collection::definition::Definition;
use crate::collection::order::Order;
use crate::collection::publisher::Operation;
use crate::collection::snapshot::Snapshot;
use crate::dispatch::Usage;
use crate::embed::Embedder;
use crate::error::{Code, Error, Result};
use crate::ingest::jobs::Jobs;
use crate::rerank::RerankUsage;
use crate::rows::RowSet;
use crate::runtime::Pools;
use crate::segment::build::SegmentPlace;
use crate::store::Disk;
use crate::text::filter::Filter;

/// What all collections of an engine share.
#[derive(Debug)]
pub struct Shared {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub dir: PathBuf,
    /// Which segments, deletes, batches and jobs are live.
    pub catalog: Catalog,
    /// The CPU pools.
    pub pools: Pools,
    /// The jobs.
    pub jobs: Jobs,
    /// The most bytes of accepted batches that may wait in a collection.
    pub max_waiting_bytes: u64,
    /// The last id given to a collection or segment.
    pub last_id: AtomicU64,
    /// Set once: a shutdown has begun, so what is not searchable yet is left for the next start.
    pub leaving: AtomicBool,
    /// Set once: background work breaks off at its next step.
    pub stopping: AtomicBool,
    /// Wakes maintenance.
    pub maintenance: Notify,
}

impl Shared {
    /// An id that names a folder or the files of a segment.
    pub fn new_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether a shutdown has begun: nothing is taken up, and no write waits until it is searchable.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether the engine is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The folder of a collection.
    pub fn collection_dir(&self, id: u64) -> PathBuf {
        recovery::collections_dir(&self.dir).join(id.to_string())
    }
}

/// Row sets of filters, by segment and filter.
type FilterCache = quick_cache::sync::Cache<(u64, Filter), Arc<RowSet>>;

/// Filters whose rows are kept, over all segments of a collection.
const CACHED_FILTERS: usize = 256;

/// An open collection.
pub struct Collection {
    /// As the catalog has it.
    pub record: CollectionRecord,
    /// Its folder.
    pub dir: PathBuf,
    /// What embeds its documents and queries; `None` where clients send vectors or there are none.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// What cuts its documents.
    pub chunker: Chunker,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Rows of recently used filters.
    pub filters: FilterCache,
    snapshot: ArcSwap<Snapshot>,
    order: Mutex<Order>,
    /// Accepted batches the worker has not taken up, in the order of acceptance.
    batches: Mutex<std::collections::VecDeque<BatchRecord>>,
    worker_wake: Notify,
    operations: mpsc::Sender<Operation>,
    changed: watch::Sender<()>,
    closed: AtomicBool,
    /// Segments that background work found damaged; it leaves them alone.
    unfit: Mutex<HashSet<u64>>,
    /// Segments that background work reads.
    under_way: Mutex<HashSet<u64>>,
    worker: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// What was asked of providers for it, and how much of that the catalog knows.
    usage: Mutex<(Usage, Usage)>,
    /// What reranking cost in it since it was opened.
    rerank_usage: Mutex<RerankUsage>,
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Collection {
    /// Opens a collection as the catalog has it and starts its publisher.
    pub fn open(
        shared: Arc<Shared>,
        state: catalog::CollectionState,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Arc<Collection> {
        let dir = shared.collection_dir(state.record.id);
        let definition = &state.record.definition;
        let in_segments = state.segments.iter().map(|segment| segment.max_version).max().unwrap_or(0);
        let last_version = in_segments.max(state.last_version);
        let order = Order::recover(last_version, &state.batches, state.tombstones);
        let mut deletes = state.deletes;
        let segments = state
            .segments
            .into_iter()
            .map(|record| {
                let deleted = deletes.remove(&record.id).unwrap_or_default();
                let segment = crate::segment::Segment::open(&dir, record);
                snapshot::LiveSegment::new(Arc::new(segment), Arc::new(deleted))
            })
            .collect();
        let model_limit = embedder.as_ref().map(|embedder| embedder.model().max_tokens as u32);
        let (operations, receiver) = mpsc::channel(64);
        let collection = Arc::new(Collection {
            chunker: Chunker::new(&definition.chunking, model_limit),
            dir,
            embedder,
            shared,
            filters: FilterCache::new(CACHED_FILTERS),
            snapshot: ArcSwap::from_pointee(Snapshot::new(segments)),
            order: Mutex::new(order),
            batches: Mutex::new(state.batches.into()),
            worker_wake: Notify::new(),
            operations,
            changed: watch::channel(()).0,
            closed: AtomicBool::new(false),
            unfit: Mutex::default(),
            under_way: Mutex::default(),
            worker: Mutex::default(),
            usage: Mutex::new((state.record.usage, state.record.usage)),
            rerank_usage: Mutex::default(),
            record: state.record,
        });
        tokio::spawn(publisher::run(Arc::downgrade(&collection), receiver));
        collection
    }

    /// Starts what takes up its accepted batches.
    pub fn start_worker(&self, worker: impl Future<Output = ()> + Send + 'static) {
        *self.worker.lock() = Some(tokio::spawn(worker));
    }

    /// Its definition.
    pub fn definition(&self) -> &Definition {
        &self.record.definition
    }

    /// Its embedder's tokenizer, or a stand-in where it has none. May load a model: call off the async threads.
    pub fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>> {
        match &self.embedder {
            Some(embedder) => Ok(embedder.tokenizer()?),
            None => Ok(Arc::new(ApproximateTokenizer)),
        }
    }

    /// Notes what embedding something cost.
    pub fn spend(&self, usage: Usage) {
        self.usage.lock().0 += usage;
    }

    /// Notes what reranking something cost.
    pub fn spend_on_reranking(&self, usage: RerankUsage) {
        *self.rerank_usage.lock() += usage;
    }

    /// What was asked of embedding providers for it.
    pub fn usage(&self) -> Usage {
        self.usage.lock().0
    }

    /// The same, where the catalog does not know all of it.
    pub fn unsaved_usage(&self) -> Option<Usage> {
        let (usage, saved) = *self.usage.lock();
        (usage != saved).then_some(usage)
    }

    /// The catalog knows this much.
    pub fn usage_is_saved(&self, usage: Usage) {
        self.usage.lock().1 = usage;
    }

    /// What reranking cost in it since it was opened.
    pub fn rerank_usage(&self) -> RerankUsage {
        *self.rerank_usage.lock()
    }

    /// The current view.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The order of acceptance.
    pub fn order(&self) -> parking_lot::MutexGuard<'_, Order> {
        self.order.lock()
    }

    /// Where its segments are written.
    pub fn place(&self) -> SegmentPlace<'_> {
        SegmentPlace {
            disk: &*self.shared.disk,
            dir: &self.dir,
            definition: &self.record.definition,
            dimensions: self.record.dimensions,
        }
    }

    /// Segments that background work leaves alone.
    pub fn unfit(&self) -> parking_lot::MutexGuard<'_, HashSet<u64>> {
        self.unfit.lock()
    }

    /// Segments that a merge or graph build under way reads: no other takes them.
    pub fn under_way(&self) -> parking_lot::MutexGuard<'_, HashSet<u64>> {
        self.under_way.lock()
    }

    /// Set when it closes: long jobs break off.
    pub fn closed(&self) -> &AtomicBool {
        &self.closed
    }

    /// Whether it was deleted or the engine is shutting down: nothing new is to be started.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.shared.is_stopping()
    }

    /// Whether it was deleted (and not only closed by a shutdown, which keeps its batches).
    pub fn is_dropped(&self) -> bool {
        self.closed.load(Ordering::Acquire) && !self.shared.is_stopping()
    }

    /// Stops its worker; what is under way in its publisher is finished.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.worker_wake.notify_one();
        self.changed.send_replace(());
    }

    /// Returns when its worker has ended after [`close`](Self::close).
    pub async fn finished(&self) {
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            let _ = worker.await; // a panic there was logged by the runtime
        }
    }

    /// Sends an operation to the publisher and waits for its outcome.
    pub async fn publish<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T>>) -> Operation,
    ) -> Result<T> {
        let gone = || Error::new(Code::Unavailable, "the collection is closing: try again later");
        let (done, outcome) = oneshot::channel();
        self.operations.send(operation(done)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Gives a durable batch to the worker.
    pub fn enqueue(&self, batch: BatchRecord) {
        self.batches.lock().push_back(batch);
        self.worker_wake.notify_one();
    }

    /// Takes the batch of a job out again, where the worker has not taken it up.
    pub fn take_back(&self, job: &str) -> Option<BatchRecord> {
        let mut batches = self.batches.lock();
        let at = batches.iter().position(|batch| batch.job == job)?;
        batches.remove(at)
    }

    /// Bytes of the batches that wait for the worker.
    pub fn waiting_bytes(&self) -> u64 {
        self.batches.lock().iter().map(|batch| batch.bytes).sum()
    }

    /// Takes up batches of together at most `bytes` bytes (at least one), oldest first; waits for one. Takes up none once
    /// a shutdown has begun. `None` when the collection closes.
    pub async fn take_batches(&self, bytes: u64) -> Option<Vec<BatchRecord>> {
        loop {
            if self.is_closed() {
                return None;
            }
            {
                let mut batches = self.batches.lock();
                let mut taken = Vec::new();
                let mut sum = 0;
                while let Some(batch) = batches.front()
                    && !self.shared.is_leaving()
                    && (taken.is_empty() || sum + batch.bytes <= bytes)
                {
                    sum += batch.bytes;
                    taken.extend(batches.pop_front());
                }
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            self.worker_wake.notified().await;
        }
    }

    /// Shows a new view to searches.
    fn replace_snapshot(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.signal();
    }

    /// Wakes whoever waits for the collection to change.
    pub fn signal(&self) {
        self.changed.send_replace(());
        self.shared.maintenance.notify_waiters();
    }

    /// A write that began at `first_version` is published or given up.
    pub fn finish(&self, first_version: u64) {
        self.order.lock().finish(first_version);
        self.signal();
    }

    /// Returns once `done` says true; it is asked again at each change of the collection.
    pub async fn wait_until(&self, mut done: impl FnMut(&Collection) -> bool) -> Result<()> {
        let mut changed = self.changed.subscribe();
        while !done(self) {
            if self.is_closed() || changed.changed().await.is_err() {
                return Err(Error::new(Code::Unavailable, "the collection is closing: try again later"));
            }
        }
        Ok(())
    }
}
