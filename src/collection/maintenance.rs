//! Background work on segments: merging small or half-deleted ones, and building graphs. Long work must not
//! hold up short work, or segments would pile up behind it: the whole engine has three lanes (merges, small
//! merges, graphs), each with a CPU pool of its own and one task at a time. No two tasks read the same segment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::collection::Collection;
use crate::collection::publisher::{MergedSegment, Operation};
use crate::collection::snapshot::LiveSegment;
use crate::error::{Code, Result};
use crate::runtime::CpuPool;
use crate::search::window::Windows;
use crate::segment::Segment;
use crate::segment::merge::{ancestor, merge};
use crate::store::PartKind;
use crate::vector::graph;

/// The largest merges.
const LARGEST: Limit = Limit { rows: 2_000_000, bytes: 8 << 30 };
/// Merges that are short, and need not wait for longer ones.
const SMALL: Limit = Limit { rows: 30_000, bytes: 128 << 20 };
/// While documents keep coming, at least this many segments are merged at a time.
const FAN_IN: usize = 4;
/// A segment is part of the next merge if it has at most this many times the rows of all smaller ones.
const RATIO: u64 = 4;
/// Documents on their way that make a collection busy.
const BUSY: u64 = 256;
/// A segment with this share of deleted rows is rewritten.
const DELETED_SHARE: f32 = 0.2;
/// How long a lane rests after a task failed.
const BACK_OFF: Duration = Duration::from_secs(5);

/// What one merge may take.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Live rows of all inputs.
    rows: u64,
    /// Bytes of their files.
    bytes: u64,
}

/// Tasks of one kind, done one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Merges, whatever their size.
    Merges,
    /// Merges that are short.
    SmallMerges,
    /// Graphs, once there is nothing to merge.
    Graphs,
}

/// What is to be done next with a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Write one segment from the live rows of these.
    Merge(Vec<u64>),
    /// Build the graph of this segment.
    Graph(u64),
    /// Check what walks of this segment's graph read, so that they need not.
    Check(u64),
}

impl Task {
    /// The segments it reads.
    fn segments(&self) -> Vec<u64> {
        match self {
            Task::Merge(ids) => ids.clone(),
            Task::Graph(id) | Task::Check(id) => vec![*id],
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
    /// Whether its graph was not checked since it was opened.
    pub wants_check: bool,
}

/// The next task of a lane. `busy`: documents keep coming, so merges wait until they are worth it and graphs
/// until the segments have settled.
pub fn plan(segments: &[Size], busy: bool, lane: Lane) -> Option<Task> {
    match lane {
        Lane::Merges => next_merge(segments, busy, LARGEST).map(Task::Merge),
        Lane::SmallMerges => next_merge(segments, busy, SMALL).map(Task::Merge),
        Lane::Graphs if let Some(segment) = segments.iter().find(|segment| segment.wants_check) => {
            Some(Task::Check(segment.id))
        }
        Lane::Graphs if busy || next_merge(segments, busy, LARGEST).is_some() => None,
        Lane::Graphs => segments.iter().find(|segment| segment.wants_graph).map(|s| Task::Graph(s.id)),
    }
}

fn next_merge(segments: &[Size], busy: bool, limit: Limit) -> Option<Vec<u64>> {
    let half_deleted = segments.iter().find(|segment| {
        (segment.rows - segment.live_rows) as f32 >= DELETED_SHARE * segment.rows as f32
            && segment.live_rows < segment.rows
            && u64::from(segment.live_rows) <= limit.rows
    });
    if let Some(segment) = half_deleted {
        return Some(vec![segment.id]);
    }
    let mut by_size: Vec<&Size> = segments.iter().collect();
    by_size.sort_by_key(|segment| (segment.live_rows, segment.id));
    let (mut rows, mut bytes) = (0, 0);
    let mut inputs = Vec::new();
    for segment in by_size {
        let own = u64::from(segment.live_rows);
        let joins = inputs.is_empty() || own <= RATIO * rows;
        if !joins || rows + own > limit.rows || bytes + segment.bytes > limit.bytes {
            break;
        }
        rows += own;
        bytes += segment.bytes;
        inputs.push(segment.id);
    }
    if inputs.len() < if busy { FAN_IN } else { 2 } {
        return None;
    }
    inputs.sort_unstable(); // ids grow with time: rows stay in the order of acceptance
    Some(inputs)
}

/// The next task of a lane in a collection. `under_way`: segments that other tasks read.
fn next_task(collection: &Collection, under_way: &HashSet<u64>, lane: Lane) -> Option<Task> {
    if lane == Lane::Graphs && !under_way.is_empty() {
        return None; // a merge may still take the segment
    }
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
            wants_check: live.segment.graph_is_unchecked(),
        }
    };
    // a damaged segment can be neither merged nor given a graph: it is left as it is for `verify` to name
    let snapshot = collection.snapshot();
    let unfit = collection.unfit();
    let free = snapshot.segments.iter().filter(|live| {
        let id = live.segment.record.id;
        live.segment.damage().is_empty() && !unfit.contains(&id) && !under_way.contains(&id)
    });
    plan(&free.map(size).collect::<Vec<_>>(), busy, lane)
}

/// Whether nothing is to be done with a collection's segments, and nothing is being done.
pub fn is_settled(collection: &Collection) -> bool {
    let under_way = collection.under_way();
    let lanes = [Lane::Merges, Lane::Graphs]; // a small merge is a merge
    under_way.is_empty() && lanes.iter().all(|&lane| next_task(collection, &under_way, lane).is_none())
}

/// A task whose segments no other takes until this is dropped.
struct Claim {
    collection: Arc<Collection>,
    task: Task,
}

impl Claim {
    /// Takes the next task of a lane.
    fn next(collection: &Arc<Collection>, lane: Lane) -> Option<Claim> {
        // held while the snapshot is read: a finished task shows its outcome before it releases its segments
        let mut under_way = collection.under_way();
        let task = next_task(collection, &under_way, lane)?;
        under_way.extend(task.segments());
        Some(Claim { collection: Arc::clone(collection), task })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let ids = self.task.segments();
        self.collection.under_way().retain(|id| !ids.contains(id));
        self.collection.signal();
    }
}

/// Does a task. Nothing changes where it fails or the engine stops first.
async fn perform(collection: &Arc<Collection>, task: &Task, lane: Lane) -> Result<()> {
    let pools = &collection.shared.pools;
    let pool = match lane {
        Lane::Merges => &pools.merge,
        Lane::SmallMerges => &pools.small_merge,
        Lane::Graphs => &pools.graph,
    };
    match task {
        Task::Merge(ids) => merge_segments(collection, pool, ids).await,
        Task::Graph(id) => build_graph(collection, pool, *id).await,
        Task::Check(id) => check_graph(collection, pool, *id).await,
    }
}

async fn merge_segments(collection: &Arc<Collection>, pool: &CpuPool, ids: &[u64]) -> Result<()> {
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
        let ancestor = ancestor(&borrowed);
        let inputs = inputs.into_iter().map(|(segment, alive)| (segment.record.id, alive)).collect();
        Ok::<_, crate::Error>(MergedSegment { record, inputs, ancestor })
    };
    let merged = pool.run(job).await??;
    collection.publish(|done| Operation::Merged(Box::new(merged), done)).await
}

fn live_segment(collection: &Collection, id: u64) -> Option<Arc<Segment>> {
    let snapshot = collection.snapshot();
    let live = snapshot.segments.iter().find(|live| live.segment.record.id == id)?;
    Some(Arc::clone(&live.segment))
}

async fn build_graph(collection: &Arc<Collection>, pool: &CpuPool, id: u64) -> Result<()> {
    let Some(segment) = live_segment(collection, id) else { return Ok(()) };
    let builder = Arc::clone(collection);
    let job = move || {
        let Some(vectors) = segment.vectors()? else { return Ok(None) };
        let settings = &builder.definition().vector;
        let ancestor = segment.ancestor();
        let graph = graph::build(vectors, settings.builder, settings.into(), ancestor, builder.closed())?;
        let Some(graph) = graph else { return Ok(None) };
        tracing::info!(segment = id, rows = graph.rows(), reused = graph.reused, "a graph was built");
        let place = builder.place();
        let write = || {
            let bytes = graph.write(place.part(id, PartKind::Graph)?)?;
            place.sync()?;
            Ok::<_, crate::Error>(Some(bytes))
        };
        write().inspect_err(|_| place.discard_part(id, PartKind::Graph))
    };
    match pool.run(job).await?? {
        Some(bytes) => collection.publish(|done| Operation::Graph(id, bytes, done)).await,
        None => Ok(()), // the collection closes: the next start builds it
    }
}

async fn check_graph(collection: &Arc<Collection>, pool: &CpuPool, id: u64) -> Result<()> {
    let Some(segment) = live_segment(collection, id) else { return Ok(()) };
    pool.run(move || segment.check_graph()).await?
}

/// Runs until the engine stops. `collections` lists those that are open; `windows` hold snapshots that nobody
/// pages through any more.
pub async fn run(
    shared: Arc<super::Shared>,
    collections: impl Fn() -> Vec<Arc<Collection>> + Send + 'static,
    windows: Arc<Windows>,
) {
    let lane = |lane| run_lane(lane, &shared, &collections, &windows);
    tokio::join!(lane(Lane::Merges), lane(Lane::SmallMerges), lane(Lane::Graphs));
}

async fn run_lane(
    lane: Lane,
    shared: &super::Shared,
    collections: &impl Fn() -> Vec<Arc<Collection>>,
    windows: &Windows,
) {
    loop {
        let changed = shared.maintenance.notified(); // also of what changes from here on
        if shared.is_stopping() {
            return;
        }
        let mut idle = true;
        for collection in collections() {
            if collection.is_closed() {
                continue;
            }
            let Some(claim) = Claim::next(&collection, lane) else { continue };
            idle = false;
            let begun = std::time::Instant::now();
            let (name, task) = (&collection.record.name, &claim.task);
            let result = perform(&collection, task, lane).await;
            let seconds = begun.elapsed().as_secs_f32();
            match result {
                Ok(()) => tracing::info!(collection = name, ?task, seconds, "maintenance done"),
                Err(_) if collection.is_closed() => {}
                Err(error) if error.code == Code::CorruptData => {
                    tracing::error!(collection = name, ?task, %error, "segments are left as they are");
                    collection.unfit().extend(task.segments());
                }
                Err(error) => {
                    tracing::error!(collection = name, ?task, %error, "maintenance failed; trying again later");
                    back_off(shared).await;
                }
            }
        }
        windows.expire();
        if idle {
            // also wakes now and then, for what no event announces
            let _ = tokio::time::timeout(Duration::from_secs(60), changed).await;
        }
    }
}

/// Waits before trying again; no longer than the engine runs.
async fn back_off(shared: &super::Shared) {
    let stopped = async {
        loop {
            let changed = shared.maintenance.notified();
            if shared.is_stopping() {
                return;
            }
            changed.await;
        }
    };
    let _ = tokio::time::timeout(BACK_OFF, stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(id: u64, live_rows: u32) -> Size {
        Size {
            id,
            rows: live_rows,
            live_rows,
            bytes: 1000,
            wants_graph: live_rows >= 20_000,
            wants_check: false,
        }
    }

    /// What is done first where nothing is under way.
    fn first(segments: &[Size], busy: bool) -> Option<Task> {
        plan(segments, busy, Lane::Merges).or_else(|| plan(segments, busy, Lane::Graphs))
    }

    #[test]
    fn small_segments_are_merged_and_large_ones_are_left_alone() {
        assert_eq!(first(&[], false), None);
        assert_eq!(first(&[size(1, 10)], false), None);
        assert_eq!(first(&[size(2, 10), size(1, 12)], false), Some(Task::Merge(vec![1, 2])));
        assert_eq!(first(&[size(1, 10_000), size(2, 10), size(3, 10)], false), Some(Task::Merge(vec![2, 3])));
        assert_eq!(first(&[size(1, 10_000), size(2, 10)], false), None);
        assert_eq!(first(&[size(1, 2_000_000), size(2, 2_000_000)], false), Some(Task::Graph(1)));
    }

    #[test]
    fn while_documents_come_merges_wait_for_company_and_graphs_for_quiet() {
        let few: Vec<_> = (0..FAN_IN as u64 - 1).map(|id| size(id, 30_000)).collect();
        assert_eq!(first(&few, true), None);
        let many: Vec<_> = (0..FAN_IN as u64).map(|id| size(id, 30_000)).collect();
        assert_eq!(first(&many, true), Some(Task::Merge((0..FAN_IN as u64).collect())));
        assert_eq!(first(&[size(1, 30_000)], true), None);
        assert_eq!(first(&[size(1, 30_000)], false), Some(Task::Graph(1)));
    }

    #[test]
    fn a_new_graph_is_checked_before_the_next_is_built() {
        let checked = size(1, 30_000);
        let segments = [checked, Size { id: 2, wants_graph: false, wants_check: true, ..checked }];
        assert_eq!(plan(&segments, true, Lane::Graphs), Some(Task::Check(2)));
    }

    #[test]
    fn a_half_deleted_segment_is_rewritten() {
        let mut segment = size(1, 100);
        segment.live_rows = 85;
        assert_eq!(first(&[segment], false), None);
        segment.live_rows = 80;
        assert_eq!(first(&[segment], true), Some(Task::Merge(vec![1])));
    }

    #[test]
    fn a_lane_of_small_merges_does_no_long_one() {
        let large = [size(1, 20_000), size(2, 20_000)];
        assert_eq!(plan(&large, false, Lane::SmallMerges), None);
        assert_eq!(plan(&large, false, Lane::Merges), Some(Task::Merge(vec![1, 2])));
        let mixed = [size(1, 30_000), size(2, 10_000), size(3, 10_000)];
        assert_eq!(plan(&mixed, false, Lane::SmallMerges), Some(Task::Merge(vec![2, 3])));
        assert_eq!(plan(&mixed, false, Lane::Graphs), None, "graphs wait until nothing is to be merged");
    }

    /// Segments of 1000 rows come at a steady pace; a merge writes 50 times as many rows in the same time, and
    /// the largest take as long as forty segments to come.
    #[test]
    fn the_number_of_segments_stays_bounded_and_rows_are_rewritten_rarely() {
        const STEPS: u64 = 10;
        let rows_of = |segments: &[Size], ids: &[u64]| {
            segments.iter().filter(|s| ids.contains(&s.id)).map(|s| s.live_rows).sum::<u32>()
        };
        let mut segments: Vec<Size> = Vec::new();
        type Running = Option<(Vec<u64>, u64)>; // inputs, and the step in which it ends
        let mut lanes: [(Lane, Running); 2] = [(Lane::Merges, None), (Lane::SmallMerges, None)];
        let (mut last_id, mut written, mut most) = (0, 0, 0);
        for step in 0..4000 * STEPS {
            if step % STEPS == 0 {
                last_id += 1;
                segments.push(size(last_id, 1000));
            }
            for (_, running) in &mut lanes {
                if let Some((ids, _)) = running.take_if(|(_, end)| *end <= step) {
                    let rows = rows_of(&segments, &ids);
                    segments.retain(|segment| !ids.contains(&segment.id));
                    last_id += 1;
                    segments.push(size(last_id, rows));
                }
            }
            for at in 0..lanes.len() {
                let under_way: HashSet<u64> = lanes
                    .iter()
                    .filter_map(|(_, running)| running.as_ref())
                    .flat_map(|(ids, _)| ids)
                    .copied()
                    .collect();
                let free: Vec<_> =
                    segments.iter().filter(|segment| !under_way.contains(&segment.id)).copied().collect();
                let (lane, running) = &mut lanes[at];
                if running.is_none()
                    && let Some(Task::Merge(ids)) = plan(&free, true, *lane)
                {
                    let rows = u64::from(rows_of(&segments, &ids));
                    written += rows;
                    *running = Some((ids, step + 1 + rows * STEPS / 50_000));
                }
            }
            most = most.max(segments.len());
        }
        assert!(most <= 16, "{most} segments");
        assert!(written <= 4000 * 1000 * 10, "rows were written {} times", written / 4_000_000);
    }
}
