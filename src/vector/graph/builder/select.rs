//! Which of its candidates a row is linked to.

use super::near::Near;
use crate::vector::graph::panel::Panels;
use crate::vector::graph::space::Space;

/// By this factor (of squared distances) a candidate must be nearer to a selected one than to the row to be left
/// out: a few links more that lead nearly the same way shorten walks (the `α` of Subramanya et al., "DiskANN:
/// Fast accurate billion-point nearest neighbor search on a single node", NeurIPS 2019).
const RELAXED: f32 = 1.1;

/// Working space of [`diverse`].
#[derive(Debug, Default)]
pub(super) struct Selector {
    panels: Panels,
    state: Vec<State>,
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
        let Selector { panels, state } = self;
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
}
