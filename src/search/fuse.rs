//! Two lists of candidates become one ranking.
//!
//! `absolute` adds the legs' scores after bringing each to [0, 1] without looking at the other candidates, so
//! that scores compare across queries (Bruch, Gai, Ingber: "An Analysis of Fusion Functions for Hybrid
//! Retrieval", TOIS 2023, study normalised convex combinations; the theoretical bounds used here are of the
//! kind they call TM2C2). Each leg scores the union of the candidates, so none gets a zero for not having
//! been in a leg's list. `rrf` is Cormack, Clarke, Büttcher: "Reciprocal Rank Fusion", SIGIR 2009, scaled to
//! [0, 1].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::collection::definition::FusionMethod;
use crate::collection::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::search::Ranked;
use crate::search::plan::{Fusion, Plan};
use crate::search::recall::{Candidate, Candidates, Leg};
use crate::search::response::LegScore;
use crate::text::{self, Statistics, TextQuery};
use crate::vector::{self, Query};

/// The ranking, and which legs failed.
#[derive(Debug)]
pub struct Fused {
    /// Best first, at most one a document where the plan says so.
    pub ranked: Vec<Ranked>,
    /// Why the dense leg added nothing.
    pub dense_error: Option<Error>,
    /// Why the lexical leg added nothing.
    pub lexical_error: Option<Error>,
}

/// Raw scores and ranks by (segment, row).
type Scores = HashMap<(u32, u32), (Option<u32>, f32)>;

/// Ranks the union of the candidates.
pub fn fuse(snapshot: &Snapshot, plan: &Plan, candidates: Candidates) -> Fused {
    let (mut dense_error, mut lexical_error) = (None, None);
    let mut dense = take(candidates.dense, &mut dense_error);
    let mut lexical = take(candidates.lexical, &mut lexical_error);
    let union = union_rows(&dense, &lexical, snapshot.segments.len());
    let dense_scores = dense.as_ref().map(|leg| dense_scores(snapshot, leg, &union));
    let lexical_scores = lexical.as_ref().zip(plan.lexical.as_ref());
    let lexical_scores = lexical_scores.map(|(leg, query)| lexical_scores_of(snapshot, leg, query, &union));
    let dense_scores = take(dense_scores, &mut dense_error);
    let lexical_scores = take(lexical_scores, &mut lexical_error);
    let max_bm25 =
        lexical.as_ref().zip(plan.lexical.as_ref()).map(|(leg, query)| query.max_score(&leg.query));
    let max_bm25 = take(max_bm25, &mut lexical_error).unwrap_or(0.0);
    // a leg that could not score the union leaves, with the candidates only it recalled
    if dense_error.is_some() {
        dense = None;
    }
    if lexical_error.is_some() {
        lexical = None;
    }
    let (has_dense, has_lexical) = (dense.is_some(), lexical.is_some());
    let has_phrases = plan.lexical.as_ref().is_some_and(TextQuery::has_phrases);
    let mut ranked = Vec::new();
    for (segment, rows) in union_rows(&dense, &lexical, snapshot.segments.len()).into_iter().enumerate() {
        for row in rows {
            let key = (segment as u32, row);
            let dense = dense_scores.as_ref().filter(|_| has_dense).and_then(|scores| scores.get(&key));
            let dense = dense.map(|&(rank, raw)| {
                let normalized = vector::normalized(plan.metric, raw, plan.fusion.dense_floor);
                LegScore { rank, raw, normalized }
            });
            let lexical = lexical_scores.as_ref().filter(|_| has_lexical).and_then(|scores| scores.get(&key));
            let lexical = lexical.map(|&(rank, raw)| {
                let normalized = if max_bm25 > 0.0 { (raw / max_bm25).clamp(0.0, 1.0) } else { 0.0 };
                LegScore { rank, raw, normalized }
            });
            // a quoted phrase must occur, whichever leg found the chunk
            if has_phrases && lexical.is_some_and(|lexical| lexical.raw <= 0.0) {
                continue;
            }
            let fused = fused_score(&plan.fusion, dense, lexical);
            ranked.push(Ranked {
                segment: segment as u32,
                row,
                score: fused,
                dense,
                lexical,
                fused,
                rerank: None,
            });
        }
    }
    sort(&mut ranked);
    let result = if plan.group_by_document { group(snapshot, &mut ranked) } else { Ok(()) };
    if let Err(error) = result {
        return Fused { ranked: Vec::new(), dense_error: Some(error.clone()), lexical_error: Some(error) };
    }
    ranked.truncate(plan.window);
    Fused { ranked, dense_error, lexical_error }
}

/// Best first; equal scores in the order they had before reranking, then of segment and row.
pub fn sort(ranked: &mut [Ranked]) {
    ranked.sort_unstable_by(|a, b| {
        let scores = b.score.total_cmp(&a.score).then(b.fused.total_cmp(&a.fused));
        scores.then((a.segment, a.row).cmp(&(b.segment, b.row)))
    });
}

/// The score of a chunk from what the legs say of it, in [0, 1]. Where only one leg ran, its own score.
fn fused_score(fusion: &Fusion, dense: Option<LegScore>, lexical: Option<LegScore>) -> f32 {
    let (dense, lexical) = match (dense, lexical) {
        (Some(dense), Some(lexical)) => (dense, lexical),
        (Some(only), None) | (None, Some(only)) => return only.normalized,
        (None, None) => return 0.0,
    };
    let weight = fusion.dense_weight;
    match fusion.method {
        FusionMethod::Absolute => weight * dense.normalized + (1.0 - weight) * lexical.normalized,
        FusionMethod::Rrf => {
            let part = |rank: Option<u32>| rank.map_or(0.0, |rank| 1.0 / (fusion.rrf_k + rank as f32));
            (part(dense.rank) + part(lexical.rank)) * (fusion.rrf_k + 1.0) / 2.0
        }
    }
}

/// Moves an error out of a leg's place.
fn take<T>(leg: Option<Result<T>>, error: &mut Option<Error>) -> Option<T> {
    match leg? {
        Ok(leg) => Some(leg),
        Err(why) => {
            *error = Some(why);
            None
        }
    }
}

/// The candidates of both legs: ascending rows by segment.
fn union_rows(
    dense: &Option<Leg<Query>>,
    lexical: &Option<Leg<Arc<Statistics>>>,
    segments: usize,
) -> Vec<Vec<u32>> {
    let mut rows = vec![Vec::new(); segments];
    let dense = dense.iter().flat_map(|leg| &leg.candidates);
    let lexical = lexical.iter().flat_map(|leg| &leg.candidates);
    for candidate in dense.chain(lexical) {
        rows[candidate.segment as usize].push(candidate.row);
    }
    for list in &mut rows {
        list.sort_unstable();
        list.dedup();
    }
    rows
}

fn ranks(candidates: &[Candidate]) -> Scores {
    let ranked = candidates.iter().enumerate();
    ranked.map(|(at, hit)| ((hit.segment, hit.row), (Some(at as u32 + 1), hit.raw))).collect()
}

fn dense_scores(snapshot: &Snapshot, leg: &Leg<Query>, union: &[Vec<u32>]) -> Result<Scores> {
    let mut scores = ranks(&leg.candidates);
    for (segment, rows) in union.iter().enumerate() {
        let missing = missing(&scores, segment as u32, rows);
        if let (false, Some(part)) = (missing.is_empty(), snapshot.segments[segment].segment.vectors()?) {
            let raws = vector::score_rows(part, &leg.query, &missing)?;
            scores.extend(missing.iter().zip(raws).map(|(&row, raw)| ((segment as u32, row), (None, raw))));
        }
    }
    Ok(scores)
}

fn lexical_scores_of(
    snapshot: &Snapshot,
    leg: &Leg<Arc<Statistics>>,
    query: &TextQuery,
    union: &[Vec<u32>],
) -> Result<Scores> {
    let mut scores = ranks(&leg.candidates);
    for (segment, rows) in union.iter().enumerate() {
        let missing = missing(&scores, segment as u32, rows);
        if !missing.is_empty() {
            let part = snapshot.segments[segment].segment.text()?;
            let raws = text::score_rows(part, &leg.query, query, &missing)?;
            scores.extend(missing.iter().zip(raws).map(|(&row, raw)| ((segment as u32, row), (None, raw))));
        }
    }
    Ok(scores)
}

fn missing(scores: &Scores, segment: u32, rows: &[u32]) -> Vec<u32> {
    rows.iter().copied().filter(|&row| !scores.contains_key(&(segment, row))).collect()
}

/// Keeps the best chunk of each document.
fn group(snapshot: &Snapshot, ranked: &mut Vec<Ranked>) -> Result<()> {
    let mut seen = HashSet::new();
    let mut failed = None;
    ranked.retain(|hit| {
        let source = snapshot.segments[hit.segment as usize].segment.source();
        match source.and_then(|source| Ok(source.chunk(hit.row)?)) {
            Ok(chunk) => seen.insert((hit.segment, chunk.document)),
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(rank: Option<u32>, normalized: f32) -> Option<LegScore> {
        Some(LegScore { rank, raw: 0.0, normalized })
    }

    #[test]
    fn fused_scores_stay_in_the_unit_interval() {
        let mut fusion =
            Fusion { method: FusionMethod::Absolute, dense_weight: 0.25, dense_floor: 0.0, rrf_k: 60.0 };
        assert_eq!(fused_score(&fusion, leg(Some(1), 1.0), leg(Some(1), 1.0)), 1.0);
        assert_eq!(fused_score(&fusion, leg(None, 0.4), leg(Some(1), 0.8)), 0.25 * 0.4 + 0.75 * 0.8);
        assert_eq!(fused_score(&fusion, None, leg(Some(3), 0.8)), 0.8);
        fusion.method = FusionMethod::Rrf;
        assert!((fused_score(&fusion, leg(Some(1), 0.1), leg(Some(1), 0.1)) - 1.0).abs() < 1e-6);
        let both = fused_score(&fusion, leg(Some(5), 0.1), leg(Some(9), 0.1));
        let one = fused_score(&fusion, leg(Some(5), 0.1), leg(None, 0.0));
        assert!(one > 0.0 && both > one && both < 1.0);
    }
}
