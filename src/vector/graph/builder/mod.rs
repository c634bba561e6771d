//! Makes the graph over the rows of a part.
//!
//! [`build`] finds exact duplicates, lets a [`GraphBuilder`] link the distinct rows in layers, merges these into one
//! graph with links both ways, hangs the duplicates on, and makes sure that every row can be reached. Where most of the
//! rows come from a segment that had a graph, their links are [kept] and only the others are linked anew.

mod compare;
mod connect;
mod duplicates;
mod hnsw_rs;
mod kept;
mod lists;
mod native;
mod near;
mod partition;
mod refine;
mod select;
mod walker;

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::ancestor::Ancestor;
use super::built::Graph;
use super::calibrate::calibrate;
use super::links::{Links, NONE};
use super::panel::Panels;
use super::part::LinkLists;
use super::random::Random;
use super::space::Space;
use crate::collection::definition::{Builder, VectorDefinition};
use crate::store::Result;
use crate::vector::VectorPart;

use kept::Kept;
use lists::Lists;
use select::Selector;

/// How densely a graph is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParameters {
    /// Half the most links of a row.
    pub m: u32,
    /// Candidates looked at for each row.
    pub ef_construction: u32,
}

impl GraphParameters {
    /// The most links of a row.
    fn width(self) -> usize {
        2 * self.m as usize
    }
}

impl From<&VectorDefinition> for GraphParameters {
    fn from(definition: &VectorDefinition) -> Self {
        Self { m: definition.m, ef_construction: definition.ef_construction }
    }
}

/// Links rows into layers. It need not reach every row.
pub trait GraphBuilder: Debug + Send + Sync {
    /// Links among the rows of `distinct` (ascending), with the threads of the current rayon pool. `None`
    /// once `cancel` is set. The layers are merged: the first has all of `distinct`, the others have ever
    /// fewer of them and longer links.
    fn build(
        &self,
        space: &Space<'_>,
        distinct: &[u32],
        parameters: GraphParameters,
        cancel: &AtomicBool,
    ) -> Option<Vec<Layer>>;
}

/// Rows with links among them.
#[derive(Debug)]
pub struct Layer {
    /// The rows in this layer, ascending.
    pub rows: Vec<u32>,
    /// A list for each of them: row numbers of this layer.
    pub links: Links,
}

/// A search may start from so many rows that their codes take about this many bytes: enough that one is near,
/// few enough to look at them all.
const ENTRY_BYTES: u32 = 128 << 10;
const MAX_ENTRIES: u32 = 1024;
/// Among few rows, a step or two of the walk cost less than so many more entries would.
const ROWS_PER_ENTRY: u32 = 64;

/// Builds the graph over all rows of `part`, with the threads of the rayon pool it is called in.
/// `None` once `cancel` is set (looked at every few hundred rows, but not while links are merged). `m` is brought into 4..=64, the
/// range of a definition: `hnsw_rs` ends the process for some values outside it.
///
/// The native builder starts from the `ancestor`, if there is one that is worth it and undamaged.
pub fn build(
    part: &VectorPart,
    builder: Builder,
    parameters: GraphParameters,
    ancestor: Option<&Ancestor>,
    cancel: &AtomicBool,
) -> Result<Option<Graph>> {
    let ancestor = ancestor.filter(|_| builder == Builder::Native);
    let builder: &dyn GraphBuilder = match builder {
        Builder::Native => &native::Native,
        Builder::HnswRs => &hnsw_rs::HnswRs,
    };
    let parameters = GraphParameters { m: parameters.m.clamp(4, 64), ..parameters };
    let space = Space::new(part)?;
    let (distinct, duplicates) = duplicates::find(&space);
    let kept = Kept::of(ancestor, &space, &distinct, &duplicates, parameters.width());
    let linked_by_walks = kept.link_new(&space, cancel);
    let Some(mut layers) = builder.build(&space, &kept.new, parameters, cancel) else { return Ok(None) };
    layers.push(linked_by_walks);
    let reused = distinct.len() as u32 - kept.new.len() as u32;
    let mut links = merge(&space, &layers, kept.links);
    drop(layers);
    if cancel.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let copies = duplicates::attach(&duplicates, &mut links);
    let first = distinct.first().copied().unwrap_or(0);
    connect::connect(&mut links, first);
    let entry_rows = entry_rows(&links, &distinct, part.dimensions());
    let mut entries = Panels::default();
    entries.pack(&space, entry_rows.iter().copied());
    let lists = LinkLists::of_graph(&links, &copies);
    let Some(calibration) = calibrate(part, &space, lists, &entry_rows, &entries, cancel)? else {
        return Ok(None);
    };
    Ok(Some(Graph { dimensions: part.dimensions(), reused, links, copies, entry_rows, entries, calibration }))
}

/// One graph from `kept` links and all layers: every link of a layer is made to lead both ways, and where a row got
/// some, a diverse selection of its links stays.
fn merge(space: &Space<'_>, layers: &[Layer], kept: Links) -> Links {
    let both_ways = Lists::collect(space.rows(), |add| {
        for layer in layers {
            for (node, &from) in (0..).zip(&layer.rows) {
                for &to in layer.links.of(node) {
                    add(from, to);
                    add(to, from);
                }
            }
        }
    });
    let mut links = kept;
    let width = links.width();
    links.flat_mut().par_chunks_mut(width).zip(0..space.rows()).for_each_init(
        || (Selector::default(), Vec::new()),
        |(selector, kept), (list, row)| {
            let added = both_ways.of(row);
            if !added.is_empty() {
                kept.clear();
                kept.extend(list.iter().copied().take_while(|&to| to != NONE));
                selector.relink(space, row, kept.iter().chain(added).copied(), list);
            }
        },
    );
    links
}

/// A sample of the distinct rows, ascending. All rows can be reached from the first distinct row; only rows
/// from which that one can be reached are entries, so all rows can be reached from each.
fn entry_rows(links: &Links, distinct: &[u32], dimensions: u32) -> Vec<u32> {
    let Some(&first) = distinct.first() else { return Vec::new() };
    let mut random = Random(2);
    let mut rows = vec![first];
    let wanted = (ENTRY_BYTES / dimensions).min(distinct.len() as u32 / ROWS_PER_ENTRY);
    let wanted = wanted.clamp(16, MAX_ENTRIES) as usize;
    rows.extend((1..wanted.min(distinct.len())).map(|_| distinct[random.below(distinct.len())]));
    rows.sort_unstable();
    rows.dedup();
    let leads_there = connect::leading_to(links, first);
    rows.retain(|&row| leads_there[row as usize]);
    rows
}
