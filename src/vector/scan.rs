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
const CHUNK: usize = 1024;
/// So many rows are looked at to have a bar for the others.
const FIRST: usize = 64;
/// Rows whose codes are looked at together.
const BATCH: usize = 128;
/// Of these, so many are compared while the codes of as many more are on their way.
const STEP: usize = 16;

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
    let room = estimates.len().max(CHUNK.min(all_blocks));
    estimates.resize(room, Estimates { of_rows: [0.0; BLOCK], most: 0.0 });
    for chunk in (0..all_blocks).step_by(CHUNK) {
        let blocks = CHUNK.min(all_blocks - chunk);
        for (at, estimates) in estimates[..blocks].iter_mut().enumerate() {
            let block = chunk + at;
            let allowed = allowed.map_or(u64::MAX, |set| set.word(block));
            estimates.most = if allowed.count_ones() > FEW {
                distance::at_most(part.sketches(block)?, &sketch, allowed, &mut estimates.of_rows)
            } else {
                scan.look_at(block * BLOCK, allowed)?;
                f32::NEG_INFINITY
            };
        }
        if scan.best.bar() == f32::NEG_INFINITY {
            // a bar for the others: the best of the best blocks
            let mut best: Vec<usize> = (0..blocks).collect();
            if blocks > FIRST {
                best.select_nth_unstable_by(FIRST, |&a, &b| estimates[b].most.total_cmp(&estimates[a].most));
            }
            for at in best.into_iter().take(FIRST) {
                let Estimates { of_rows, most } = &mut estimates[at];
                if let Some(row) =
                    of_rows.iter().position(|x| x == most).filter(|_| *most > f32::NEG_INFINITY)
                {
                    of_rows[row] = f32::NEG_INFINITY;
                    scan.look_at((chunk + at) * BLOCK, 1 << row)?;
                }
            }
            scan.look()?;
        }
        for (at, Estimates { of_rows, most }) in estimates[..blocks].iter().enumerate() {
            let bar = (scan.best.bar() - scan.doubt + sketch.constant).max(f32::MIN);
            if *most >= bar {
                scan.look_at((chunk + at) * BLOCK, distance::at_least(of_rows, bar))?;
            }
        }
    }
    ESTIMATES.set(estimates);
    scan.finish()
}

/// What the sketches of a block tell: the most that similarities may well be.
#[derive(Clone, Copy, Debug)]
struct Estimates {
    of_rows: [f32; BLOCK],
    most: f32,
}

thread_local! {
    /// Room for the estimates of a chunk: 266 KB.
    static ESTIMATES: Cell<Vec<Estimates>> = const { Cell::new(Vec::new()) };
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

    /// Looks at some of the rows from `first` on, sooner or later.
    #[inline]
    fn look_at(&mut self, first: usize, mut rows: u64) -> Result<()> {
        while rows != 0 {
            self.batch[self.filled] = first as u32 + rows.trailing_zeros();
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
        let read = query.codes().high_bytes();
        codes.prefetch(&rows[..rows.len().min(STEP)], read);
        for (at, products) in products[..rows.len()].chunks_mut(STEP).enumerate() {
            let (now, later) = rows[at * STEP..].split_at(products.len());
            codes.prefetch(&later[..later.len().min(STEP)], read);
            distance::dot_rows(codes.all, now, query.codes(), products);
        }
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
