//! What links the rows: the seam, and the builder on top of the `hnsw_rs` crate.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use hnsw_rs::anndists::dist::Distance;
use hnsw_rs::hnsw::Hnsw;

use super::links::{Graph, Layer, Links};
use super::{GraphParameters, Space};

/// Links rows into layers. It need not reach every row and may link badly among near-duplicates: its
/// graph is repaired afterwards.
pub trait GraphBuilder: Debug + Send + Sync {
    /// A graph whose bottom layer has a node for every row of `space`, and links for the rows in
    /// `distinct` (ascending), with the threads of the current rayon pool. `None` once `cancel` is set.
    fn build(
        &self,
        space: &Space<'_>,
        distinct: &[u32],
        parameters: GraphParameters,
        cancel: &AtomicBool,
    ) -> Option<Graph>;
}

/// Rows inserted by one thread first: concurrent inserts into an empty graph leave rows without links.
const SERIAL_ROWS: usize = 1000;
/// Rows inserted between two looks at `cancel`: well below a second.
const BATCH: usize = 512;
/// `hnsw_rs` has at most this many layers.
const MAX_LAYERS: usize = 16;

/// The `hnsw_rs` crate. It is given row numbers and looks distances up, so that no vector is copied.
#[derive(Debug)]
pub(super) struct HnswRs;

struct RowDistance<'a>(&'a Space<'a>);

impl Distance<u32> for RowDistance<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        self.0.distance(a[0], b[0])
    }
}

impl GraphBuilder for HnswRs {
    fn build(
        &self,
        space: &Space<'_>,
        distinct: &[u32],
        parameters: GraphParameters,
        cancel: &AtomicBool,
    ) -> Option<Graph> {
        if distinct.is_empty() {
            return Some(Graph { layers: Vec::new(), m: parameters.m }); // `hnsw_rs` panics on it
        }
        let (m, ef) = (parameters.m as usize, parameters.ef_construction as usize);
        let hnsw: Hnsw<'_, u32, _> = Hnsw::new(m, distinct.len(), MAX_LAYERS, ef, RowDistance(space));
        let (serial, parallel) = distinct.split_at(distinct.len().min(SERIAL_ROWS));
        for row in serial {
            if cancel.load(Ordering::Relaxed) {
                return None;
            }
            hnsw.insert_slice((std::slice::from_ref(row), *row as usize));
        }
        for batch in parallel.chunks(BATCH) {
            if cancel.load(Ordering::Relaxed) {
                return None;
            }
            let rows: Vec<(&[u32], usize)> =
                batch.iter().map(|row| (std::slice::from_ref(row), *row as usize)).collect();
            hnsw.parallel_insert_slice(&rows);
        }
        Some(read_out(&hnsw, space.rows(), parameters.m))
    }
}

/// The layers of what `hnsw_rs` built. Of a point's lists only those up to its own level are links, and
/// of these only the ones to points that are in that layer.
fn read_out(hnsw: &Hnsw<'_, u32, RowDistance<'_>>, rows: u32, m: u32) -> Graph {
    let points = hnsw.get_point_indexation();
    let mut layers: Vec<Vec<u32>> = Vec::new();
    for point in points {
        let level = point.get_point_id().0 as usize;
        layers.resize_with(layers.len().max(level + 1), Vec::new);
        for layer in &mut layers[1..=level] {
            layer.push(point.get_origin_id() as u32);
        }
    }
    if let Some(bottom) = layers.first_mut() {
        *bottom = (0..rows).collect();
    }
    let mut layers: Vec<Layer> = layers
        .into_iter()
        .enumerate()
        .map(|(level, mut rows)| {
            rows.sort_unstable();
            let width = if level == 0 { 2 * m } else { m };
            Layer { links: Links::new(rows.len(), width as usize), rows }
        })
        .collect();
    for point in points {
        let row = point.get_origin_id() as u32;
        let lists = point.get_neighborhood_id();
        for (level, layer) in layers.iter_mut().enumerate().take(point.get_point_id().0 as usize + 1) {
            let node = |row: u32| layer.rows.binary_search(&row).ok().map(|node| node as u32);
            let links = lists[level].iter().filter_map(|link| node(link.d_id as u32));
            if let Some(from) = node(row) {
                layer.links.set(from, links.filter(|&to| to != from));
            }
        }
    }
    Graph { layers, m }
}
