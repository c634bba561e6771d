//! The builder of our own: nearest rows by partitioning, diverse links at every scale.
//!
//! A graph grown row by row searches itself for every row, which is random access all the way. Here the
//! nearest rows of each row are found by cutting all rows into small groups, again and again in other places,
//! and comparing all pairs within a group (PiPNN, 2026): dense products of codes that stay in the processor's
//! caches. What the cuts missed is found among the nearest rows' nearest rows (Dong, Charikar & Li,
//! "Efficient k-nearest neighbor graph construction", WWW 2011), and of the nearest rows a diverse selection
//! is linked.
//!
//! That alone would link near rows only. A graph grown row by row also has the links of its early rows, which
//! were made when there were few others: far ones, by which a search gets about. So the same is done for a
//! random half of the rows, half of these, and so on; each of these layers is a graph at a coarser scale, and
//! all are merged into one.
//!
//! The outcome depends on the rows alone, not on threads or the processor.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::near::{Near, Pool, bar, merge};
use super::partition::partition;
use super::select::Selector;
use super::{GraphBuilder, GraphParameters, Layer};
use crate::vector::distance::{self, LANES, TILE_ROWS};
use crate::vector::graph::links::Links;
use crate::vector::graph::panel::Panels;
use crate::vector::graph::random::Random;
use crate::vector::graph::space::{Signed, Space};

/// How often a layer's rows are cut into groups.
const CUTS: usize = 10;
/// The most rows of a group: all pairs of a group are compared.
const GROUP: usize = 512;
/// Of this many nearest rows, as many nearest rows are looked at.
const REFINED: usize = 12;
/// Rows ahead whose codes are asked for.
const AHEAD: usize = 6;

#[derive(Debug)]
pub(super) struct Native;

impl GraphBuilder for Native {
    fn build(
        &self,
        space: &Space<'_>,
        distinct: &[u32],
        parameters: GraphParameters,
        cancel: &AtomicBool,
    ) -> Option<Vec<Layer>> {
        let width = parameters.width();
        let candidates = (parameters.ef_construction as usize).max(width);
        let mut pools = vec![Pool::new(); space.rows() as usize];
        let mut random = Random(1);
        let mut rows = distinct.to_vec();
        let mut layers = Vec::new();
        while rows.len() > 1 {
            let layer = Builder { space, rows: &rows, candidates, width, cancel };
            let links = layer.link(&mut pools, &mut random)?;
            let half = rows.iter().copied().filter(|_| random.next() & 1 == 0).collect();
            let linked_all = rows.len() <= width;
            layers.push(Layer { rows, links });
            rows = half;
            if linked_all {
                break;
            }
        }
        Some(layers)
    }
}

struct Builder<'a> {
    space: &'a Space<'a>,
    rows: &'a [u32],
    candidates: usize,
    width: usize,
    cancel: &'a AtomicBool,
}

impl Builder<'_> {
    /// The links of one layer. `pools` has a place for every row of the space.
    fn link(&self, pools: &mut [Pool], random: &mut Random) -> Option<Links> {
        self.rows.iter().for_each(|&row| pools[row as usize].clear());
        for _ in 0..CUTS {
            let groups = partition(self.space, self.rows.to_vec(), GROUP, random);
            self.compare(&groups, pools);
            if self.cancel.load(Ordering::Relaxed) {
                return None;
            }
            if groups.len() == 1 {
                break;
            }
        }
        let links = self.select(pools);
        (!self.cancel.load(Ordering::Relaxed)).then_some(links)
    }

    /// Compares all pairs within each group.
    fn compare(&self, groups: &[Vec<u32>], pools: &mut [Pool]) {
        // no row is in two groups: each group takes its rows' pools for as long as it is compared
        let mut taken: Vec<Vec<Pool>> = groups
            .iter()
            .map(|group| group.iter().map(|&row| std::mem::take(&mut pools[row as usize])).collect())
            .collect();
        groups.par_iter().zip(&mut taken).for_each_init(Comparison::default, |comparison, (group, pools)| {
            if !self.cancel.load(Ordering::Relaxed) {
                comparison.group(self.space, group, pools, self.candidates);
            }
        });
        for (&row, pool) in groups.iter().flatten().zip(taken.into_iter().flatten()) {
            pools[row as usize] = pool;
        }
    }

    /// Refines each row's pool and links it to a diverse selection.
    fn select(&self, pools: &[Pool]) -> Links {
        let mut links = Links::new(self.rows.len(), self.width);
        links.flat_mut().par_chunks_mut(self.width).zip(self.rows).for_each_init(
            Refinement::default,
            |refinement, (list, &row)| {
                if self.cancel.load(Ordering::Relaxed) {
                    return;
                }
                refinement.refine(self.space, row, pools, self.candidates);
                let selected = refinement.selector.diverse(self.space, &refinement.pool, self.width, 0);
                list[..selected.len()].copy_from_slice(&selected);
            },
        );
        links
    }
}

/// Working space of comparing groups.
#[derive(Default)]
struct Comparison {
    panels: Panels,
    found: [Vec<Near>; TILE_ROWS],
    merged: Pool,
}

impl Comparison {
    /// Compares all pairs of `group`; `pools` are those of its rows.
    fn group(&mut self, space: &Space<'_>, group: &[u32], pools: &mut [Pool], limit: usize) {
        self.panels.pack(space, group.iter().copied());
        let mut distances = [[0.0; LANES]; TILE_ROWS];
        let tiles = group.chunks(TILE_ROWS).zip(pools.chunks_mut(TILE_ROWS));
        for (rows, pools) in tiles {
            let mut bars = pools.iter().map(|pool| bar(pool, limit));
            let tile = distance::tile(rows, |row| space.tile_row(row, bars.next().unwrap_or(0.0)));
            for (first, panel) in self.panels.from(0) {
                let below = distance::near(&tile, panel, &mut distances);
                for (at, row) in rows.iter().enumerate() {
                    for lane in distance::lanes(below[at]) {
                        let other = group[first + lane];
                        if other != *row {
                            self.found[at].push(Near::new(distances[at][lane], other));
                        }
                    }
                }
            }
            for (pool, found) in pools.iter_mut().zip(&mut self.found) {
                merge(pool, found, limit, &mut self.merged);
            }
        }
    }
}

/// Working space of refining pools.
#[derive(Default)]
struct Refinement {
    selector: Selector,
    signed: Signed,
    others: Vec<u32>,
    found: Vec<Near>,
    merged: Pool,
    /// The refined pool.
    pool: Pool,
}

impl Refinement {
    /// The pool of `row` with the nearest rows of its nearest rows.
    fn refine(&mut self, space: &Space<'_>, row: u32, pools: &[Pool], limit: usize) {
        let known = &pools[row as usize];
        self.others.clear();
        for near in known.iter().take(REFINED) {
            let theirs = pools[near.row() as usize].iter().take(REFINED);
            self.others.extend(theirs.map(|near| near.row()).filter(|&other| other != row));
        }
        self.others.sort_unstable();
        self.others.dedup();
        space.sign(row, &mut self.signed);
        let bar = bar(known, limit);
        for (at, &other) in self.others.iter().enumerate() {
            if let Some(&ahead) = self.others.get(at + AHEAD) {
                space.prefetch(ahead);
            }
            let distance = space.distance_to(&self.signed, other);
            if distance < bar {
                self.found.push(Near::new(distance, other));
            }
        }
        self.pool.clone_from(known);
        merge(&mut self.pool, &mut self.found, limit, &mut self.merged);
    }
}
