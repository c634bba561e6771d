//! Best-first search of a frozen graph.

use std::collections::BinaryHeap;

use super::calibration::{Effort, Precision};
use super::part::{GraphPart, LinkLists};
use super::scratch::{Scratch, Visited};
use crate::rows::RowSet;
use crate::store::Result;
use crate::vector::distance::{self, LANES, PANEL_HEADER};
use crate::vector::part::Codes;
use crate::vector::scan::{rescore, scan};
use crate::vector::top::{Candidate, Top};
use crate::vector::{Query, Scored, VectorPart};

/// The `k` best allowed rows, best first: the graph is walked by the rows' codes, the best candidates are
/// scored in full precision.
///
/// Rows that are not allowed are walked through but not collected. Where they are so much in the way
/// that a scan of the allowed rows would have been cheaper, it is scanned after all.
pub fn search(
    part: &VectorPart,
    graph: &GraphPart,
    query: &Query,
    k: usize,
    effort: Effort,
    allowed: Option<&RowSet>,
) -> Result<Vec<Scored>> {
    if graph.rows() != part.rows() || graph.dimensions() != part.dimensions() {
        return Err(graph.corrupt("it is the graph of other vectors"));
    }
    if part.rows() == 0 || k == 0 {
        return Ok(Vec::new());
    }
    let (codes, links) = (part.codes_at_random()?, graph.lists()?);
    let (entry_rows, entry_panels) = graph.entries()?;
    let (ef, precision) = (graph.ef(effort).max(k), graph.calibration().precision);
    let walk = Walk { codes, links, entry_rows, entry_panels, query, ef, precision };
    graph.scratch.with(graph.rows(), |scratch| match allowed {
        None => {
            walk.run(scratch)?;
            rescore(part, query, k, walk.refine(k, scratch.beam.candidates()))
        }
        Some(allowed) => match walk.run_filtered(allowed, scratch)? {
            Some(found) => rescore(part, query, k, walk.refine(k, found.into_sorted().into_iter())),
            None => scan(part, query, k, Some(allowed)),
        },
    })
}

/// Candidates ahead whose codes are asked for while they are ranked.
const AHEAD: usize = 4;

/// Bytes of a row's codes that are asked for; the processor itself goes on where there are more.
const ASKED: usize = 128;

/// A search on its way through a graph.
pub(super) struct Walk<'a> {
    pub codes: Codes<'a>,
    pub links: LinkLists<'a>,
    pub entry_rows: &'a [u32],
    pub entry_panels: &'a [i32],
    pub query: &'a Query,
    /// How many candidates are kept.
    pub ef: usize,
    pub precision: Precision,
}

impl Walk<'_> {
    /// Leaves the `ef` best rows by their codes in the beam. `scratch` must be ready for as many rows as
    /// there are.
    pub fn run(&self, scratch: &mut Scratch) -> Result<()> {
        let Scratch { visited, beam, products } = scratch;
        beam.reset(self.ef);
        let entry = self.entry(visited, products)?;
        beam.push(entry);
        while let Some(row) = beam.pop() {
            let met = visited.len();
            self.follow(row, visited)?;
            if let Some(next) = beam.peek() {
                distance::prefetch(self.links.hint(next));
            }
            self.score(&visited.marked()[met..], products, |candidate| {
                if candidate.similarity > beam.bar() && beam.push(candidate) {
                    distance::prefetch(self.links.hint(candidate.row));
                }
            })?;
        }
        Ok(())
    }

    /// The `ef` best allowed rows by their codes; `None` where looking at the allowed rows one by one has
    /// become cheaper.
    fn run_filtered(&self, allowed: &RowSet, scratch: &mut Scratch) -> Result<Option<Top>> {
        let Scratch { visited, products, .. } = scratch;
        let mut top = Top::new(self.ef);
        let entry = self.entry(visited, products)?;
        let mut queue = BinaryHeap::from([entry]);
        if allowed.contains(entry.row) {
            top.push(entry);
        }
        while let Some(best) = queue.pop() {
            if best.similarity < top.bar() {
                break;
            }
            let before = visited.len();
            self.follow(best.row, visited)?;
            if visited.len() > allowed.len() as usize {
                return Ok(None);
            }
            self.score(&visited.marked()[before..], products, |candidate| {
                if candidate.similarity > top.bar() {
                    queue.push(candidate);
                    if allowed.contains(candidate.row) {
                        top.push(candidate);
                    }
                }
            })?;
        }
        Ok(Some(top))
    }

    /// Ranks what a walk found, best first by the upper halves of its codes, by the whole codes. Those are
    /// left out whose upper halves are so much worse than the `k`-th best that rounding cannot explain it.
    pub fn refine(&self, k: usize, found: impl Iterator<Item = Candidate> + Clone) -> Vec<Candidate> {
        if self.precision == Precision::Whole {
            return found.collect();
        }
        let mut best = Top::new(k);
        let mut refined = Vec::with_capacity(self.ef);
        let mut ahead = found.clone().skip(AHEAD);
        for Candidate { similarity, row } in found {
            if let Some(ahead) = ahead.next() {
                distance::prefetch(self.codes.row(ahead.row));
            }
            let constants = &self.codes.constants[row as usize];
            if similarity + self.query.high_error(constants) < best.bar() {
                continue;
            }
            let similarity = self.query.code_similarity(self.codes.row(row), constants);
            best.push(Candidate { similarity, row });
            refined.push(Candidate { similarity, row });
        }
        refined.sort_unstable_by(|a, b| b.cmp(a));
        refined
    }

    /// Marks the rows that `row` links to and asks for the codes of those not met before.
    #[inline]
    fn follow(&self, row: u32, visited: &mut Visited) -> Result<()> {
        let met = visited.len();
        visited.mark(self.links.of(row)?);
        let read = match self.precision {
            Precision::Halves => self.query.codes().high_bytes(),
            Precision::Whole => self.query.codes().stride(),
        };
        for &row in &visited.marked()[met..] {
            distance::prefetch(&self.codes.row(row)[..read.min(ASKED)]);
            distance::prefetch(bytemuck::bytes_of(&self.codes.constants[row as usize]));
        }
        Ok(())
    }

    /// The entry row that is nearest to the query.
    fn entry(&self, visited: &mut Visited, products: &mut Vec<i32>) -> Result<Candidate> {
        let mut tile_row = self.query.tile_row(f32::INFINITY);
        let (mut distances, mut nearest) = ([0.0; LANES], 0);
        let panel_words = LANES * (PANEL_HEADER + self.query.dimensions().div_ceil(4) as usize);
        let panels = self.entry_panels.chunks_exact(panel_words);
        for (rows, panel) in self.entry_rows.chunks(LANES).zip(panels) {
            let below = distance::near_one(&tile_row, panel, &mut distances);
            for lane in distance::lanes(below) {
                if lane < rows.len() && distances[lane] < tile_row.below {
                    (tile_row.below, nearest) = (distances[lane], rows[lane]);
                }
            }
        }
        visited.mark(&[nearest]);
        let mut entry = Candidate { similarity: f32::NEG_INFINITY, row: nearest };
        self.score(&[nearest], products, |candidate| entry = candidate)?;
        Ok(entry)
    }

    /// Calls `found` for each of `rows` with its similarity by its codes.
    #[inline]
    fn score(&self, rows: &[u32], products: &mut Vec<i32>, mut found: impl FnMut(Candidate)) -> Result<()> {
        self.codes.check(rows)?;
        products.clear();
        products.resize(rows.len(), 0);
        match self.precision {
            Precision::Halves => distance::dot_rows(self.codes.all, rows, self.query.codes(), products),
            Precision::Whole => distance::dot_rows_whole(self.codes.all, rows, self.query.codes(), products),
        }
        let ranking = match self.precision {
            Precision::Halves => self.query.high_ranking(),
            Precision::Whole => self.query.whole_ranking(),
        };
        for (&row, &product) in rows.iter().zip(&*products) {
            let similarity = ranking.similarity(product, &self.codes.constants[row as usize]);
            found(Candidate { similarity, row });
        }
        Ok(())
    }
}
