//! Walks through a graph that is being built, from row to row towards another row.

use super::near::Near;
use crate::vector::graph::links::Links;
use crate::vector::graph::panel::Panels;
use crate::vector::graph::random::Random;
use crate::vector::graph::scratch::Scratch;
use crate::vector::graph::space::{Signed, Space};
use crate::vector::top::Candidate;

/// Of this many rows, a walk starts from the nearest.
const STARTS: usize = 512;
/// Candidates of a walk.
const EF: usize = 64;

/// The rows that walks start from.
#[derive(Debug)]
pub(super) struct Start {
    rows: Vec<u32>,
    panels: Panels,
}

impl Start {
    /// A sample of `rows`.
    pub fn new(space: &Space<'_>, rows: &[u32]) -> Start {
        let mut random = Random(4);
        let rows: Vec<u32> = (0..STARTS.min(rows.len())).map(|_| rows[random.below(rows.len())]).collect();
        let mut panels = Panels::default();
        panels.pack(space, rows.iter().copied());
        Start { rows, panels }
    }

    /// The one that is nearest to `row`.
    fn near(&self, space: &Space<'_>, row: u32) -> Option<Near> {
        let mut nearest: Option<Near> = None;
        self.panels.near(&space.tile_row(row, f32::INFINITY), 0, |at, distance| {
            let near = Near::new(distance, self.rows[at]);
            nearest = Some(nearest.map_or(near, |nearest| nearest.min(near)));
        });
        nearest
    }
}

/// Working space of a walk.
#[derive(Debug, Default)]
pub(super) struct Walker {
    scratch: Scratch,
    signed: Signed,
    found: Vec<Near>,
}

impl Walker {
    /// Rows near `row`, nearest first, that `links` lead to from the start. `row` itself must not be among
    /// the rows that are linked.
    pub fn walk(&mut self, space: &Space<'_>, links: &Links, start: &Start, row: u32) -> &[Near] {
        let Walker { scratch, signed, found } = self;
        found.clear();
        let Some(nearest) = start.near(space, row) else { return found };
        scratch.reset(space.rows());
        space.sign(row, signed);
        let Scratch { visited, beam, .. } = scratch;
        beam.reset(EF);
        visited.mark_one(nearest.row());
        beam.push(Candidate { similarity: -nearest.distance(), row: nearest.row() });
        while let Some(at) = beam.pop() {
            let met = visited.len();
            visited.mark(links.of(at));
            visited.marked()[met..].iter().for_each(|&to| space.prefetch(to));
            for &to in &visited.marked()[met..] {
                let similarity = -space.distance_to(signed, to);
                if similarity > beam.bar() {
                    beam.push(Candidate { similarity, row: to });
                }
            }
        }
        found.extend(beam.candidates().map(|candidate| Near::new(-candidate.similarity, candidate.row)));
        found
    }
}
