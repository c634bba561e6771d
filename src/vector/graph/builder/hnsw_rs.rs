//! The builder on top of the `hnsw_rs` crate.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use hnsw_rs::anndists::dist::Distance;
use hnsw_rs::hnsw::Hnsw;

use super::{GraphBuilder, GraphParameters, Layer};
use crate::vector::graph::links::Links;
use crate::vector::graph::space::Space;

/// Rows inserted by one thread first: concurrent inserts into an empty graph leave rows without links.
const SERIAL_ROWS: usize = 1000;
/// Rows inserted between two looks at `cancel`: well below a second.
const BATCH: usize = 512;
/// `hnsw_rs` has at most this many layers.
const MAX_LAYERS: usize = 16;

/// The `hnsw_rs` crate. It is given row numbers and looks distances up, so that no vector of `float32` is copied;
/// those stored otherwise are decoded while it builds.
#[derive(Debug)]
pub(super) struct HnswRs;

struct RowDistance<'a> {
    space: &'a Space<'a>,
    values: Cow<'a, [f32]>,
}

impl Distance<u32> for RowDistance<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        self.space.distance(&self.values, a[0], b[0])
    }
}

impl GraphBuilder for HnswRs {
    fn build(
        &self,
        space: &Space<'_>,
        distinct: &[u32],
        parameters: GraphParameters,
        cancel: &AtomicBool,
    ) -> Option<Vec<Layer>> {
        if distinct.is_empty() {
            return Some(Vec::new()); // `hnsw_rs` panics on it
        }
        let (m, ef) = (parameters.m as usize, parameters.ef_construction as usize);
        let distance = RowDistance { space, values: space.values() };
        let hnsw: Hnsw<'_, u32, _> = Hnsw::new(m, distinct.len(), MAX_LAYERS, ef, distance);
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
        Some(read_out(&hnsw, parameters.m))
    }
}

/// The layers of what `hnsw_rs` built. Of a point's lists only those up to its own level are links, and
/// of these only the ones to points that are in that layer.
fn read_out(hnsw: &Hnsw<'_, u32, RowDistance<'_>>, m: u32) -> Vec<Layer> {
    let points = hnsw.get_point_indexation();
    let mut layers: Vec<Vec<u32>> = Vec::new();
    for point in points {
        let level = point.get_point_id().0 as usize;
        layers.resize_with(layers.len().max(level + 1), Vec::new);
        for layer in &mut layers[..=level] {
            layer.push(point.get_origin_id() as u32);
        }
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
            let links = lists[level].iter().map(|link| link.d_id as u32);
            let links = links.filter(|to| *to != row && layer.rows.binary_search(to).is_ok());
            if let Ok(node) = layer.rows.binary_search(&row) {
                layer.links.set(node as u32, links.collect::<Vec<_>>());
            }
        }
    }
    layers
}
