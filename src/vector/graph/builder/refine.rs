//! Finds what the cuts missed among the nearest rows' nearest rows.

use super::near::{Near, Pool, merge};
use crate::vector::graph::scratch::Scratch;
use crate::vector::graph::space::{Signed, Space};

/// Of this many nearest rows, as many nearest rows are looked at.
const REFINED: usize = 12;
/// Rows ahead whose codes are asked for.
const AHEAD: usize = 6;

/// Working space of refining pools.
#[derive(Debug, Default)]
pub(super) struct Refinement {
    scratch: Scratch,
    signed: Signed,
    rows: Vec<u32>,
    found: Vec<Near>,
    pool: Vec<Near>,
}

impl Refinement {
    /// The pool of `row` with the nearest rows of its nearest rows: the nearest `limit`, nearest first. `pools` must be
    /// sorted.
    pub fn refined(&mut self, space: &Space<'_>, row: u32, pools: &[Pool], limit: usize) -> &[Near] {
        let known = pools[row as usize].known();
        self.scratch.reset(space.rows());
        let visited = &mut self.scratch.visited;
        let mut visit = |rows: &mut dyn Iterator<Item = u32>| {
            self.rows.clear();
            self.rows.extend(rows);
            visited.mark(&self.rows);
            visited.len()
        };
        let visited_before = visit(&mut known.iter().map(|near| near.row()).chain([row]));
        for near in known.iter().take(REFINED) {
            let theirs = pools[near.row() as usize].known();
            visit(&mut theirs.iter().take(REFINED).map(|near| near.row()));
        }
        let others = &visited.marked()[visited_before..];
        space.sign(row, &mut self.signed);
        let bar = known.get(limit - 1).map_or(f32::INFINITY, |near| near.distance());
        self.found.clear();
        for (at, &other) in others.iter().enumerate() {
            if let Some(&ahead) = others.get(at + AHEAD) {
                space.prefetch(ahead);
            }
            let distance = space.distance_to(&self.signed, other);
            if distance < bar {
                self.found.push(Near::new(distance, other));
            }
        }
        self.found.sort_unstable();
        merge(known, &self.found, limit, &mut self.pool);
        &self.pool
    }
}
