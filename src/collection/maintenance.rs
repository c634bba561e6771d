//! Background work on segments: merging small or half-deleted ones, and building graphs. One task for the
//! whole engine, one job at a time, on the background pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::collection::Collection;
use crate::collection::publisher::{MergedSegment, Operation};
use crate::collection::snapshot::LiveSegment;
use crate::error::{Code, Result};
use crate::search::window::Windows;
use crate::segment::merge::merge;
use crate::store::PartKind;
use crate::vector::hnsw;

/// Merges do not make segments of more rows than this.
const MAX_ROWS: u32 = 2_000_000;
/// Merges do not take inputs of more bytes than this.
const MAX_BYTES: u64 = 8 << 30;
/// While documents keep coming, this many segments are merged at a time.
const FAN_IN: usize = 6;
/// A segment is part of the next merge if it has at most this many times the rows of all smaller ones.
const RATIO: u64 = 4;
/// Documents on their way that make a collection busy.
const BUSY: u64 = 256;
/// A segment with this share of deleted rows is rewritten.
const DELETED_SHARE: f32 = 0.2;
/// How long a collection is left alone after a job on it failed.
const BACK_OFF: Duration = Duration::from_secs(5);

/// What is to be done next with a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Write one segment from the live rows of these.
    Merge(Vec<u64>),
    /// Build the graph of this segment.
    Graph(u64),
}

impl Task {
    /// The segments it reads.
    fn segments(&self) -> Vec<u64> {
        match self {
            Task::Merge(ids) => ids.clone(),
            Task::Graph(id) => vec![*id],
        }
    }
}

/// What the plan looks at of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The segment.
    pub id: u64,
    /// Rows, deleted ones included.
    pub rows: u32,
    /// Rows that are not deleted.
    pub live_rows: u32,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it lacks a graph that it should have.
    pub wants_graph: bool,
}

/// The next task. `busy`: documents keep coming, so merges wait until they are worth it and graphs until the
/// segments have settled.
pub fn plan(segments: &[Size], busy: bool) -> Option<Task> {
    let half_deleted = segments.iter().find(|segment| {
        (segment.rows - segment.live_rows) as f32 >= DELETED_SHARE * segment.rows as f32
            && segment.live_rows < segment.rows
    });
    if let Some(segment) = half_deleted {
        return Some(Task::Merge(vec![segment.id]));
    }
    let mut by_size: Vec<&Size> = segments.iter().collect();
    by_size.sort_by_key(|segment| (segment.live_rows, segment.id));
    let (mut rows, mut bytes) = (0u64, 0u64);
    let mut inputs = Vec::new();
    for segment in by_size {
        let own = u64::from(segment.live_rows);
        let joins = inputs.is_empty() || own <= RATIO * rows;
        if !joins || rows + own > u64::from(MAX_ROWS) || bytes + segment.bytes > MAX_BYTES {
            break;
        }
        rows += own;
        bytes += segment.bytes;
        inputs.push(segment.id);
    }
    if inputs.len() >= if busy { FAN_IN } else { 2 } {
        inputs.sort_unstable(); // ids grow with time: rows stay in the order of acceptance
        return Some(Task::Merge(inputs));
    }
    if busy {
        return None;
    }
    segments.iter().find(|segment| segment.wants_graph).map(|segment| Task::Graph(segment.id))
}

/// The next task of a collection.
pub fn next_task(collection: &Collection) -> Option<Task> {
    let busy = collection.order().pending_documents() >= BUSY;
    let min_rows = collection.definition().vector.graph_min_rows;
    let size = |live: &LiveSegment| {
        let record = &live.segment.record;
        Size {
            id: record.id,
            rows: record.rows,
            live_rows: live.live_rows(),
            bytes: record.bytes,
            wants_graph: record.vectors && !record.graph && record.rows >= min_rows.max(2),
        }
    };
    // a damaged segment can be neither merged nor given a graph: it is left as it is for `verify` to name
    let snapshot = collection.snapshot();
    let unfit = collection.unfit();
    let sound = snapshot
        .segments
        .iter()
        .filter(|live| live.segment.damage().is_empty() && !unfit.contains(&live.segment.record.id));
    plan(&sound.map(size).collect::<Vec<_>>(), busy)
}

/// Does a task. Nothing changes where it fails or the engine stops first.
pub async fn perform(collection: &Arc<Collection>, task: Task) -> Result<()> {
    match task {
        Task::Merge(ids) => merge_segments(collection, ids).await,
        Task::Graph(id) => build_graph(collection, id).await,
    }
}

async fn merge_segments(collection: &Arc<Collection>, ids: Vec<u64>) -> Result<()> {
    let snapshot = collection.snapshot();
    let inputs: Vec<_> = snapshot
        .segments
        .iter()
        .filter(|live| ids.contains(&live.segment.record.id))
        .map(|live| (Arc::clone(&live.segment), live.alive_rows()))
        .collect();
    let (writer, id) = (Arc::clone(collection), collection.shared.new_id());
    let job = move || {
        let borrowed: Vec<_> = inputs.iter().map(|(segment, alive)| (&**segment, alive)).collect();
        let record = merge(&writer.place(), id, &borrowed).inspect_err(|_| writer.place().discard(id))?;
        let inputs = inputs.into_iter().map(|(segment, alive)| (segment.record.id, alive)).collect();
        Ok::<_, crate::Error>(MergedSegment { record, inputs })
    };
    let merged = collection.shared.pools.background.run(job).await??;
    collection.publish(|done| Operation::Merged(Box::new(merged), done)).await
}

async fn build_graph(collection: &Arc<Collection>, id: u64) -> Result<()> {
    let snapshot = collection.snapshot();
    let Some(live) = snapshot.segments.iter().find(|live| live.segment.record.id == id) else {
        return Ok(());
    };
    let (builder, segment) = (Arc::clone(collection), Arc::clone(&live.segment));
    let job = move || {
        let Some(vectors) = segment.vectors()? else { return Ok(None) };
        let settings = &builder.definition().vector;
        let graph = hnsw::build(vectors, settings.builder, settings.into(), builder.closed())?;
        let Some(graph) = graph else { return Ok(None) };
        let place = builder.place();
        let write = || {
            let bytes = graph.write(place.part(id, PartKind::Graph)?)?;
            place.sync()?;
            Ok::<_, crate::Error>(Some(bytes))
        };
        write().inspect_err(|_| place.discard_part(id, PartKind::Graph))
    };
    match collection.shared.pools.background.run(job).await?? {
        Some(bytes) => collection.publish(|done| Operation::Graph(id, bytes, done)).await,
        None => Ok(()), // the collection closes: the next start builds it
    }
}

/// Runs until the engine stops. `collections` lists those that are open; `windows` hold snapshots that nobody
/// pages through any more.
pub async fn run(
    shared: Arc<super::Shared>,
    collections: impl Fn() -> Vec<Arc<Collection>> + Send + 'static,
    windows: Arc<Windows>,
) {
    while !shared.stopping.load(Ordering::Acquire) {
        let mut idle = true;
        for collection in collections() {
            if collection.is_closed() {
                continue;
            }
            let Some(task) = next_task(&collection) else { continue };
            idle = false;
            let begun = std::time::Instant::now();
            let result = perform(&collection, task.clone()).await;
            let (name, seconds) = (&collection.record.name, begun.elapsed().as_secs_f32());
            match result {
                Ok(()) => tracing::info!(collection = name, ?task, seconds, "maintenance done"),
                Err(_) if collection.is_closed() => {}
                Err(error) if error.code == Code::CorruptData => {
                    tracing::error!(collection = name, ?task, %error, "segments are left as they are");
                    collection.unfit().extend(task.segments());
                }
                Err(error) => {
                    tracing::error!(collection = name, ?task, %error, "maintenance failed; trying again later");
                    back_off(&shared).await;
                }
            }
        }
        windows.expire();
        if idle {
            // also wakes now and then, for what no event announces
            let _ = tokio::time::timeout(Duration::from_secs(60), shared.maintenance.notified()).await;
        }
    }
}

/// Waits before trying again; no longer than the engine runs.
async fn back_off(shared: &super::Shared) {
    let stopped = async {
        while !shared.is_stopping() {
            shared.maintenance.notified().await;
        }
    };
    let _ = tokio::time::timeout(BACK_OFF, stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(id: u64, live_rows: u32) -> Size {
        Size { id, rows: live_rows, live_rows, bytes: 1000, wants_graph: live_rows >= 20_000 }
    }

    #[test]
    fn small_segments_are_merged_and_large_ones_are_left_alone() {
        assert_eq!(plan(&[], false), None);
        assert_eq!(plan(&[size(1, 10)], false), None);
        assert_eq!(plan(&[size(2, 10), size(1, 12)], false), Some(Task::Merge(vec![1, 2])));
        assert_eq!(plan(&[size(1, 10_000), size(2, 10), size(3, 10)], false), Some(Task::Merge(vec![2, 3])));
        assert_eq!(plan(&[size(1, 10_000), size(2, 10)], false), None);
        assert_eq!(plan(&[size(1, MAX_ROWS), size(2, MAX_ROWS)], false), Some(Task::Graph(1)));
    }

    #[test]
    fn while_documents_come_merges_wait_for_company_and_graphs_for_quiet() {
        let few: Vec<_> = (0..FAN_IN as u64 - 1).map(|id| size(id, 30_000)).collect();
        assert_eq!(plan(&few, true), None);
        let many: Vec<_> = (0..FAN_IN as u64).map(|id| size(id, 30_000)).collect();
        assert_eq!(plan(&many, true), Some(Task::Merge((0..FAN_IN as u64).collect())));
        assert_eq!(plan(&[size(1, 30_000)], true), None);
        assert_eq!(plan(&[size(1, 30_000)], false), Some(Task::Graph(1)));
    }

    #[test]
    fn a_half_deleted_segment_is_rewritten() {
        let mut segment = size(1, 100);
        segment.live_rows = 85;
        assert_eq!(plan(&[segment], false), None);
        segment.live_rows = 80;
        assert_eq!(plan(&[segment], true), Some(Task::Merge(vec![1])));
    }

    #[test]
    fn the_number_of_segments_stays_bounded_and_rows_are_rewritten_rarely() {
        let mut segments: Vec<Size> = Vec::new();
        let (mut written, mut most) = (0u64, 0);
        for id in 0..2000 {
            segments.push(size(id, 1000));
            while let Some(Task::Merge(ids)) = plan(&segments, true) {
                let rows = segments.iter().filter(|s| ids.contains(&s.id)).map(|s| s.live_rows).sum();
                written += u64::from(rows);
                segments.retain(|segment| !ids.contains(&segment.id));
                segments.push(size(id, rows));
            }
            most = most.max(segments.len());
        }
        assert!(most <= 16, "{most} segments");
        assert!(written <= 2000 * 1000 * 10, "rows were written {} times", written / 2_000_000);
    }
}
