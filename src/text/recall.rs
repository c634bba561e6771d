//! The exact best rows of a snapshot for a question, and the scores of rows found otherwise.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use tantivy::Term;
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, EnableScoring, Query, TermQuery, Weight,
};
use tantivy::schema::{Field, IndexRecordOption};

use super::error::reading;
use super::part::TextPart;
use super::query::TextQuery;
use super::row_scorer::{Phrases, RowScorer, WeightedTerm, weigh};
use super::schema::text_term;
use super::statistics::{B, K1, Statistics};
use crate::Result;
use crate::rows::RowSet;

/// Filters that let fewer rows through than a question's postings divided by this are walked row by row.
const SEEK_FACTOR: u64 = 8;
/// Absorbs the rounding of sums of f32 taken in another order.
const ROUNDING: f32 = 1e-5;

/// A row and its BM25 score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Index of the part in the list given.
    pub part: usize,
    /// The row.
    pub row: u32,
    /// BM25: sum over the question's words, not normalised.
    pub raw: f32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// Better first: by score, then part, then row.
    fn cmp(&self, other: &Self) -> Ordering {
        other.raw.total_cmp(&self.raw).then(self.part.cmp(&other.part)).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The `k` best rows of `parts` for `query`, best first; ties by part and row. `allowed` has the rows
/// that may be found of each part (`None`: all). Exact: block-max WAND (Ding and Suel, 2011) only skips
/// what cannot be among them.
pub fn recall(
    parts: &[&TextPart],
    allowed: &[Option<&RowSet>],
    statistics: &Statistics,
    query: &TextQuery,
    k: usize,
) -> Result<Vec<Scored>> {
    debug_assert_eq!(parts.len(), allowed.len());
    let terms = weigh(query, statistics)?;
    let mut best = Best { k, heap: BinaryHeap::new() };
    if k == 0 || terms.is_empty() {
        return Ok(Vec::new());
    }
    for (part, (&text, &allowed)) in parts.iter().zip(allowed).enumerate() {
        let Some(mut scorer) = RowScorer::open(text, &terms, &query.phrases)? else { continue };
        let postings = scorer.postings();
        let passes = |row| allowed.is_none_or(|rows| rows.contains(row));
        let mut offer = |row| {
            if let Some(raw) = scorer.score(row) {
                best.offer(Scored { part, row, raw });
            }
        };
        match allowed {
            Some(rows) if u64::from(rows.len()) * SEEK_FACTOR <= postings => rows.iter().for_each(offer),
            _ if !query.phrases.is_empty() => {
                let Some(mut phrases) = Phrases::open(text, &query.phrases)? else { continue };
                let mut next = 0;
                while let Some(row) = phrases.next(next) {
                    if passes(row) {
                        offer(row);
                    }
                    next = row + 1;
                }
            }
            _ => {
                let slack = pruning_slack(text, statistics);
                let mut threshold = best.threshold(slack);
                let union = union(text, &terms, statistics)?;
                union
                    .for_each_pruning(threshold, text.reader(), &mut |row, _| {
                        if passes(row) {
                            if let Some(raw) = scorer.score(row) {
                                best.offer(Scored { part, row, raw });
                            }
                            threshold = best.threshold(slack);
                        }
                        threshold
                    })
                    .map_err(reading(text.path()))?;
            }
        }
    }
    Ok(best.heap.into_sorted_vec())
}

/// The BM25 scores of `rows` (ascending) of one part; 0 where a row does not match. The same numbers as
/// [`recall`]'s.
pub fn score_rows(
    part: &TextPart,
    statistics: &Statistics,
    query: &TextQuery,
    rows: &[u32],
) -> Result<Vec<f32>> {
    debug_assert!(rows.is_sorted());
    let terms = weigh(query, statistics)?;
    Ok(match RowScorer::open(part, &terms, &query.phrases)? {
        Some(mut scorer) => rows.iter().map(|&row| scorer.score(row).unwrap_or(0.0)).collect(),
        None => vec![0.0; rows.len()],
    })
}

/// The best `k` so far, the worst of them on top.
struct Best {
    k: usize,
    heap: BinaryHeap<Scored>,
}

impl Best {
    fn offer(&mut self, scored: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(scored);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && scored < *worst
        {
            *worst = scored;
        }
    }

    /// What a row's score upper bound, short by at most the factor `slack`, must exceed to matter.
    fn threshold(&self, slack: f32) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.k => worst.raw / slack,
            _ => f32::MIN,
        }
    }
}

/// By which factor tantivy's upper bounds may fall short in this part.
///
/// A block's bound is the score of the row that is best *by the part's own average length*. With
/// s(tf, len) = tf / (tf + k1·(1 − b + b·len/average)), going from one average to the other changes s
/// by at most their ratio, up for some rows and down for others, so the true maximum is at most
/// max(aL/aG, aG/aL) times the bound. A word's bound is tantivy's for a row of nothing else, which
/// rounding lengths down to one of 256 values (by less than an eighth) can exceed a little.
fn pruning_slack(part: &TextPart, statistics: &Statistics) -> f32 {
    let global = statistics.average_len();
    // the average its block bounds were made with
    let local = part.index().total_num_tokens() as f32 / part.rows() as f32;
    let of_blocks = (local / global).max(global / local);
    let limit = K1 * B / global;
    let of_words = (1.0 + limit) / (1.0 + limit * 8.0 / 9.0);
    of_blocks.max(of_words) * (1.0 + ROUNDING)
}

/// The rows with any of `terms` in one part, scored by the snapshot's statistics.
fn union(part: &TextPart, terms: &[WeightedTerm], statistics: &Statistics) -> Result<Box<dyn Weight>> {
    let known =
        Known { statistics, doc_freqs: terms.iter().map(|t| (text_term(&t.text), t.doc_freq)).collect() };
    let mut queries: Vec<Box<dyn Query>> = Vec::with_capacity(terms.len());
    for term in terms {
        if part.term(&term.text)?.is_some() {
            let query = Box::new(TermQuery::new(text_term(&term.text), IndexRecordOption::WithFreqs));
            queries.push(if term.weight == 1.0 {
                query
            } else {
                Box::new(BoostQuery::new(query, term.weight))
            });
        }
    }
    // a union of one is not pruned, a word by itself is
    let query = match queries.len() {
        1 => queries.swap_remove(0),
        _ => Box::new(BooleanQuery::union(queries)),
    };
    query
        .weight(EnableScoring::enabled_from_statistics_provider(&known, part.searcher()))
        .map_err(reading(part.path()))
}

/// The statistics as tantivy asks for them.
struct Known<'a> {
    statistics: &'a Statistics,
    doc_freqs: HashMap<Term, u64>,
}

impl Bm25StatisticsProvider for Known<'_> {
    fn total_num_tokens(&self, _field: Field) -> tantivy::Result<u64> {
        Ok(self.statistics.tokens())
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.statistics.rows())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        Ok(self.doc_freqs.get(term).copied().unwrap_or(0))
    }
}
