//! Looking at every allowed row.

use super::codes::RowConstants;
use super::top::{Candidate, Top};
use super::{Query, Scored, VectorPart, distance};
use crate::rows::RowSet;
use crate::store::Result;

/// Rows whose codes are looked at together.
const BATCH: usize = 256;
/// Of these, so many are compared while the codes of as many more are on their way.
const STEP: usize = 16;

/// The `k` best allowed rows, best first, as [`exact`] finds them but for what rounding of codes may hide in
/// one of some hundred: the upper halves of all codes are looked at, the whole codes of those that may
/// be among the best, and in full precision those that still may.
pub fn scan(part: &VectorPart, query: &Query, k: usize, allowed: Option<&RowSet>) -> Result<Vec<Scored>> {
    if k == 0 {
        return Ok(Vec::new());
    }
    let codes = part.codes_at_random()?;
    let high = query.high_ranking();
    let (mut best, mut near) = (Top::new(k), Vec::new());
    let mut products = [0; BATCH];
    let read = query.codes().high_bytes();
    let visit = |rows: &[u32]| {
        codes.check(rows)?;
        for (at, products) in products[..rows.len()].chunks_mut(STEP).enumerate() {
            let (now, later) = rows[at * STEP..].split_at(products.len());
            codes.prefetch(&later[..later.len().min(STEP)], read);
            distance::dot_rows(codes.all, now, query.codes(), products);
        }
        let mut of_rows = [RowConstants::default(); BATCH];
        for (constants, &row) in of_rows.iter_mut().zip(rows) {
            *constants = codes.constants[row as usize];
        }
        let mut at_most = [0.0; BATCH];
        for ((at_most, &product), constants) in at_most.iter_mut().zip(&products).zip(&of_rows) {
            *at_most = high.similarity(product, constants) + query.high_error(constants);
        }
        for ((&row, at_most), constants) in rows.iter().zip(at_most).zip(&of_rows) {
            if at_most < best.bar() {
                continue;
            }
            let similarity = query.code_similarity(codes.row(row), constants);
            if similarity + 2.0 * query.code_error(constants) >= best.bar() {
                best.push(Candidate { similarity, row });
                near.push(Candidate { similarity, row });
            }
        }
        Ok(())
    };
    match allowed {
        None => each_batch(0..part.rows(), visit)?,
        Some(set) => each_batch(set.iter().take_while(|&row| row < part.rows()), visit)?,
    }
    near.sort_unstable_by(|a, b| b.cmp(a));
    rescore(part, query, k, near)
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

/// Calls `visit` with all `rows`, [`BATCH`] at most at a time.
fn each_batch(rows: impl Iterator<Item = u32>, mut visit: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
    let (mut batch, mut filled) = ([0; BATCH], 0);
    for row in rows {
        batch[filled] = row;
        filled += 1;
        if filled == BATCH {
            visit(&batch)?;
            filled = 0;
        }
    }
    visit(&batch[..filled])
}
