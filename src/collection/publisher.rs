//! The one task that changes a collection: commits to the catalog, then swaps the snapshot.
//!
//! Small writes that wait together become one segment and one commit. A replaced document's old rows are
//! marked deleted in the transaction that adds the new ones, so a search sees all of one or all of the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use roaring::RoaringBitmap;
use tokio::sync::{mpsc, oneshot};

use crate::collection::Collection;
use crate::collection::catalog::{Edit, SegmentRecord};
use crate::collection::inbox;
use crate::collection::snapshot::{LiveSegment, Snapshot};
use crate::error::{Error, Result};
use crate::ingest::job::Job;
use crate::rows::RowSet;
use crate::segment::build::{self, PreparedDocument};
use crate::segment::merge::live_documents;
use crate::segment::{Segment, part_kinds, part_path};
use crate::text::filter::Filter;
use crate::vector::graph::Ancestor;

/// Writes that wait together share a segment up to this many bytes of text.
const GROUP_BYTES: usize = 16 << 20;

/// A change of a collection, with the way to answer who asked for it.
#[derive(Debug)]
pub enum Operation {
    /// Prepared documents that somebody waits for; they are grouped.
    Write(Write),
    /// A built segment with the inbox batches it came from.
    Segment(Box<BuiltSegment>, oneshot::Sender<Result<()>>),
    /// Deletes documents by id; answers how many were searchable or on their way.
    Delete {
        /// The ids.
        ids: Vec<String>,
        /// Newer versions stay.
        version: u64,
        /// Gets the count.
        done: oneshot::Sender<Result<u64>>,
    },
    /// Deletes the documents that pass a filter; answers how many.
    DeleteWhere {
        /// The filter.
        filter: Filter,
        /// Newer versions stay.
        version: u64,
        /// Gets the count.
        done: oneshot::Sender<Result<u64>>,
    },
    /// Puts a merged segment in the place of its inputs.
    Merged(Box<MergedSegment>, oneshot::Sender<Result<()>>),
    /// Adds a graph of that many bytes to a segment.
    Graph(u64, u64, oneshot::Sender<Result<()>>),
}

/// Documents whose write is acknowledged when they are searchable.
#[derive(Debug)]
pub struct Write {
    /// In the order of acceptance; ids may repeat.
    pub documents: Arc<Vec<PreparedDocument>>,
    /// For each document, whether it is searchable now (`false`: a later version took its place).
    pub done: oneshot::Sender<Result<Vec<bool>>>,
}

/// A segment on disk that nothing names yet.
#[derive(Debug)]
pub struct BuiltSegment {
    /// Its record; `None` where no document of its batches was left.
    pub record: Option<SegmentRecord>,
    /// First versions of the batches it came from.
    pub batches: Vec<u64>,
    /// Their jobs as they end with this commit.
    pub jobs: Vec<Job>,
}

/// A merged segment on disk that nothing names yet.
#[derive(Debug)]
pub struct MergedSegment {
    /// Its record.
    pub record: SegmentRecord,
    /// Each input's id and the rows that were copied.
    pub inputs: Vec<(u64, RowSet)>,
    /// What its graph can be made from.
    pub ancestor: Option<Ancestor>,
}

/// Runs until the collection is dropped.
pub async fn run(collection: Weak<Collection>, mut operations: mpsc::Receiver<Operation>) {
    let mut held: Option<Operation> = None;
    loop {
        let operation = match held.take() {
            Some(operation) => operation,
            None => match operations.recv().await {
                Some(operation) => operation,
                None => return,
            },
        };
        let Some(collection) = collection.upgrade() else { return };
        match operation {
            Operation::Write(first) => {
                let mut group = vec![first];
                let mut bytes: usize = text_bytes(&group[0].documents);
                while bytes < GROUP_BYTES {
                    match operations.try_recv() {
                        Ok(Operation::Write(next)) => {
                            bytes += text_bytes(&next.documents);
                            group.push(next);
                        }
                        Ok(other) => {
                            held = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                write_group(&collection, group).await;
            }
            Operation::Segment(built, done) => {
                let result = add_segment(&collection, *built).await;
                let _ = done.send(result.map(drop));
            }
            Operation::Delete { ids, version, done } => {
                let _ = done.send(delete(&collection, ids, version).await);
            }
            Operation::DeleteWhere { filter, version, done } => {
                let _ = done.send(delete_where(&collection, filter, version).await);
            }
            Operation::Merged(merged, done) => {
                let _ = done.send(replace_merged(&collection, *merged).await);
            }
            Operation::Graph(segment, bytes, done) => {
                let _ = done.send(add_graph(&collection, segment, bytes).await);
            }
        }
    }
}

fn text_bytes(documents: &[PreparedDocument]) -> usize {
    documents.iter().map(|document| document.text.len()).sum()
}

/// Builds one segment from several writes, publishes it and answers each of them.
async fn write_group(collection: &Arc<Collection>, group: Vec<Write>) {
    let all = group.iter().map(|write| Arc::clone(&write.documents)).collect();
    let together = build_and_add(collection, all).await;
    let alone = together.is_err() && group.len() > 1;
    for Write { documents, done } in group {
        let live = match &together {
            // one write must not fail with another's documents
            Err(_) if alone => build_and_add(collection, vec![Arc::clone(&documents)]).await,
            other => other.clone(),
        };
        let is_live = |document: &PreparedDocument| match &live {
            Ok(live) => live.binary_search(&document.version).is_ok(),
            Err(_) => false,
        };
        let outcome = documents.iter().map(is_live).collect();
        let _ = done.send(live.as_ref().map(|_| outcome).map_err(Clone::clone));
    }
}

async fn build_and_add(
    collection: &Arc<Collection>,
    documents: Vec<Arc<Vec<PreparedDocument>>>,
) -> Result<Vec<u64>> {
    let (builder, id) = (Arc::clone(collection), collection.shared.new_id());
    let job = move || {
        let newest = newest_of_each(documents.iter().flat_map(|list| list.iter()));
        build::build(&builder.place(), id, &newest)
    };
    let record = collection.shared.pools.build.run(job).await??;
    add_segment(collection, BuiltSegment { record: Some(record), batches: vec![], jobs: vec![] }).await
}

/// The newest version of each id, in the order of acceptance.
pub fn newest_of_each<'a>(
    documents: impl IntoIterator<Item = &'a PreparedDocument>,
) -> Vec<&'a PreparedDocument> {
    let mut ordered: Vec<_> = documents.into_iter().collect();
    ordered.sort_by_key(|document| document.version);
    let newest: HashMap<&str, u64> =
        ordered.iter().map(|document| (document.id.as_str(), document.version)).collect();
    ordered.retain(|document| newest.get(document.id.as_str()) == Some(&document.version));
    ordered
}

/// Publishes a segment; returns the versions of its documents that are searchable, ascending.
async fn add_segment(collection: &Arc<Collection>, built: BuiltSegment) -> Result<Vec<u64>> {
    let snapshot = collection.snapshot();
    let put_job = |job: &Job| Edit::PutJob(collection.record.id, Box::new(job.clone()));
    let mut edits: Vec<Edit> = built.jobs.iter().map(put_job).collect();
    edits.extend(built.batches.iter().map(|&first| Edit::DropBatch(collection.record.id, first)));
    let spent = collection.order().spent_tombstones(&built.batches);
    edits.extend(spent.iter().map(|id| Edit::DropTombstone(collection.record.id, id.clone())));

    let mut outcome = Vec::new();
    let mut change = Change::new(Arc::clone(collection), Arc::clone(&snapshot));
    if let Some(record) = built.record {
        let job = move || {
            let live = change.add(record)?;
            Ok::<_, Error>((change, live))
        };
        (change, outcome) = collection.shared.pools.build.run(job).await??;
    }
    change.commit(edits).await?;

    collection.order().forget(&spent);
    for job in built.jobs {
        collection.shared.jobs.replace(job);
    }
    for first in built.batches {
        remove_file(collection, &inbox::path(&collection.dir, first));
        collection.finish(first);
    }
    outcome.sort_unstable();
    Ok(outcome)
}

async fn delete(collection: &Arc<Collection>, ids: Vec<String>, version: u64) -> Result<u64> {
    let mut change = Change::new(Arc::clone(collection), collection.snapshot());
    let job = move || {
        let mut deleted = 0;
        let mut edits = Vec::new();
        for id in ids {
            let removed = change.remove_older(&id, version)?.0;
            if !removed {
                read_back(&change.collection);
            }
            let mut order = change.collection.order();
            deleted += u64::from(removed || order.is_pending(&id, version));
            edits.extend(order.bury(change.collection.record.id, &id, version));
        }
        Ok::<_, Error>((change, edits, deleted))
    };
    let (change, edits, deleted) = collection.shared.pools.build.run(job).await??;
    change.commit(edits).await?;
    Ok(deleted)
}

/// Learns the ids of what was accepted before the last start and still waits in the inbox: each file is read
/// once, by the first delete that needs it. None is removed meanwhile: that too is the publisher's doing.
fn read_back(collection: &Collection) {
    let unread = collection.order().unread();
    for first in unread {
        let ids = inbox::read_ids(&collection.dir, first).unwrap_or_else(|error| {
            tracing::error!(%error, collection = collection.record.name, "an accepted batch cannot be read");
            Vec::new() // its documents are lost: its job says so
        });
        collection.order().learn(first, ids);
    }
}

async fn delete_where(collection: &Arc<Collection>, filter: Filter, version: u64) -> Result<u64> {
    let mut change = Change::new(Arc::clone(collection), collection.snapshot());
    let job = move || {
        let mut deleted = 0;
        for index in 0..change.before.segments.len() {
            let live = change.before.segments[index].clone();
            let mut rows = filter.rows(live.segment.text()?)?;
            rows.and(&live.alive_rows());
            for entry in live_documents(live.segment.source()?, &rows) {
                let entry = entry?;
                if entry.version < version {
                    change.delete_rows(index, entry.row_range());
                    deleted += 1;
                }
            }
        }
        Ok::<_, Error>((change, deleted))
    };
    let (change, deleted) = collection.shared.pools.build.run(job).await??;
    change.commit(Vec::new()).await?;
    Ok(deleted)
}

/// Puts a merged segment in the place of its inputs. Rows that were deleted since they were copied are
/// deleted in the new segment too: row r of an input is the copied rows before it, after those of the inputs
/// before.
async fn replace_merged(collection: &Arc<Collection>, merged: MergedSegment) -> Result<()> {
    let snapshot = collection.snapshot();
    let mut deleted = RoaringBitmap::new();
    let mut base = 0;
    for (id, copied) in &merged.inputs {
        let live = snapshot.segments.iter().find(|live| live.segment.record.id == *id);
        for (rank, row) in copied.iter().enumerate() {
            // a segment that is gone had no live row left
            if live.is_none_or(|live| !live.is_alive(row)) {
                deleted.insert(base + rank as u32);
            }
        }
        base += copied.len();
    }
    let is_input = |live: &LiveSegment| merged.inputs.iter().any(|(id, _)| *id == live.segment.record.id);
    let segment = Segment::open(&collection.dir, merged.record).with_ancestor(merged.ancestor);
    let live = LiveSegment::new(Arc::new(segment), Arc::new(deleted));
    let mut after = Vec::with_capacity(snapshot.segments.len());
    let mut edits = Vec::new();
    let mut placed = false;
    for old in &snapshot.segments {
        if !is_input(old) {
            after.push(old.clone());
            continue;
        }
        edits.push(Edit::DropSegment(collection.record.id, old.segment.record.id));
        if !std::mem::replace(&mut placed, true) {
            after.push(live.clone());
        }
    }
    if !placed || live.live_rows() == 0 {
        // everything in it was deleted meanwhile
        after.retain(|other| !Arc::ptr_eq(&other.segment, &live.segment));
        collection.place().discard(live.segment.record.id);
    } else {
        let id = live.segment.record.id;
        edits.push(Edit::PutSegment(collection.record.id, live.segment.record.clone()));
        if !live.deleted.is_empty() {
            edits.push(Edit::PutDeletes(collection.record.id, id, Arc::clone(&live.deleted)));
        }
    }
    collection.shared.catalog.commit(edits).await?;
    let dropped: Vec<_> = snapshot.segments.iter().filter(|old| is_input(old)).cloned().collect();
    collection.replace_snapshot(Snapshot::new(after));
    dropped.iter().for_each(|old| remove_parts(collection, &old.segment.record));
    Ok(())
}

async fn add_graph(collection: &Arc<Collection>, id: u64, bytes: u64) -> Result<()> {
    let snapshot = collection.snapshot();
    let mut segments = snapshot.segments.clone();
    let Some(live) = segments.iter_mut().find(|live| live.segment.record.id == id) else {
        // merged or emptied meanwhile
        let path = part_path(&collection.dir, id, crate::store::PartKind::Graph);
        remove_file(collection, &path);
        return Ok(());
    };
    let mut record = live.segment.record.clone();
    record.graph = true;
    record.bytes += bytes;
    let segment = Segment::open(&collection.dir, record.clone());
    live.segment = Arc::new(segment);
    collection.shared.catalog.commit(vec![Edit::PutSegment(collection.record.id, record)]).await?;
    collection.replace_snapshot(Snapshot::new(segments));
    Ok(())
}

/// Deletes and an optional new segment, on the way from one snapshot to the next.
struct Change {
    collection: Arc<Collection>,
    before: Arc<Snapshot>,
    /// Deleted rows by position in `before`, for the segments that change.
    deleted: BTreeMap<usize, RoaringBitmap>,
    added: Option<LiveSegment>,
}

impl Change {
    fn new(collection: Arc<Collection>, before: Arc<Snapshot>) -> Change {
        Change { collection, before, deleted: BTreeMap::new(), added: None }
    }

    fn is_alive(&self, index: usize, row: u32) -> bool {
        match self.deleted.get(&index) {
            Some(deleted) => !deleted.contains(row),
            None => self.before.segments[index].is_alive(row),
        }
    }

    fn delete_rows(&mut self, index: usize, rows: std::ops::Range<u32>) {
        let before = &self.before.segments[index].deleted;
        self.deleted.entry(index).or_insert_with(|| (**before).clone()).insert_range(rows);
    }

    /// Deletes versions of a document below `version`. Says whether there was one, and whether a newer one
    /// is there.
    fn remove_older(&mut self, id: &str, version: u64) -> Result<(bool, bool)> {
        let before = Arc::clone(&self.before);
        let (mut removed, mut newer) = (false, false);
        for (index, live) in before.segments.iter().enumerate() {
            let Some(entry) = live.segment.source()?.find(id)? else { continue };
            if !self.is_alive(index, entry.first_row) {
                continue;
            }
            if entry.version > version {
                newer = true;
            } else {
                self.delete_rows(index, entry.row_range());
                removed = true;
            }
        }
        Ok((removed, newer))
    }

    /// Adds a segment of distinct ids: older versions of its documents are deleted elsewhere, and its own
    /// where a newer version or a later delete is there. Returns the versions that are alive.
    fn add(&mut self, record: SegmentRecord) -> Result<Vec<u64>> {
        let segment = Segment::open(&self.collection.dir, record);
        if let Some(error) = segment.damage().into_iter().next() {
            return Err(error);
        }
        let source = segment.source()?;
        let mut own = RoaringBitmap::new();
        let mut live = Vec::new();
        for ordinal in 0..source.documents() {
            let entry = source.document(ordinal)?;
            let id = source.id(&entry)?;
            let buried = self.collection.order().is_buried(id, entry.version);
            let (_, newer) = self.remove_older(id, entry.version)?;
            if buried || newer {
                own.insert_range(entry.row_range());
            } else {
                live.push(entry.version);
            }
        }
        self.added = Some(LiveSegment::new(Arc::new(segment), Arc::new(own)));
        Ok(live)
    }

    /// Commits the change together with `edits`, shows it to searches and removes the files of segments
    /// without a live row. After a failed commit nothing has changed for searches; the files of the new
    /// segment are left for the next start, because it may not be known yet whether the commit reached the
    /// disk.
    async fn commit(self, mut edits: Vec<Edit>) -> Result<()> {
        let collection = &self.collection;
        let id = collection.record.id;
        let mut after = Vec::with_capacity(self.before.segments.len() + 1);
        let mut dropped = Vec::new();
        for (index, old) in self.before.segments.iter().enumerate() {
            let Some(deleted) = self.deleted.get(&index) else {
                after.push(old.clone());
                continue;
            };
            let deleted = Arc::new(deleted.clone());
            let live = LiveSegment::new(Arc::clone(&old.segment), Arc::clone(&deleted));
            if live.live_rows() == 0 {
                edits.push(Edit::DropSegment(id, old.segment.record.id));
                dropped.push(old.segment.record.clone());
            } else {
                edits.push(Edit::PutDeletes(id, old.segment.record.id, deleted));
                after.push(live);
            }
        }
        let mut unused = None;
        if let Some(live) = self.added {
            let record = live.segment.record.clone();
            if live.live_rows() == 0 {
                unused = Some(record.id);
            } else {
                if !live.deleted.is_empty() {
                    edits.push(Edit::PutDeletes(id, record.id, Arc::clone(&live.deleted)));
                }
                edits.push(Edit::PutSegment(id, record));
                after.push(live);
            }
        }
        let nothing = edits.is_empty() && unused.is_none();
        let usage = collection.unsaved_usage().filter(|_| !nothing);
        if !nothing {
            edits.push(Edit::PutVersion(id, collection.order().last_version()));
        }
        edits.extend(usage.map(|usage| Edit::PutUsage(id, usage)));
        // also without an edit: it fails while an earlier commit is in doubt
        collection.shared.catalog.commit(edits).await?;
        if let Some(usage) = usage {
            collection.usage_is_saved(usage);
        }
        if nothing {
            return Ok(());
        }
        collection.replace_snapshot(Snapshot::new(after));
        dropped.iter().for_each(|record| remove_parts(collection, record));
        if let Some(segment) = unused {
            collection.place().discard(segment);
        }
        Ok(())
    }
}

/// Unlinks the files of a segment no snapshot will name again; searches that hold it keep their maps.
fn remove_parts(collection: &Collection, record: &SegmentRecord) {
    for kind in part_kinds(record) {
        remove_file(collection, &part_path(&collection.dir, record.id, kind));
    }
}

fn remove_file(collection: &Collection, path: &std::path::Path) {
    if let Err(error) = collection.shared.disk.remove(path) {
        tracing::warn!(%error, "a left-over file could not be removed; the next start tries again");
    }
}
