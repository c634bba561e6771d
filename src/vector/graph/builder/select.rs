//! Which of its candidates a row is linked to.

use super::near::{Near, Pool};
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
    state: Vec<State>,
    signed: Signed,
    candidates: Pool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open,
    Selected,
    LeftOut,
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
        let Selector { panels, state, .. } = self;
        panels.pack(space, candidates.iter().map(|near| near.row()));
        state.clear();
        state.resize(candidates.len(), State::Open);
        let mut selected = Vec::with_capacity(width.min(candidates.len()));
        let farthest = candidates.last().map_or(0.0, |near| near.distance());
        for (at, candidate) in candidates.iter().enumerate() {
            if selected.len() == width {
                break;
            }
            if state[at] == State::LeftOut {
                continue;
            }
            state[at] = State::Selected;
            selected.push(candidate.row());
            let row = space.tile_row(candidate.row(), farthest.next_up());
            panels.near(&row, at, |other, distance| {
                if other > at && RELAXED * distance <= candidates[other].distance() {
                    state[other] = State::LeftOut;
                }
            });
        }
        let left_out = candidates.iter().zip(&*state).filter(|(_, state)| **state == State::LeftOut);
        selected.extend(left_out.map(|(near, _)| near.row()).take(least.saturating_sub(selected.len())));
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

/// Makes `list` hold `links`, which must not be more than its width.
pub(super) fn fill(list: &mut [u32], links: &[u32]) {
    list.fill(NONE);
    list[..links.len()].copy_from_slice(links);
}
