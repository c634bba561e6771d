//! Looking at every allowed row.

use std::cell::Cell;

use super::codes::RowConstants;
use super::distance::{self, BLOCK, Tables};
use super::part::Codes;
use super::sketch::SketchQuery;
use super::top::{Candidate, Top};
use super::{Effort, Query, Scored, VectorPart};
use crate::rows::RowSet;
use crate::store::Result;

/// Blocks whose sketches are looked at together.
const CHUNK: usize = 2048;
/// Blocks whose sketches are looked at one after the other in any case.
const PIECE: usize = 64;
/// The rows of at least so many blocks of a chunk make a bar for the others.
const FIRST: usize = 32;
/// Where between the bar and what the likeliest blocks reach the bar of each pass over a chunk lies.
const NEAR: [f32; 3] = [1.0, 0.5, 0.0];
/// So far ahead, the processor is asked for rows.
const AHEAD: usize = 4;
/// Rows whose codes are looked at together.
const BATCH: usize = 128;

/// The `k` best allowed rows, best first, as many of those that [`exact`] finds as the effort asks for: a look at the
/// sketches of all rows passes over most of them, then come the upper halves of codes, whole codes, and what still may
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
    // places past the last row have sketches like others
    let allowed_in = |block: usize| {
        let left = part.rows() as usize - block * BLOCK;
        let rows = if left < BLOCK { (1 << left) - 1 } else { u64::MAX };
        allowed.map_or(rows, |set| set.word(block) & rows)
    };
    let few = allowed.is_some_and(|set| set.len() as usize <= all_blocks);
    let model = if few { None } else { part.sketch_model()? };
    let Some(sketch) = model.and_then(|model| query.sketch(&model, effort.deviations())) else {
        let blocks = (0..all_blocks).map(|block| (block, allowed_in(block)));
        let mut some = blocks.filter(|&(_, rows)| rows != 0);
        some.try_for_each(|(block, rows)| scan.look_at(block * BLOCK, rows))?;
        return scan.finish();
    };
    let mut sums = SUMS.take();
    for first in (0..all_blocks).step_by(CHUNK) {
        let blocks = first..all_blocks.min(first + CHUNK);
        sums.allowed.clear();
        for (block, rows) in blocks.clone().map(|block| (block, allowed_in(block))) {
            // codes of one row are looked at as soon as the sketches of its block
            let few = rows & rows.wrapping_sub(1) == 0;
            sums.allowed.push(if few { 0 } else { rows });
            if few {
                scan.look_at(block * BLOCK, rows)?;
            }
        }
        sums.make(part.sketches(blocks)?, &sketch.tables);
        scan.look_into(first, &mut sums, &sketch)?;
    }
    SUMS.set(sums);
    scan.finish()
}

/// What the sketches of some blocks tell: the most that similarities of rows may well be, as sums that
/// [`SketchQuery::bar`] is to be compared with. 0 where a row's sketch is not looked at.
#[derive(Debug, Default)]
struct Sums {
    /// Of each block, the rows whose sketches are looked at.
    allowed: Vec<u64>,
    of_rows: Vec<[u16; BLOCK]>,
    /// Of each block the highest.
    most: Vec<u16>,
    /// Room for the highest of groups of blocks.
    of_groups: Vec<u16>,
    /// Room for numbers of blocks.
    likely: Vec<usize>,
    /// Whether the last blocks come first the next time: they are those that the processor's cache still has.
    backwards: bool,
}

impl Sums {
    /// Makes those of the allowed rows of some blocks. There is never less room than there was: what is made again
    /// would be cleared first.
    fn make(&mut self, blocks: &[u8], tables: &Tables) {
        let count = self.allowed.len();
        self.of_rows.resize(self.of_rows.len().max(count), [0; BLOCK]);
        self.likely.resize(self.likely.len().max(count), 0);
        self.most.resize(count, 0);
        let of_rows = self.of_rows[..count].chunks_mut(PIECE).zip(self.most.chunks_mut(PIECE));
        let pieces = blocks.chunks(PIECE * tables.block_bytes()).zip(self.allowed.chunks(PIECE)).zip(of_rows);
        let make = |((blocks, allowed), (of_rows, most)): (_, (&mut [_], &mut [_]))| {
            distance::look_up(blocks, tables, allowed, of_rows, most)
        };
        match self.backwards {
            false => pieces.for_each(make),
            true => pieces.rev().for_each(make),
        }
        self.backwards = !self.backwards;
    }

    /// What rows of at least so many blocks reach, or of all: found by the highest of each of twice as many groups of
    /// blocks, as quickly as it goes.
    fn high(&mut self, blocks: usize) -> u16 {
        let groups = self.most.chunks(self.most.len().div_ceil(2 * blocks));
        let highest = groups.map(|group| group.iter().copied().fold(0, u16::max));
        self.of_groups.clear();
        self.of_groups.extend(highest.filter(|&most| most > 0));
        if self.of_groups.is_empty() {
            return 0;
        }
        let place = self.of_groups.len().saturating_sub(blocks);
        *self.of_groups.select_nth_unstable(place).1
    }

    /// How many blocks have rows that reach `bar`: now the first of the likely ones. Which they are cannot be predicted,
    /// so there are no branches.
    fn find_likely(&mut self, bar: u16) -> usize {
        let mut found = 0;
        for (block, &most) in self.most.iter().enumerate() {
            self.likely[found] = block;
            found += usize::from(most >= bar);
        }
        found
    }
}

thread_local! {
    /// Room for the sums of a chunk: 300 KB.
    static SUMS: Cell<Sums> = Cell::default();
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
    fn look_into(&mut self, first: usize, sums: &mut Sums, sketch: &SketchQuery) -> Result<()> {
        let high = sums.high(FIRST.max(self.best.limit()));
        let mut looked_at = u16::MAX;
        for near in NEAR {
            let low = self.bar(sketch);
            let bar = low + (f32::from(high.saturating_sub(low)) * near) as u16;
            let found = sums.find_likely(bar);
            for &block in &sums.likely[..found] {
                let bar = bar.max(self.bar(sketch)); // it may be higher by now
                let rows = distance::within(&sums.of_rows[block], bar..looked_at);
                self.look_at((first + block) * BLOCK, rows)?;
            }
            self.look()?;
            // a bar that was low for want of enough rows may have risen past that of the pass before
            looked_at = looked_at.min(bar);
        }
        Ok(())
    }

    /// What the estimate of a row must reach for the row to be looked at.
    #[inline]
    fn bar(&self, sketch: &SketchQuery) -> u16 {
        sketch.bar(self.best.bar() - self.doubt)
    }

    /// Looks at some of the rows from `first` on, sooner or later.
    #[inline]
    fn look_at(&mut self, first: usize, mut rows: u64) -> Result<()> {
        let codes = self.query.codes();
        // without a bar, whole codes are needed
        let bytes = if self.best.bar() == f32::NEG_INFINITY { codes.stride } else { codes.high_bytes() };
        while rows != 0 {
            let row = first as u32 + rows.trailing_zeros();
            self.codes.prefetch(&[row], bytes);
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
        rescore(self.part, self.query, self.best.limit(), &self.near)
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
    candidates: &[Candidate],
) -> Result<Vec<Scored>> {
    let mut top = Top::new(k);
    candidates.iter().take(AHEAD).for_each(|candidate| part.prefetch(candidate.row));
    for (at, candidate) in candidates.iter().enumerate() {
        if let Some(ahead) = candidates.get(at + AHEAD).filter(|ahead| ahead.similarity >= top.bar()) {
            part.prefetch(ahead.row);
        }
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
    let Some(set) = allowed else {
        return (0..part.rows()).try_for_each(&mut visit);
    };
    let mut asked_for = [0; AHEAD];
    let mut met = 0;
    for row in set.iter().take_while(|&row| row < part.rows()) {
        part.prefetch(row);
        let before = std::mem::replace(&mut asked_for[met % AHEAD], row);
        if met >= AHEAD {
            visit(before)?;
        }
        met += 1;
    }
    (met.saturating_sub(AHEAD)..met).try_for_each(|met| visit(asked_for[met % AHEAD]))
}
