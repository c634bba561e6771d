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

use super::compare::{Comparison, GROUP};
use super::near::Pool;
use super::partition::partition;
use super::refine::Refinement;
use super::select::Selector;
use super::{GraphBuilder, GraphParameters, Layer};
use crate::vector::graph::links::Links;
use crate::vector::graph::random::Random;
use crate::vector::graph::space::Space;

/// How often a layer's rows are cut into groups at most. The fewer groups there are, the fewer neighbours are cut apart.
const CUTS: usize = 10;
/// How often they are cut into two groups.
const FEWEST_CUTS: usize = 4;

/// How often so many rows are cut into groups.
fn cuts(rows: usize) -> usize {
    match rows.div_ceil(GROUP) {
        0..=1 => 1,
        groups => CUTS.min(FEWEST_CUTS + groups.ilog2() as usize - 1),
    }
}

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
        let mut pools = vec![Pool::default(); space.rows() as usize];
        let mut random = Random(1);
        let mut rows = distinct.to_vec();
        let mut layers = Vec::new();
        while rows.len() > 1 {
            let layer = Builder { space, rows: &rows, candidates, width, cancel };
            let links = layer.link(&mut pools, &mut random)?;
            let (half, others): (Vec<u32>, Vec<u32>) = rows.iter().partition(|_| random.next() & 1 == 0);
            others.iter().for_each(|&row| pools[row as usize] = Pool::default());
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
        let seeds: Vec<u64> = (0..cuts(self.rows.len())).map(|_| random.next()).collect();
        let cut = |seed| {
            let cut = || partition(self.space, self.rows.to_vec(), GROUP, &mut Random(seed));
            (!self.cancel.load(Ordering::Relaxed)).then(cut)
        };
        let cuts: Vec<Vec<Vec<u32>>> = seeds.into_par_iter().map(cut).collect::<Option<_>>()?;
        for groups in &cuts {
            self.compare(groups, pools);
            if self.cancel.load(Ordering::Relaxed) {
                return None;
            }
        }
        let links = self.select(&cuts[0], pools);
        (!self.cancel.load(Ordering::Relaxed)).then_some(links)
    }

    /// Compares all pairs within each group.
    fn compare(&self, groups: &[Vec<u32>], pools: &mut [Pool]) {
        // no row is in two groups: each group takes its rows' pools for as long as it is compared
        let mut places = vec![0; pools.len()];
        let mut taken: Vec<Vec<Pool>> = Vec::with_capacity(groups.len());
        for group in groups {
            (0..).zip(group).for_each(|(place, &row)| places[row as usize] = place);
            taken.push(group.iter().map(|&row| std::mem::take(&mut pools[row as usize])).collect());
        }
        groups.par_iter().zip(&mut taken).for_each_init(Comparison::default, |comparison, (group, pools)| {
            if !self.cancel.load(Ordering::Relaxed) {
                comparison.group(self.space, group, &places, pools, self.candidates);
            }
        });
        for (&row, pool) in groups.iter().flatten().zip(taken.into_iter().flatten()) {
            pools[row as usize] = pool;
        }
    }

    /// Refines each row's pool and links it to a diverse selection. What the rows of a group are compared with is
    /// much the same, and so in the processor's caches.
    fn select(&self, groups: &[Vec<u32>], pools: &mut [Pool]) -> Links {
        pools.par_iter_mut().for_each(|pool| pool.sort(self.candidates));
        let pools = &*pools;
        let lists = |(refinement, selector): &mut (Refinement, Selector), group: &Vec<u32>| {
            let not_cancelled = group.iter().take_while(|_| !self.cancel.load(Ordering::Relaxed));
            let list = |&row: &u32| {
                let candidates = refinement.refined(self.space, row, pools, self.candidates);
                selector.diverse(self.space, candidates, self.width, 0)
            };
            not_cancelled.map(list).collect()
        };
        let of_groups: Vec<Vec<Vec<u32>>> = groups.par_iter().map_init(Default::default, lists).collect();
        let mut links = Links::new(self.rows.len(), self.width);
        for (group, lists) in groups.iter().zip(of_groups) {
            for (row, list) in group.iter().zip(lists) {
                // the rows of a layer are ascending
                let Ok(node) = self.rows.binary_search(row) else { continue };
                links.set(node as u32, list);
            }
        }
        links
    }
}
