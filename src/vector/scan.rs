//! Looking at every allowed row.

use std::cell::Cell;

use super::codes::RowConstants;
use super::part::Codes;
use super::sketch::BLOCK;
use super::top::{Candidate, Top};
use super::{Effort, Query, Scored, VectorPart, distance};
use crate::rows::RowSet;
use crate::store::Result;

/// As many rows of a block are looked at without a look at sketches: those of the whole block take as long.
const FEW: u32 = 3;
/// Blocks whose sketches are looked at together.
const CHUNK: usize = 2048;
/// At least so many rows of a chunk are looked at to have a bar for the others.
const FIRST: usize = 64;
/// How much nearer than the bar to the likeliest row the others must be in each pass over a chunk.
const NEAR: [f32; 3] = [0.66, 0.33, 0.0];
/// Rows whose codes are looked at together.
const BATCH: usize = 128;

/// The `k` best allowed rows, best first, as [`exact`] finds them but for what rounding may hide: a look at the sketches
/// of all rows passes over most of them, then come the upper halves of codes, whole codes, and what still may
/// be among the best is scored in full precision.
pub fn scan(
    part: &VectorPart,
    query: &Query,
    k: usize,
    effort: Effort,
    allowed: Option<&RowSet>,
) -> Result<Vec<Scored>> {
    if k == 0 {
        return Ok(Vec::new());
    }
    let mut scan = Scan::new(part, query, k)?;
    let all_blocks = (part.rows() as usize).div_ceil(BLOCK);
    if let Some(set) = allowed.filter(|set| set.len() as usize <= FEW as usize * all_blocks) {
        (0..all_blocks).try_for_each(|block| scan.look_at(block * BLOCK, set.word(block)))?;
        return scan.finish();
    }
    let sketch = query.sketch(part.centre()?, effort.deviations());
    let mut estimates = ESTIMATES.take();
    estimates.make_room(all_blocks);
    for first in (0..all_blocks).step_by(CHUNK) {
        let blocks = CHUNK.min(all_blocks - first);
        for at in 0..blocks {
            let block = first + at;
            let allowed = allowed.map_or(u64::MAX, |set| set.word(block));
            estimates.most[at] = if allowed.count_ones() > FEW {
                distance::at_most(part.sketches(block)?, &sketch, allowed, &mut estimates.of_rows[at])
            } else {
                scan.look_at(block * BLOCK, allowed)?;
                f32::NEG_INFINITY
            };
        }
        let Estimates { of_rows, most } = &mut estimates;
        scan.look_into(first, &mut of_rows[..blocks], &most[..blocks], sketch.constant)?;
    }
    ESTIMATES.set(estimates);
    scan.finish()
}

/// What the sketches of some blocks tell: the most that similarities of rows may well be.
#[derive(Debug, Default)]
struct Estimates {
    of_rows: Vec<[f32; BLOCK]>,
    /// Of each block the highest.
    most: Vec<f32>,
}

impl Estimates {
    /// Makes room for a chunk of a part of so many blocks.
    fn make_room(&mut self, blocks: usize) {
        let room = self.most.len().max(CHUNK.min(blocks));
        self.of_rows.resize(room, [0.0; BLOCK]);
        self.most.resize(room, 0.0);
    }
}

thread_local! {
    /// Room for the estimates of a chunk: 533 KB.
    static ESTIMATES: Cell<Estimates> = const { Cell::new(Estimates { of_rows: Vec::new(), most: Vec::new() }) };
}

/// A scan of codes on its way.
struct Scan<'a> {
    part: &'a VectorPart,
    query: &'a Query,
    codes: Codes<'a>,
    best: Top,
    /// How far codes may be from the truth, by the rows that were looked at; sketches are made of codes.
    doubt: f32,
    /// What was among the best, or near.
    near: Vec<Candidate>,
    /// Rows to be looked at, and how many.
    batch: [u32; BATCH],
    filled: usize,
}

impl Scan<'_> {
    fn new<'a>(part: &'a VectorPart, query: &'a Query, k: usize) -> Result<Scan<'a>> {
        let codes = part.codes_at_random()?;
        let best = Top::new(k);
        Ok(Scan { part, query, codes, best, doubt: 0.0, near: Vec::new(), batch: [0; BATCH], filled: 0 })
    }

    /// Looks at the rows of a chunk, whose first block is `first`, that may be among the best for all that their
    /// sketches tell. The likelier ones come first: they raise the bar for the others.
    fn look_into(
        &mut self,
        first: usize,
        of_rows: &mut [[f32; BLOCK]],
        most: &[f32],
        constant: f32,
    ) -> Result<()> {
        if self.best.bar() == f32::NEG_INFINITY {
            // the best of as many neighbouring blocks each
            let neighbours = most.len().div_ceil(FIRST.max(2 * self.best.limit()));
            for (at, most) in most.chunks(neighbours).enumerate() {
                let best = (0..most.len()).max_by(|&a, &b| most[a].total_cmp(&most[b])).unwrap_or_default();
                let (block, most) = (at * neighbours + best, most[best]);
                if let Some(row) = of_rows[block].iter().position(|&x| x == most && x > f32::NEG_INFINITY) {
                    of_rows[block][row] = f32::NEG_INFINITY; // not again
                    self.look_at((first + block) * BLOCK, 1 << row)?;
                }
            }
            self.look()?;
        }
        let highest = most.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut looked_at = f32::INFINITY;
        for near in NEAR {
            let low = self.bar(constant);
            let bar = low * (1.0 - near) + highest.clamp(low, f32::MAX) * near;
            for at in (0..most.len()).filter(|&at| most[at] >= bar) {
                let bar = bar.max(self.bar(constant)); // it may be higher by now
                let rows =
                    distance::at_least(&of_rows[at], bar) & !distance::at_least(&of_rows[at], looked_at);
                self.look_at((first + at) * BLOCK, rows)?;
            }
            self.look()?;
            // a bar that was low for want of enough rows may have risen past that of the pass before
            looked_at = looked_at.min(bar);
        }
        Ok(())
    }

    /// What the estimate of a row must reach for the row to be looked at.
    #[inline]
    fn bar(&self, constant: f32) -> f32 {
        (self.best.bar() - self.doubt + constant).max(f32::MIN)
    }

    /// Looks at some of the rows from `first` on, sooner or later.
    #[inline]
    fn look_at(&mut self, first: usize, mut rows: u64) -> Result<()> {
        while rows != 0 {
            let row = first as u32 + rows.trailing_zeros();
            self.codes.prefetch(&[row], self.query.codes().high_bytes());
            self.batch[self.filled] = row;
            rows &= rows - 1;
            self.filled += 1;
            if self.filled == BATCH {
                self.look()?;
            }
        }
        Ok(())
    }

    /// Looks at the rows of the batch.
    fn look(&mut self) -> Result<()> {
        let Scan { query, codes, best, doubt, near, .. } = self;
        let rows = &self.batch[..self.filled];
        self.filled = 0;
        codes.check(rows)?;
        let mut products = [0; BATCH];
        distance::dot_rows(codes.all, rows, query.codes(), &mut products[..rows.len()]);
        let mut of_rows = [RowConstants::default(); BATCH];
        for (constants, &row) in of_rows.iter_mut().zip(rows) {
            *constants = codes.constants[row as usize];
        }
        let (high, mut at_most) = (query.high_ranking(), [0.0; BATCH]);
        for ((at_most, &product), constants) in at_most.iter_mut().zip(&products).zip(&of_rows) {
            *at_most = high.similarity(product, constants) + query.high_error(constants);
        }
        for ((&row, at_most), constants) in rows.iter().zip(at_most).zip(&of_rows) {
            if at_most < best.bar() {
                continue;
            }
            let similarity = query.code_similarity(codes.row(row), constants);
            let error = 2.0 * query.code_error(constants);
            *doubt = doubt.max(error);
            if similarity + error >= best.bar() {
                best.push(Candidate { similarity, row });
                near.push(Candidate { similarity, row });
            }
        }
        Ok(())
    }

    /// Scores what is left.
    fn finish(mut self) -> Result<Vec<Scored>> {
        self.look()?;
        self.near.sort_unstable_by(|a, b| b.cmp(a));
        rescore(self.part, self.query, self.best.limit(), self.near)
    }
}

/// The `k` best allowed rows, best first, ties by row: full precision throughout.
pub fn exact(part: &VectorPart, query: &Query, k: usize, allowed: Option<&RowSet>) -> Result<Vec<Scored>> {
    let mut top = Top::new(k);
    each_row(part, allowed, |row| {
        top.push(Candidate { similarity: query.similarity(part.row(row)?), row });
        Ok(())
    })?;
    Ok(scored(query, top))
}

/// The exact raw scores of `rows`, in their order.
pub fn score_rows(part: &VectorPart, query: &Query, rows: &[u32]) -> Result<Vec<f32>> {
    rows.iter().map(|&row| Ok(query.raw(query.similarity(part.row(row)?)))).collect()
}

/// The best `k` of some candidates (best first, by their codes), by their full-precision scores. Those are
/// left out whose codes are so much worse than the `k`-th score that rounding cannot explain it.
pub(super) fn rescore(
    part: &VectorPart,
    query: &Query,
    k: usize,
    candidates: impl IntoIterator<Item = Candidate>,
) -> Result<Vec<Scored>> {
    let mut top = Top::new(k);
    for candidate in candidates {
        let (_, constants) = part.codes(candidate.row)?;
        if candidate.similarity + query.code_error(&constants) < top.bar() {
            continue;
        }
        let similarity = query.similarity(part.row(candidate.row)?);
        top.push(Candidate { similarity, row: candidate.row });
    }
    Ok(scored(query, top))
}

fn scored(query: &Query, top: Top) -> Vec<Scored> {
    let score = |found: Candidate| Scored { row: found.row, raw: query.raw(found.similarity) };
    top.into_sorted().into_iter().map(score).collect()
}

fn each_row(
    part: &VectorPart,
    allowed: Option<&RowSet>,
    mut visit: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    match allowed {
        None => (0..part.rows()).try_for_each(&mut visit),
        Some(set) => set.iter().take_while(|&row| row < part.rows()).try_for_each(&mut visit),
    }
}
