//! Which of its candidates a row is linked to.

use super::near::Near;
use crate::vector::distance::{self, LANES};
use crate::vector::graph::links::NONE;
use crate::vector::graph::panel::Panels;
use crate::vector::graph::space::{Signed, Space};

/// By this factor (of squared distances) a candidate must be nearer to a selected one than to the row to be left
/// out: a few links more that lead nearly the same way shorten walks (the `α` of Subramanya et al., "DiskANN:
/// Fast accurate billion-point nearest neighbor search on a single node", NeurIPS 2019).
const RELAXED: f32 = 1.1;
/// Of the rows that a list is chosen from, this many nearest times its width are looked at.
const LOOKED_AT: usize = 16;
/// A row has at least this many links if the width allows it, also where they lead the same way.
const LEAST_LINKS: usize = 16;

/// Working space of choosing links.
#[derive(Debug, Default)]
pub(super) struct Selector {
    panels: Panels,
    /// What a selected row may at most be away from each candidate to leave it out.
    bounds: Vec<[f32; LANES]>,
    /// The candidates that no selected row leaves out.
    open: Vec<u16>,
    signed: Signed,
    candidates: Vec<Near>,
}

impl Selector {
    /// Up to `width` of `candidates` (nearest first), leaving out each that is nearer to a selected one than to
    /// the row itself (Malkov & Yashunin, algorithm 4): links lead in different directions, also out of a
    /// cluster of near-duplicates. Where that leaves fewer than `least`, the nearest left out are added.
    pub fn diverse(
        &mut self,
        space: &Space<'_>,
        candidates: &[Near],
        width: usize,
        least: usize,
    ) -> Vec<u32> {
        let Selector { panels, bounds, open, .. } = self;
        panels.pack(space, candidates.iter().map(|near| near.row()));
        bounds.clear();
        bounds.resize(candidates.len().div_ceil(LANES), [-1.0; LANES]);
        open.clear();
        open.resize(bounds.len(), u16::MAX);
        let lanes = bounds.as_flattened_mut().iter_mut().zip(candidates);
        lanes.for_each(|(bound, near)| *bound = near.distance() / RELAXED);
        let mut selected = Vec::with_capacity(width.min(candidates.len()));
        let mut distances = [0.0; LANES];
        for (at, candidate) in candidates.iter().enumerate() {
            if selected.len() == width {
                break;
            }
            let (own, lane) = (at / LANES, at % LANES);
            if open[own] >> lane & 1 == 0 {
                continue;
            }
            selected.push(candidate.row());
            let row = space.tile_row(candidate.row(), f32::INFINITY);
            let of_panels = panels.from(at).zip(&bounds[own..]).zip(&mut open[own..]);
            let mut later = u16::MAX << lane & !(1 << lane);
            for (((_, panel), bounds), open) in of_panels {
                if *open & later != 0 {
                    distance::near_one(&row, panel, &mut distances);
                    *open &= !(at_most(&distances, bounds) & later);
                }
                later = u16::MAX;
            }
        }
        let left_out = |&(at, _): &(usize, &Near)| open[at / LANES] >> (at % LANES) & 1 == 0;
        let missing = least.saturating_sub(selected.len());
        selected
            .extend(candidates.iter().enumerate().filter(left_out).map(|(_, near)| near.row()).take(missing));
        selected
    }

    /// Fills `list` with a diverse selection of `others` (any order, some twice perhaps) for `row`.
    pub fn relink(
        &mut self,
        space: &Space<'_>,
        row: u32,
        others: impl Iterator<Item = u32>,
        list: &mut [u32],
    ) {
        let mut candidates = std::mem::take(&mut self.candidates);
        space.sign(row, &mut self.signed);
        candidates.clear();
        candidates.extend(others.map(|to| Near::new(space.distance_to(&self.signed, to), to)));
        candidates.sort_unstable();
        candidates.dedup();
        candidates.truncate(LOOKED_AT * list.len());
        let selected = self.diverse(space, &candidates, list.len(), LEAST_LINKS.min(list.len()));
        self.candidates = candidates;
        fill(list, &selected);
    }
}

/// The lanes whose distance is at most their bound.
fn at_most(distances: &[f32; LANES], bounds: &[f32; LANES]) -> u16 {
    let at_most = |lane: usize| u16::from(distances[lane] <= bounds[lane]) << lane;
    (0..LANES).fold(0, |mask, lane| mask | at_most(lane))
}

/// Makes `list` hold `links`, which must not be more than its width.
pub(super) fn fill(list: &mut [u32], links: &[u32]) {
    list.fill(NONE);
    list[..links.len()].copy_from_slice(links);
}
