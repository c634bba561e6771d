//! Which of its candidates a row is linked to.

use super::near::Near;
use crate::vector::graph::panel::Panels;
use crate::vector::graph::space::Space;

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
    /// Up to `width` of `candidates` (nearest first), leaving out each that is at least as near to a selected
    /// one as to the row itself (Malkov & Yashunin, algorithm 4): links lead in different directions, also out
    /// of a cluster of near-duplicates. With `fill`, free places go to the nearest left out.
    pub fn diverse(&mut self, space: &Space<'_>, candidates: &[Near], width: usize, fill: bool) -> Vec<u32> {
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
                if other > at && distance <= candidates[other].distance() {
                    state[other] = State::LeftOut;
                }
            });
        }
        if fill {
            let left_out = candidates.iter().zip(&*state).filter(|(_, state)| **state == State::LeftOut);
            let free = width - selected.len();
            selected.extend(left_out.map(|(near, _)| near.row()).take(free));
        }
        selected
    }
}
