//! The handle everything outside drives: the HTTP API and the commands see collections, documents,
//! searches and jobs through [`Engine`] and nothing below it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::collection::catalog::{Catalog, CollectionRecord, CollectionState, Edit};
use crate::collection::definition::{Definition, RerankDefinition};
use crate::collection::publisher::Operation;
use crate::collection::{Collection, Shared, documents, maintenance, recovery};
use crate::dispatch::{Endpoint, Http, ProviderAccess, Usage};
use crate::document::{BatchItem, DeleteResponse, DocumentPage, ItemStatus, StoredDocument, WriteResponse};
use crate::embed::{CacheStats, Embedder, Embedders, EmbeddingCache, Unavailable};
use crate::error::{Code, Error, Result};
use crate::ingest::job::Job;
use crate::ingest::jobs::{self, Jobs};
use crate::ingest::outcomes::{self, OutcomePage};
use crate::ingest::retry::{self, FailurePage};
use crate::ingest::{forget, receive, worker};
use crate::rerank::{self, RerankUsage, Reranker};
use crate::runtime::Pools;
use crate::search::request::SearchRequest;
use crate::search::response::SearchResponse;
use crate::search::window::Windows;
use crate::store::Disk;
use crate::store::lock::DirLock;
use crate::text::filter::Filter;
use crate::vector::BytesPerVector;

/// How long a delete by filter waits for documents that were accepted before it.
const DELETE_WAITS: Duration = Duration::from_secs(10);

/// What an engine needs to start.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The data directory; made if it is not there.
    pub data_dir: PathBuf,
    /// Threads of each CPU pool.
    pub threads: usize,
    /// Where local models are.
    pub models_dir: PathBuf,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// The most bytes of accepted documents that may wait in a collection; past it a write is `overloaded`.
    pub max_waiting_bytes: u64,
    /// The most bytes of document vectors that are kept so as not to embed the same text again; 0: none.
    pub embedding_cache_bytes: u64,
    /// What definitions may make it reach.
    pub provider_access: ProviderAccess,
}

/// A collection as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// When it was created, RFC 3339.
    pub created_at: String,
    /// How many documents are searchable.
    pub documents: u64,
    /// How many chunks are searchable.
    pub chunks: u64,
    /// Its definition, defaults filled in.
    pub definition: Definition,
}

/// What a collection holds and costs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectionStats {
    /// Its name.
    pub name: String,
    /// Searchable documents.
    pub documents: u64,
    /// Searchable chunks.
    pub chunks: u64,
    /// Rows of deleted documents that compaction has not dropped yet.
    pub deleted_chunks: u64,
    /// Documents that are on disk and not searchable yet.
    pub pending_documents: u64,
    /// Live segments, oldest first.
    pub segments: Vec<SegmentStats>,
    /// Bytes of all live files.
    pub disk_bytes: u64,
    /// Length of the vectors; absent where the collection is lexical only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// What a vector takes, on average over all segments; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_vector: Option<BytesPerVector>,
    /// The embedding model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether every segment that will have a graph has it, and nothing waits to be compacted.
    pub settled: bool,
    /// What was asked of embedding providers for it. A crash forgets what was asked since the last publication.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
    /// What reranking cost in it since this gleaner was started.
    #[serde(default, skip_serializing_if = "RerankUsage::is_zero")]
    pub rerank_usage: RerankUsage,
}

/// What a segment holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SegmentStats {
    /// Its id.
    pub id: String,
    /// Rows, deleted ones included.
    pub rows: u32,
    /// Rows of deleted documents.
    pub deleted: u32,
    /// Documents, deleted ones included.
    pub documents: u32,
    /// Whether the dense leg walks a graph here (it scans otherwise).
    pub graph: bool,
    /// Bytes on disk.
    pub bytes: u64,
}

/// One gleaner over one data directory.
pub struct Engine {
    shared: Arc<Shared>,
    embedders: Embedders,
    http: Http,
    models_dir: PathBuf,
    rerankers: RwLock<HashMap<String, Arc<dyn Reranker>>>,
    collections: Arc<RwLock<BTreeMap<String, Arc<Collection>>>>,
    windows: Arc<Windows>,
    /// Held while collections are created or deleted.
    changing: tokio::sync::Mutex<()>,
    maintenance: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    _lock: DirLock,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens (or makes) the data directory, recovers what a crash left, and starts background work. Needs a
    /// tokio runtime. Takes milliseconds whatever the size of the data; models load later, in the background.
    pub async fn open(config: EngineConfig) -> Result<Arc<Engine>> {
        let EngineConfig {
            data_dir,
            threads,
            models_dir,
            disk,
            max_waiting_bytes,
            embedding_cache_bytes,
            provider_access,
        } = config;
        if !data_dir.exists() {
            disk.create_dir(&data_dir)?;
            if let Some(parent) = data_dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                disk.sync_dir(parent)?;
            }
        }
        let lock = DirLock::take(&data_dir)?;
        let (catalog, state) = Catalog::open(Arc::clone(&disk), &data_dir)?;
        recovery::recover(&*disk, &data_dir, &state)?;
        let pools = Pools::new(threads)?;
        let shared = Arc::new(Shared {
            disk,
            dir: data_dir,
            catalog,
            jobs: Jobs::recover(state.jobs.clone()),
            max_waiting_bytes,
            last_id: recovery::last_id(&state).into(),
            leaving: false.into(),
            stopping: false.into(),
            maintenance: tokio::sync::Notify::new(),
            pools: pools.clone(),
        });
        let http = Http::new(provider_access);
        let cache = EmbeddingCache::new(recovery::cache_dir(&shared.dir), embedding_cache_bytes);
        let embedders = Embedders::new(pools, http.clone(), cache, models_dir.clone());
        let mut collections = BTreeMap::new();
        for state in state.collections.into_values() {
            let name = state.record.name.clone();
            let embedder = open_embedder(&embedders, &state.record);
            collections.insert(name, open_collection(&shared, state, embedder));
        }
        let collections = Arc::new(RwLock::new(collections));
        let open = Arc::clone(&collections);
        let windows = Arc::new(Windows::default());
        let list = move || open.read().values().cloned().collect();
        let forgetting = forget::run(Arc::clone(&shared), list.clone());
        let maintenance = maintenance::run(Arc::clone(&shared), list, Arc::clone(&windows));
        let background = async {
            tokio::join!(maintenance, forgetting);
        };
        let engine = Arc::new(Engine {
            shared,
            embedders,
            http,
            models_dir,
            rerankers: RwLock::default(),
            collections,
            windows,
            changing: tokio::sync::Mutex::default(),
            maintenance: parking_lot::Mutex::new(Some(tokio::spawn(background))),
            _lock: lock,
        });
        engine.warm();
        Ok(engine)
    }

    /// Loads the models that collections use, in the background.
    fn warm(&self) {
        for collection in self.collections.read().values() {
            if let Some(embedder) = collection.embedder.clone() {
                warm(embedder);
            }
        }
    }

    /// Creates a collection. One of the same name and definition is returned as it is (`false`: not created);
    /// with another definition it is `collection_exists`.
    pub async fn create_collection(
        &self,
        name: &str,
        definition: Definition,
    ) -> Result<(CollectionInfo, bool)> {
        check_name(name)?;
        definition.validate()?;
        let _changing = self.changing.lock().await;
        if let Ok(existing) = self.open_collection(name) {
            if existing.record.definition == definition {
                return Ok((info(&existing), false));
            }
            let message = format!(
                "the collection `{name}` exists with another definition: delete it first, or choose another name"
            );
            return Err(Error::new(Code::CollectionExists, message).with_param("name"));
        }
        let access = self.http.access();
        definition.check_addresses(access.network)?;
        definition.check_keys(access)?;
        let embedder = self.embedders.open(&definition.embedding).map_err(|error| {
            Error::new(Code::InvalidDefinition, error.to_string()).with_param("embedding")
        })?;
        if let Some(rerank) = &definition.rerank {
            rerank::check(rerank, &self.models_dir)
                .map_err(|error| Error::new(Code::InvalidDefinition, error).with_param("rerank"))?;
        }
        let model = embedder.as_ref().map(|embedder| embedder.model().clone());
        let dimensions =
            definition.stated_dimensions().or(model.as_ref().map(|model| model.dimensions as u32));
        let record = CollectionRecord {
            id: self.shared.new_id(),
            name: name.to_owned(),
            created_at: jobs::now(),
            definition,
            dimensions,
            model: model.map(|model| model.id),
            usage: Usage::default(),
        };
        let root = recovery::collections_dir(&self.shared.dir);
        self.shared.disk.create_dir(&self.shared.collection_dir(record.id))?;
        self.shared.disk.sync_dir(&root)?;
        self.shared.catalog.commit(vec![Edit::PutCollection(Box::new(record.clone()))]).await?;
        if let Some(embedder) = embedder.clone() {
            warm(embedder);
        }
        let state = CollectionState::new(record);
        let collection = open_collection(&self.shared, state, embedder);
        let created = info(&collection);
        self.collections.write().insert(name.to_owned(), collection);
        Ok((created, true))
    }

    /// Every collection, by name.
    pub fn collections(&self) -> Vec<CollectionInfo> {
        self.collections.read().values().map(|collection| info(collection)).collect()
    }

    /// One collection.
    pub fn collection(&self, name: &str) -> Result<CollectionInfo> {
        self.open_collection(name).map(|collection| info(&collection))
    }

    /// Deletes a collection with its documents and jobs.
    pub async fn delete_collection(&self, name: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        let collection = self.open_collection(name)?;
        let forget_jobs = || self.shared.jobs.forget(|job| job.collection == name);
        let mut edits = forget_jobs();
        edits.push(Edit::DropCollection(collection.record.id));
        self.shared.catalog.commit(edits).await?;
        self.collections.write().remove(name);
        collection.close();
        // and of writes that were accepted just before
        self.shared.catalog.commit(forget_jobs()).await?;
        if let Err(error) = self.shared.disk.remove_dir(&collection.dir) {
            tracing::warn!(%error, "the files of a deleted collection are left for the next start to remove");
        }
        Ok(())
    }

    /// What a collection holds and costs.
    pub fn stats(&self, name: &str) -> Result<CollectionStats> {
        let collection = self.open_collection(name)?;
        let snapshot = collection.snapshot();
        let segments: Vec<SegmentStats> = snapshot
            .segments
            .iter()
            .map(|live| SegmentStats {
                id: live.segment.record.id.to_string(),
                rows: live.segment.rows(),
                deleted: live.segment.rows() - live.live_rows(),
                documents: live.segment.record.documents,
                graph: live.segment.record.graph,
                bytes: live.segment.record.bytes,
            })
            .collect();
        let vectors = snapshot.segments.iter().filter_map(|live| live.segment.vector_bytes());
        let [rows, originals, vectors, graph] =
            vectors.fold([0; 4], |sum, of| std::array::from_fn(|at| sum[at] + of[at]));
        let pending_documents = collection.order().pending_documents();
        Ok(CollectionStats {
            name: name.to_owned(),
            documents: snapshot.documents(),
            chunks: snapshot.chunks(),
            deleted_chunks: segments.iter().map(|segment| u64::from(segment.deleted)).sum(),
            pending_documents,
            disk_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            dimensions: collection.record.dimensions,
            bytes_per_vector: BytesPerVector::new(rows, originals, vectors, graph),
            model: collection.record.model.clone(),
            settled: pending_documents == 0 && maintenance::is_settled(&collection),
            segments,
            usage: collection.usage(),
            rerank_usage: collection.rerank_usage(),
        })
    }

    /// The addresses of providers that collections use.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let mut endpoints = self.embedders.endpoints();
        endpoints.extend(self.rerankers.read().values().flat_map(|reranker| reranker.endpoints()));
        endpoints
    }

    /// Writes documents; bad items are reported by index and the others are kept. `wait`: returns when they are
    /// searchable; otherwise, or where a shutdown begins first, when they are on disk, with the job that indexes them.
    pub async fn write(&self, name: &str, items: Vec<BatchItem>, wait: bool) -> Result<WriteResponse> {
        receive::write(self.open_for_writing(name)?, items, wait).await
    }

    /// One document with its text.
    pub async fn document(&self, name: &str, id: &str) -> Result<StoredDocument> {
        let (collection, id) = (self.open_collection(name)?, id.to_owned());
        self.shared.pools.search.run(move || documents::get(&collection, &id)).await?
    }

    /// Searchable documents in the order of their ids, from after `after`; `limit` 1 to 1000.
    pub async fn documents(
        &self,
        name: &str,
        after: Option<&str>,
        limit: usize,
        filter: Option<&Value>,
    ) -> Result<DocumentPage> {
        let collection = self.open_collection(name)?;
        let filter = filter.map(Filter::parse).transpose()?;
        let after = after.map(str::to_owned);
        let list = move || documents::list(&collection, after.as_deref(), limit, filter.as_ref());
        self.shared.pools.search.run(list).await?
    }

    /// Deletes one document; `document_not_found` where there is none.
    pub async fn delete_document(&self, name: &str, id: &str) -> Result<DeleteResponse> {
        let collection = self.open_for_writing(name)?;
        let version = collection.order().accept_delete();
        let ids = vec![id.to_owned()];
        let deleted = collection.publish(|done| Operation::Delete { ids, version, done }).await?;
        if deleted == 0 {
            return Err(documents::not_found(name, id));
        }
        Ok(DeleteResponse { deleted })
    }

    /// Deletes every document that passes the filter, also those that were accepted before and are not
    /// searchable yet: it waits for them. `overloaded` where that takes too long (a long import, a provider that
    /// is down); then nothing was deleted.
    pub async fn delete_by_filter(&self, name: &str, filter: &Value) -> Result<DeleteResponse> {
        let collection = self.open_for_writing(name)?;
        let filter = Filter::parse(filter)?;
        let version = collection.order().accept_delete();
        let indexed = collection.wait_until(|collection| !collection.order().older_in_flight(version));
        match tokio::time::timeout(DELETE_WAITS, indexed).await {
            Ok(indexed) => indexed?,
            Err(_) => {
                let waiting = collection.order().pending_documents();
                let message = format!(
                    "documents that were accepted before are not indexed yet ({waiting} in all), so what the filter \
                     takes is not known: nothing was deleted, try again when their jobs have ended"
                );
                return Err(Error::new(Code::Overloaded, message).with_retry_after(DELETE_WAITS));
            }
        }
        let deleted = collection.publish(|done| Operation::DeleteWhere { filter, version, done }).await?;
        Ok(DeleteResponse { deleted })
    }

    /// Searches.
    pub async fn search(&self, name: &str, request: SearchRequest) -> Result<SearchResponse> {
        let collection = self.open_collection(name)?;
        let reranker = collection.definition().rerank.as_ref().map(|definition| self.reranker(definition));
        crate::search::search(&collection, reranker.as_deref(), &self.windows, request).await
    }

    /// What the embedding cache holds and did.
    pub fn cache_stats(&self) -> CacheStats {
        self.embedders.cache_stats()
    }

    /// The newest jobs first, of one collection or all; `limit` 1 to 1000.
    pub fn jobs(&self, collection: Option<&str>, limit: usize) -> Result<Vec<Job>> {
        if let Some(name) = collection {
            self.open_collection(name)?;
        }
        Ok(self.shared.jobs.list(collection, limit))
    }

    /// One job.
    pub fn job(&self, id: &str) -> Result<Job> {
        self.shared.jobs.get(id)
    }

    /// The documents that failed in a job, from after the position `after` in its request; `limit` 1 to 1000.
    pub async fn job_failures(&self, id: &str, after: Option<usize>, limit: usize) -> Result<FailurePage> {
        let job = self.shared.jobs.get(id)?;
        let page = retry::failures(&self.open_collection(&job.collection)?, &job, after, limit).await;
        self.shared.jobs.get(id)?; // what was kept of it is gone where it was forgotten meanwhile
        page
    }

    /// What became of each document of a job, from after the position `after` in its request; `limit` 1 to 1000.
    pub async fn job_documents(
        &self,
        id: &str,
        after: Option<usize>,
        limit: usize,
        status: Option<ItemStatus>,
    ) -> Result<OutcomePage> {
        let job = self.shared.jobs.get(id)?;
        let collection = self.open_collection(&job.collection)?;
        let page = outcomes::outcomes(&collection, job, after, limit, status).await;
        self.shared.jobs.get(id)?; // what was kept of it is gone where it was forgotten meanwhile
        page
    }

    /// Writes the failed documents of a job again, as a new job.
    pub async fn retry_job(&self, id: &str) -> Result<WriteResponse> {
        // one after the other: the second finds nothing to retry
        let _changing = self.changing.lock().await;
        let job = self.shared.jobs.get(id)?;
        retry::retry(self.open_for_writing(&job.collection)?, job).await
    }

    /// Tells of each change of a job; `None` where it has ended.
    pub fn job_changes(&self, id: &str) -> Option<tokio::sync::watch::Receiver<()>> {
        self.shared.jobs.changes(id)
    }

    /// Cancels a job: what it has not indexed yet is dropped. Returns it as it then stands.
    pub async fn cancel_job(&self, id: &str) -> Result<Job> {
        let job = self.shared.jobs.get(id)?;
        worker::cancel(&self.open_collection(&job.collection)?, id).await
    }

    /// Returns when everything accepted is searchable, and (`graphs`) compaction and graph builds are done too.
    pub async fn settle(&self, name: &str, graphs: bool) -> Result<()> {
        let collection = self.open_collection(name)?;
        collection
            .wait_until(|collection| {
                let published = collection.order().pending_documents() == 0;
                published && (!graphs || maintenance::is_settled(collection))
            })
            .await
    }

    /// Whether requests are served: true from the end of `open` until shutdown begins.
    pub fn ready(&self) -> bool {
        !self.shared.is_stopping()
    }

    /// Says that a [`shutdown`](Self::shutdown) will follow. Until then everything is served, but a write that waits for
    /// a model until it is searchable becomes a job, which the next start goes on with.
    pub fn begin_shutdown(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        self.collections.read().values().for_each(|collection| collection.signal());
    }

    /// Stops background work, finishes the commit under way and parks the rest for the next start. Requests to providers
    /// get a few seconds more; what they bring is in the embedding cache.
    pub async fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.maintenance.notify_waiters();
        let open: Vec<_> = self.collections.read().values().cloned().collect();
        for collection in &open {
            collection.close();
        }
        for collection in &open {
            collection.finished().await;
        }
        self.save_usage(&open).await;
        let maintenance = self.maintenance.lock().take();
        if let Some(task) = maintenance {
            let _ = task.await; // a panic there was logged by the runtime
        }
    }

    /// Makes durable what collections and unfinished jobs cost since the last commit.
    async fn save_usage(&self, open: &[Arc<Collection>]) {
        let mut edits = Vec::new();
        let jobs = self.shared.jobs.begun();
        for collection in open {
            let id = collection.record.id;
            edits.extend(collection.unsaved_usage().map(|usage| Edit::PutUsage(id, usage)));
            let own = jobs.iter().filter(|job| job.collection == collection.record.name);
            edits.extend(own.map(|job| Edit::PutJob(id, Box::new(job.clone()))));
        }
        if !edits.is_empty()
            && let Err(error) = self.shared.catalog.commit(edits).await
        {
            tracing::warn!(%error, "what was spent since the last write is not remembered");
        }
    }

    fn open_collection(&self, name: &str) -> Result<Arc<Collection>> {
        self.collections.read().get(name).cloned().ok_or_else(|| {
            let message = format!("there is no collection `{name}`: create it with POST /v1/collections");
            Error::new(Code::CollectionNotFound, message).with_param("collection")
        })
    }

    fn open_for_writing(&self, name: &str) -> Result<Arc<Collection>> {
        if self.ready() {
            return self.open_collection(name);
        }
        Err(Error::new(Code::Unavailable, "gleaner is shutting down: try again when it is back"))
    }

    /// The reranker of that definition; equal definitions share one.
    fn reranker(&self, definition: &RerankDefinition) -> Arc<dyn Reranker> {
        let key = serde_json::to_string(definition).unwrap_or_default(); // always serialises
        if let Some(reranker) = self.rerankers.read().get(&key) {
            return Arc::clone(reranker);
        }
        let threads = self.shared.pools.search.threads();
        let reranker = rerank::open(definition, &self.http, &self.models_dir, threads);
        Arc::clone(self.rerankers.write().entry(key).or_insert(reranker))
    }
}

/// Opens a collection and starts its worker.
fn open_collection(
    shared: &Arc<Shared>,
    state: CollectionState,
    embedder: Option<Arc<dyn Embedder>>,
) -> Arc<Collection> {
    let collection = Collection::open(Arc::clone(shared), state, embedder);
    collection.start_worker(worker::run(Arc::clone(&collection)));
    collection
}

/// The embedder of an existing collection; a stand-in where it cannot be opened any more.
fn open_embedder(embedders: &Embedders, record: &CollectionRecord) -> Option<Arc<dyn Embedder>> {
    embedders.open(&record.definition.embedding).unwrap_or_else(|error| {
        tracing::error!(collection = record.name, %error, "the embedding model cannot be opened");
        let id = record.model.clone().unwrap_or_default();
        Some(Arc::new(Unavailable::new(id, record.dimensions.unwrap_or(0) as usize, error)))
    })
}

/// Loads a model and its tokenizer ahead of the first request.
fn warm(embedder: Arc<dyn Embedder>) {
    tokio::spawn(async move {
        if let Err(error) = embedder.warm().await {
            tracing::warn!(%error, "an embedding model could not be loaded ahead of its first use");
        }
    });
}

fn info(collection: &Collection) -> CollectionInfo {
    let snapshot = collection.snapshot();
    CollectionInfo {
        name: collection.record.name.clone(),
        created_at: collection.record.created_at.clone(),
        documents: snapshot.documents(),
        chunks: snapshot.chunks(),
        definition: collection.record.definition.clone(),
    }
}

/// Longest collection name.
const MAX_NAME: usize = 64;

fn check_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && name.len() <= MAX_NAME {
        return Ok(());
    }
    let message = format!(
        "`{name}` is no collection name: 1 to {MAX_NAME} letters (a-z, A-Z), digits, `_`, `.` and `-`, beginning \
         with a letter or digit"
    );
    Err(Error::invalid("name", message))
}
