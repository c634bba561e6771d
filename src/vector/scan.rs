//! Looking at every allowed row.

use super::top::{Candidate, Top};
use super::{Query, Scored, VectorPart};
use crate::rows::RowSet;
use crate::store::Result;

/// How many candidates, picked by their codes, are scored in full precision to return `k`: enough that
/// the rounding of the codes does not cost a neighbour.
fn oversampled(k: usize) -> usize {
    k.saturating_mul(4).max(k.saturating_add(64))
}

/// The `k` best allowed rows, best first: all codes are looked at, the best candidates are scored in
/// full precision.
pub fn scan(part: &VectorPart, query: &Query, k: usize, allowed: Option<&RowSet>) -> Result<Vec<Scored>> {
    let mut top = Top::new(oversampled(k));
    each_row(part, allowed, |row| {
        let (codes, constants) = part.codes(row)?;
        top.push(Candidate { similarity: query.code_similarity(codes, &constants), row });
        Ok(())
    })?;
    rescore(part, query, k, top.into_sorted())
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
