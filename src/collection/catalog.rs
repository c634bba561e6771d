//! The one transactional file: which collections, segments, deletes, accepted batches and jobs are
//! live. Everything else in the data directory is an immutable file that this one names.
//!
//! Edits are committed in groups: whoever calls [`Catalog::commit`] while a commit is under way shares the
//! next one's fsync.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use roaring::RoaringBitmap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::collection::definition::Definition;
use crate::dispatch::Usage;
use crate::ingest::job::Job;
use crate::store::{DatabaseStorage, Disk, Result, StoreError};

/// Format version of the catalog's tables.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the file in the data directory.
pub const FILE: &str = "catalog.redb";
/// What is read of the catalog at a start stays a few MB; the library's default cache is 1 GiB.
const CACHE_BYTES: usize = 16 << 20;
/// Documents of a job in one value.
const DOCUMENTS_A_VALUE: usize = 1000;
/// Edits of at most this many callers share a commit.
const GROUP: usize = 256;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// In `meta`: the format version, and how many commits there were.
const VERSION: &str = "format_version";
const COMMITS: &str = "commits";
const COLLECTIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("collections");
const SEGMENTS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("segments");
const DELETES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("deletes");
const BATCHES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("batches");
const TOMBSTONES: TableDefinition<(u64, &str), u64> = TableDefinition::new("tombstones");
const VERSIONS: TableDefinition<u64, u64> = TableDefinition::new("versions");
const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");
/// By job and the first position in its request: not read at a start.
const JOB_DOCUMENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("job_documents");

/// A collection as the catalog keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectionRecord {
    /// Names its folder.
    pub id: u64,
    /// What users call it.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
    /// As it was created, defaults filled in.
    pub definition: Definition,
    /// Length of its vectors, if it has any.
    pub dimensions: Option<u32>,
    /// Id of the embedding model, if it has one.
    pub model: Option<String>,
    /// What was asked of embedding providers for it, as far as the last publication knew.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
}

/// A live segment as the catalog keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Names its files.
    pub id: u64,
    /// Rows, deleted ones included.
    pub rows: u32,
    /// Documents, deleted ones included.
    pub documents: u32,
    /// The newest document version in it.
    pub max_version: u64,
    /// Whether it has a vectors part.
    pub vectors: bool,
    /// Whether it has a graph part.
    pub graph: bool,
    /// Bytes of its files.
    pub bytes: u64,
}

/// An accepted batch that is not indexed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Version of its first document; the others follow. Names its file.
    pub first_version: u64,
    /// How many documents it holds.
    pub documents: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// The job that reports on it.
    pub job: String,
}

/// Documents of a job, in the order of its request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobDocuments {
    /// Version of the first; the others follow without a gap.
    pub first_version: u64,
    /// Position in the request, and id; at least one.
    pub documents: Vec<(usize, String)>,
}

impl JobDocuments {
    /// The edits that list all documents of a job, of which the first has this version.
    pub fn edits<'a>(
        collection: u64,
        job: &'a str,
        first_version: u64,
        documents: &'a [(usize, String)],
    ) -> impl Iterator<Item = Edit> + 'a {
        let versions = (first_version..).step_by(DOCUMENTS_A_VALUE);
        versions.zip(documents.chunks(DOCUMENTS_A_VALUE)).map(move |(first_version, some)| {
            let documents = some.to_vec();
            Edit::PutJobDocuments(collection, job.to_owned(), JobDocuments { first_version, documents })
        })
    }
}

/// One change of the catalog.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Adds or replaces a collection.
    PutCollection(Box<CollectionRecord>),
    /// Drops a collection with its segments, deletes, batches and tombstones.
    DropCollection(u64),
    /// Adds or replaces a segment of a collection.
    PutSegment(u64, SegmentRecord),
    /// Drops a segment with its deletes.
    DropSegment(u64, u64),
    /// The deleted rows of a segment.
    PutDeletes(u64, u64, Arc<RoaringBitmap>),
    /// Names an accepted batch.
    PutBatch(u64, BatchRecord),
    /// Forgets a batch.
    DropBatch(u64, u64),
    /// Versions of this document id below the given one are deleted, also those not indexed yet.
    PutTombstone(u64, String, u64),
    /// The highest document version a collection has given.
    PutVersion(u64, u64),
    /// What was asked of embedding providers for a collection, all in all.
    PutUsage(u64, Usage),
    /// Forgets a tombstone.
    DropTombstone(u64, String),
    /// Adds or replaces a job of a collection.
    PutJob(u64, Box<Job>),
    /// Some of the documents that a job of a collection has.
    PutJobDocuments(u64, String, JobDocuments),
    /// Forgets a job with the list of its documents.
    DropJob(String),
}

impl Edit {
    /// The collection it adds something to.
    fn adds_to(&self) -> Option<u64> {
        match self {
            Edit::PutSegment(id, _)
            | Edit::PutDeletes(id, ..)
            | Edit::PutBatch(id, _)
            | Edit::PutVersion(id, _)
            | Edit::PutUsage(id, _)
            | Edit::PutTombstone(id, ..)
            | Edit::PutJob(id, _)
            | Edit::PutJobDocuments(id, ..) => Some(*id),
            _ => None,
        }
    }
}

/// Everything the catalog holds of one collection.
#[derive(Clone, Debug)]
pub struct CollectionState {
    /// Itself.
    pub record: CollectionRecord,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentRecord>,
    /// Deleted rows by segment.
    pub deletes: BTreeMap<u64, RoaringBitmap>,
    /// Accepted batches in the order of acceptance.
    pub batches: Vec<BatchRecord>,
    /// Document id → version below which it is deleted.
    pub tombstones: BTreeMap<String, u64>,
    /// The highest version given, as far as the last publication knew.
    pub last_version: u64,
}

impl CollectionState {
    /// A collection that holds nothing yet.
    pub fn new(record: CollectionRecord) -> CollectionState {
        CollectionState {
            record,
            segments: Vec::new(),
            deletes: BTreeMap::new(),
            batches: Vec::new(),
            tombstones: BTreeMap::new(),
            last_version: 0,
        }
    }
}

/// Everything the catalog holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By id.
    pub collections: BTreeMap<u64, CollectionState>,
    /// By id, so by time.
    pub jobs: BTreeMap<String, Job>,
}

/// What somebody waits for.
enum Waiting {
    Commit { edits: Vec<Edit>, done: oneshot::Sender<Result<()>> },
    Documents { job: String, from: usize, done: oneshot::Sender<Result<Option<JobDocuments>>> },
}

/// The open catalog.
#[derive(Debug)]
pub struct Catalog {
    queue: mpsc::Sender<Waiting>,
}

impl Catalog {
    /// Opens (or makes) the catalog of a data directory and reads it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Catalog, State)> {
        let path = dir.join(FILE);
        if !path.exists() {
            create(&disk, dir, &path)?;
        }
        let file = CatalogFile::open(disk, path)?;
        let state = file.load()?;
        let (queue, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("catalog".into())
            .spawn(move || serve(file, &receiver))
            .map_err(StoreError::io("start the thread of", &dir.join(FILE)))?;
        Ok((Catalog { queue }, state))
    }

    /// Makes the edits durable, all or none of them, in the order of the calls.
    pub async fn commit(&self, edits: Vec<Edit>) -> Result<()> {
        let (done, receiver) = oneshot::channel();
        self.queue.send(Waiting::Commit { edits, done }).map_err(|_| closed("commit to"))?;
        receiver.await.map_err(|_| closed("commit to"))?
    }

    /// Some documents of a job, from the position `from` in its request; `None`: there are no more.
    pub async fn job_documents(&self, job: &str, from: usize) -> Result<Option<JobDocuments>> {
        let (done, receiver) = oneshot::channel();
        let ask = Waiting::Documents { job: job.to_owned(), from, done };
        self.queue.send(ask).map_err(|_| closed("read"))?;
        receiver.await.map_err(|_| closed("read"))?
    }
}

fn closed(action: &'static str) -> StoreError {
    StoreError::io(action, Path::new(FILE))(std::io::Error::other("it was closed"))
}

/// Makes an empty catalog under another name first: power lost while redb writes its first pages leaves a file
/// that it refuses for good.
fn create(disk: &Arc<dyn Disk>, dir: &Path, path: &Path) -> Result<()> {
    let temporary = dir.join(format!("{FILE}.new"));
    disk.remove(&temporary)?;
    let mut file = CatalogFile::open(Arc::clone(disk), temporary.clone())?;
    file.commit(std::iter::empty())?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// Reads the catalog of a data directory that no engine has open.
pub fn read(disk: Arc<dyn Disk>, dir: &Path) -> Result<State> {
    CatalogFile::open(disk, dir.join(FILE))?.load()
}

/// Checks every page of the catalog of a data directory that no engine has open.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<()> {
    let mut file = CatalogFile::open(disk, dir.join(FILE))?;
    let path = file.path.clone();
    match file.database.as_mut().map(Database::check_integrity) {
        Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(StoreError::corrupt(&path, "the integrity check failed (it was repaired)")),
        Some(Err(error)) => Err(StoreError::corrupt(&path, error.to_string())),
        None => Err(StoreError::corrupt(&path, "it could not be opened")),
    }
}

/// The catalog thread: takes what waits, commits it as one transaction, answers everyone. Ends when the
/// [`Catalog`] is dropped.
fn serve(mut file: CatalogFile, queue: &mpsc::Receiver<Waiting>) {
    while let Ok(first) = queue.recv() {
        let rest = std::iter::from_fn(|| queue.try_recv().ok());
        let (mut edits, mut committed, mut questions) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in std::iter::once(first).chain(rest).take(GROUP) {
            match waiting {
                Waiting::Commit { edits: more, done } => {
                    edits.push(more);
                    committed.push(done);
                }
                Waiting::Documents { job, from, done } => questions.push((job, from, done)),
            }
        }
        // the callers may have gone away
        if !committed.is_empty() {
            let result = file.commit(edits.iter().flatten());
            committed.into_iter().for_each(|done| drop(done.send(result.clone())));
        }
        for (job, from, done) in questions {
            let _ = done.send(file.job_documents(&job, from));
        }
    }
}

struct CatalogFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Empty only after a failed commit, where the file could not be opened again either.
    database: Option<Database>,
    /// How many commits callers know of. The file counts them too: after a failed one, that tells whether it
    /// has reached the file all the same.
    commits: u64,
}

impl CatalogFile {
    fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<CatalogFile> {
        let mut file = CatalogFile { disk, path, database: None, commits: 0 };
        file.commits = file.reopen()?;
        Ok(file)
    }

    /// Opens the file anew; returns how many commits it holds.
    fn reopen(&mut self) -> Result<u64> {
        self.database = None;
        let backend = self.disk.database(&self.path)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(DatabaseStorage(backend))
            .map_err(|error| self.failed("open", error))?;
        let commits = number(&database, COMMITS).map_err(|error| self.failed("read", error))?;
        self.database = Some(database);
        Ok(commits.unwrap_or(0))
    }

    /// A failed commit (a full disk) leaves the database refusing writes: it is opened anew, which also shows
    /// whether the commit has reached the file. While that cannot be known, and where a commit that was
    /// answered with an error turns out to be there, every other is refused: what searches see would not be
    /// what the next start finds.
    fn commit<'a>(&mut self, edits: impl Iterator<Item = &'a Edit>) -> Result<()> {
        if self.database.is_none() && self.reopen()? != self.commits {
            self.database = None;
            let why = "an earlier commit failed and has reached the disk all the same: restart gleaner";
            return Err(StoreError::io("commit to", &self.path)(std::io::Error::other(why)));
        }
        let mut edits = edits.peekable();
        if self.commits > 0 && edits.peek().is_none() {
            return Ok(()); // no commit is in doubt, which is all there is to know
        }
        let Err(error) = self.apply(edits) else { return Ok(()) };
        let known = self.commits;
        match self.reopen() {
            Ok(found) if found == known => return Err(error),
            Ok(found) => {
                // it failed in its last sync: another one makes sure that it is on the disk
                self.commits = found;
                if self.apply(std::iter::empty()).is_ok() {
                    return Ok(());
                }
            }
            Err(error) => tracing::error!(%error, "the catalog cannot be reopened"),
        }
        (self.commits, self.database) = (known, None);
        Err(error)
    }

    fn apply<'a>(&mut self, edits: impl Iterator<Item = &'a Edit>) -> Result<()> {
        let Some(database) = &self.database else { return Ok(()) };
        apply(database, self.commits + 1, edits).map_err(|error| self.failed("commit to", error))?;
        self.commits += 1;
        Ok(())
    }

    fn load(&self) -> Result<State> {
        let Some(database) = &self.database else { return Ok(State::default()) };
        let found = number(database, VERSION).map_err(|error| self.failed("read", error))?;
        let found = found.map_or(FORMAT_VERSION, |version| u32::try_from(version).unwrap_or(u32::MAX));
        if found > FORMAT_VERSION {
            let path = self.path.clone();
            return Err(StoreError::NewerFormat { path, found, supported: FORMAT_VERSION });
        }
        load(database, &self.path).map_err(|error| self.failed("read", error))
    }

    fn job_documents(&self, job: &str, from: usize) -> Result<Option<JobDocuments>> {
        let Some(database) = &self.database else {
            let why = "a commit failed before, and what has reached the disk is not known: restart gleaner";
            return Err(StoreError::io("read", &self.path)(std::io::Error::other(why)));
        };
        job_documents(database, job, from).map_err(|error| self.failed("read", error))
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Io(source) => StoreError::io(action, &self.path)(std::io::Error::other(source)),
            redb::Error::Corrupted(what) => StoreError::corrupt(&self.path, what),
            redb::Error::DatabaseAlreadyOpen => StoreError::Locked { path: self.path.clone() },
            other => StoreError::io(action, &self.path)(std::io::Error::other(other.to_string())),
        }
    }
}

/// A number of the `meta` table; `None` also in a new file.
fn number(database: &Database, name: &str) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get(name)?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Applies the edits as commit number `commits`. What is said of a collection that was dropped meanwhile is
/// left out.
fn apply<'a>(
    database: &Database,
    commits: u64,
    edits: impl Iterator<Item = &'a Edit>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut meta = transaction.open_table(META)?;
        let mut collections = transaction.open_table(COLLECTIONS)?;
        let mut segments = transaction.open_table(SEGMENTS)?;
        let mut deletes = transaction.open_table(DELETES)?;
        let mut batches = transaction.open_table(BATCHES)?;
        let mut tombstones = transaction.open_table(TOMBSTONES)?;
        let mut versions = transaction.open_table(VERSIONS)?;
        let mut jobs = transaction.open_table(JOBS)?;
        let mut job_documents = transaction.open_table(JOB_DOCUMENTS)?;
        if meta.get(VERSION)?.is_none() {
            meta.insert(VERSION, u64::from(FORMAT_VERSION))?;
        }
        meta.insert(COMMITS, commits)?;
        for edit in edits {
            // what was under way while its collection was dropped must not outlive it
            if let Some(id) = edit.adds_to()
                && collections.get(id)?.is_none()
            {
                continue;
            }
            match edit {
                Edit::PutCollection(record) => {
                    collections.insert(record.id, json(record).as_slice())?;
                }
                Edit::DropCollection(id) => {
                    collections.remove(id)?;
                    let all = (*id, 0)..=(*id, u64::MAX);
                    segments.retain_in(all.clone(), |_, _| false)?;
                    deletes.retain_in(all.clone(), |_, _| false)?;
                    batches.retain_in(all, |_, _| false)?;
                    tombstones.retain_in((*id, "")..(id + 1, ""), |_, _| false)?;
                    versions.remove(id)?;
                }
                Edit::PutSegment(collection, record) => {
                    segments.insert((*collection, record.id), json(record).as_slice())?;
                }
                Edit::DropSegment(collection, segment) => {
                    segments.remove((*collection, *segment))?;
                    deletes.remove((*collection, *segment))?;
                }
                Edit::PutDeletes(collection, segment, rows) => {
                    let mut bytes = Vec::with_capacity(rows.serialized_size());
                    rows.serialize_into(&mut bytes).map_err(redb::Error::from)?;
                    deletes.insert((*collection, *segment), bytes.as_slice())?;
                }
                Edit::PutBatch(collection, record) => {
                    batches.insert((*collection, record.first_version), json(record).as_slice())?;
                }
                Edit::DropBatch(collection, first_version) => {
                    batches.remove((*collection, *first_version))?;
                }
                Edit::PutTombstone(collection, id, version) => {
                    tombstones.insert((*collection, id.as_str()), version)?;
                }
                Edit::PutVersion(collection, version) => {
                    versions.insert(collection, version)?;
                }
                Edit::PutUsage(id, usage) => {
                    let known = collections.get(id)?.and_then(|value| parse(value.value()));
                    if let Some(record) = known {
                        let record = CollectionRecord { usage: *usage, ..record };
                        collections.insert(id, json(&record).as_slice())?;
                    }
                }
                Edit::DropTombstone(collection, id) => {
                    tombstones.remove((*collection, id.as_str()))?;
                }
                Edit::PutJob(_, job) => {
                    jobs.insert(job.id.as_str(), json(job).as_slice())?;
                }
                Edit::PutJobDocuments(_, job, list) => {
                    let first = list.documents.first().map_or(0, |(index, _)| *index as u64);
                    job_documents.insert((job.as_str(), first), json(list).as_slice())?;
                }
                Edit::DropJob(id) => {
                    jobs.remove(id.as_str())?;
                    job_documents.retain_in((id.as_str(), 0)..=(id.as_str(), u64::MAX), |_, _| false)?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn load(database: &Database, path: &Path) -> Result<State, redb::Error> {
    let unreadable =
        |what: &str| redb::Error::Corrupted(format!("{what} in {} is unreadable", path.display()));
    let transaction = database.begin_read()?;
    let mut state = State::default();
    if let Err(redb::TableError::TableDoesNotExist(_)) = transaction.open_table(META) {
        return Ok(state); // a new file
    }
    for entry in transaction.open_table(COLLECTIONS)?.iter()? {
        let (id, value) = entry?;
        let record = parse(value.value()).ok_or_else(|| unreadable("a collection"))?;
        state.collections.insert(id.value(), CollectionState::new(record));
    }
    for entry in transaction.open_table(SEGMENTS)?.iter()? {
        let (key, value) = entry?;
        if let Some(collection) = state.collections.get_mut(&key.value().0) {
            collection.segments.push(parse(value.value()).ok_or_else(|| unreadable("a segment"))?);
        }
    }
    for entry in transaction.open_table(DELETES)?.iter()? {
        let (key, value) = entry?;
        let (collection, segment) = key.value();
        if let Some(collection) = state.collections.get_mut(&collection) {
            let rows = RoaringBitmap::deserialize_from(value.value())
                .map_err(|_| unreadable("a set of deleted rows"))?;
            collection.deletes.insert(segment, rows);
        }
    }
    for entry in transaction.open_table(BATCHES)?.iter()? {
        let (key, value) = entry?;
        if let Some(collection) = state.collections.get_mut(&key.value().0) {
            collection.batches.push(parse(value.value()).ok_or_else(|| unreadable("a batch"))?);
        }
    }
    for entry in transaction.open_table(TOMBSTONES)?.iter()? {
        let (key, value) = entry?;
        let (collection, id) = key.value();
        if let Some(collection) = state.collections.get_mut(&collection) {
            collection.tombstones.insert(id.to_owned(), value.value());
        }
    }
    for entry in transaction.open_table(VERSIONS)?.iter()? {
        let (id, version) = entry?;
        if let Some(collection) = state.collections.get_mut(&id.value()) {
            collection.last_version = version.value();
        }
    }
    for entry in transaction.open_table(JOBS)?.iter()? {
        let (id, value) = entry?;
        let job = parse(value.value()).ok_or_else(|| unreadable("a job"))?;
        state.jobs.insert(id.value().to_owned(), job);
    }
    Ok(state)
}

/// Documents of a job, from the position `from` in its request; as many as one value has.
fn job_documents(database: &Database, job: &str, from: usize) -> Result<Option<JobDocuments>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(JOB_DOCUMENTS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let before = table.range((job, 0)..=(job, from as u64))?.next_back().transpose()?;
    let start = before.map_or(0, |(key, _)| key.value().1);
    for entry in table.range((job, start)..=(job, u64::MAX))? {
        let (_, value) = entry?;
        let unreadable =
            || redb::Error::Corrupted(format!("the list of documents of job {job} is unreadable"));
        let mut list: JobDocuments = parse(value.value()).ok_or_else(unreadable)?;
        let skipped = list.documents.iter().take_while(|(index, _)| *index < from).count();
        list.documents.drain(..skipped);
        list.first_version = list.first_version.saturating_add(skipped as u64);
        if !list.documents.is_empty() {
            return Ok(Some(list));
        }
    }
    Ok(None)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default() // records of strings and numbers always serialise
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OsDisk;

    fn collection(id: u64, name: &str) -> Edit {
        Edit::PutCollection(Box::new(CollectionRecord {
            id,
            name: name.into(),
            created_at: String::new(),
            definition: Definition::default(),
            dimensions: Some(384),
            model: None,
            usage: Usage::default(),
        }))
    }

    fn segment(id: u64) -> SegmentRecord {
        SegmentRecord { id, rows: 5, documents: 2, max_version: 9, vectors: true, graph: false, bytes: 1 }
    }

    #[tokio::test]
    async fn edits_survive_reopening_and_go_with_their_collection() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        {
            let (catalog, state) = Catalog::open(Arc::clone(&disk), dir.path()).unwrap();
            assert!(state.collections.is_empty());
            catalog.commit(vec![collection(1, "a"), collection(2, "b")]).await.unwrap();
            let rows = Arc::new(RoaringBitmap::from([1, 3]));
            let batch = BatchRecord { first_version: 4, documents: 1, bytes: 1, job: "j".into() };
            let edits = [1, 2].map(|c| {
                [
                    Edit::PutSegment(c, segment(7)),
                    Edit::PutDeletes(c, 7, Arc::clone(&rows)),
                    Edit::PutBatch(c, batch.clone()),
                    Edit::PutTombstone(c, "id".into(), 3),
                    Edit::PutUsage(c, Usage { tokens: 11, ..Usage::default() }),
                ]
            });
            catalog.commit(edits.into_iter().flatten().collect()).await.unwrap();
            catalog.commit(vec![Edit::DropCollection(1)]).await.unwrap();
            catalog.commit(vec![Edit::PutUsage(1, Usage::default())]).await.unwrap();
        }
        let state = loop {
            // the catalog thread ends a moment after its handle
            match read(Arc::clone(&disk), dir.path()) {
                Err(StoreError::Locked { .. }) => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        assert_eq!(state.collections.keys().collect::<Vec<_>>(), [&2]);
        let b = &state.collections[&2];
        assert_eq!(b.segments[0].rows, 5);
        assert!(b.deletes[&7].contains(3));
        assert_eq!(b.batches[0].job, "j");
        assert_eq!(b.tombstones["id"], 3);
        assert_eq!((b.record.usage.tokens, b.record.name.as_str()), (11, "b"));
        verify(disk, dir.path()).unwrap();
    }
    #[tokio::test]
    async fn the_documents_of_a_job_are_listed_from_any_position_and_go_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, _) = Catalog::open(Arc::new(OsDisk), dir.path()).unwrap();
        catalog.commit(vec![collection(1, "a")]).await.unwrap();
        // every third position was refused
        let all: Vec<_> = (0..7000).filter(|n| n % 3 != 0).map(|n| (n, format!("d{n}"))).collect();
        for job in ["i", "j", "k"] {
            let own = if job == "j" { &all[..] } else { &all[..1] };
            catalog.commit(JobDocuments::edits(1, job, 50, own).collect()).await.unwrap();
        }
        // of a collection that was dropped meanwhile
        catalog.commit(JobDocuments::edits(2, "l", 50, &all).collect()).await.unwrap();
        let listed = async |job: &str, mut from: usize| {
            let mut listed = Vec::new();
            while let Some(part) = catalog.job_documents(job, from).await.unwrap() {
                assert!((1..=DOCUMENTS_A_VALUE).contains(&part.documents.len()));
                from = part.documents.last().unwrap().0 + 1;
                listed.extend((part.first_version..).zip(part.documents));
            }
            listed
        };
        let expected: Vec<_> = (50..).zip(all.clone()).collect();
        for from in [0, 1, 2, 3, 1499, 1500, 1501, 1502, 5000, 6998, 6999, 7000, usize::MAX] {
            let later: Vec<_> = expected.iter().filter(|(_, (index, _))| *index >= from).cloned().collect();
            assert_eq!(listed("j", from).await, later, "{from}");
        }
        catalog.commit(vec![Edit::DropJob("j".into())]).await.unwrap();
        let left = [listed("i", 0).await, listed("j", 0).await, listed("k", 0).await, listed("l", 0).await];
        assert_eq!(left.map(|list| list.len()), [1, 0, 1, 0]);
    }
}
