//! The score of given rows: the one definition of a row's BM25, for recall and for single rows.

use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::{Postings, SegmentPostings};
use tantivy::query::{Bm25Weight, EnableScoring, PhraseQuery, Query, Scorer};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED};

use super::error::{reading, reading_io};
use super::part::TextPart;
use super::query::TextQuery;
use super::schema::{SCHEMA, text_term};
use super::statistics::Statistics;
use crate::Result;

/// A word of a question that some row of the snapshot has, with its BM25 weight.
pub(super) struct WeightedTerm {
    pub text: String,
    pub weight: f32,
    pub doc_freq: u64,
    bm25: Bm25Weight,
}

/// The words of `query` that occur at all.
pub(super) fn weigh(query: &TextQuery, statistics: &Statistics) -> Result<Vec<WeightedTerm>> {
    let mut terms = Vec::with_capacity(query.terms.len());
    for term in &query.terms {
        let doc_freq = statistics.doc_freq(&term.text)?;
        if doc_freq > 0 {
            let (rows, average) = (statistics.rows(), statistics.average_len());
            let bm25 = Bm25Weight::for_one_term_without_explain(doc_freq, rows, average);
            let bm25 = bm25.boost_by(term.weight);
            terms.push(WeightedTerm { text: term.text.clone(), weight: term.weight, doc_freq, bm25 });
        }
    }
    Ok(terms)
}

/// Scores rows of one part in ascending order.
pub(super) struct RowScorer {
    rows: u32,
    norms: FieldNormReader,
    words: Vec<(SegmentPostings, Bm25Weight)>,
    phrases: Phrases,
    postings: u64,
}

impl RowScorer {
    /// `None` where no row of the part can match.
    pub(super) fn open(
        part: &TextPart,
        terms: &[WeightedTerm],
        phrases: &[Vec<String>],
    ) -> Result<Option<RowScorer>> {
        let mut words = Vec::with_capacity(terms.len());
        let mut postings = 0;
        for term in terms {
            if let Some(info) = part.term(&term.text)? {
                let cursor = part
                    .index()
                    .read_postings_from_terminfo(&info, IndexRecordOption::WithFreqs)
                    .map_err(|error| reading_io(part.path())(&error))?;
                postings += u64::from(info.doc_freq);
                words.push((cursor, term.bm25.clone()));
            }
        }
        if words.is_empty() {
            return Ok(None);
        }
        let Some(phrases) = Phrases::open(part, phrases)? else { return Ok(None) };
        Ok(Some(RowScorer { rows: part.rows(), norms: part.norms()?, words, phrases, postings }))
    }

    /// How many postings the words have in this part.
    pub(super) fn postings(&self) -> u64 {
        self.postings
    }

    /// The row's score; `None` where it does not match. Rows must not descend from call to call.
    pub(super) fn score(&mut self, row: u32) -> Option<f32> {
        if row >= self.rows || self.phrases.next(row) != Some(row) {
            return None;
        }
        let norm = self.norms.fieldnorm_id(row);
        let mut found = false;
        let mut score = 0.0;
        // in the question's order, whichever the part: sums of f32 depend on it
        for (postings, bm25) in &mut self.words {
            if seek(postings, row) == row {
                found = true;
                score += bm25.score(norm, postings.term_freq());
            }
        }
        found.then_some(score)
    }
}

fn seek<D: DocSet + ?Sized>(docs: &mut D, row: u32) -> u32 {
    if docs.doc() < row { docs.seek(row) } else { docs.doc() }
}

/// The phrases of a question in one part.
pub(super) struct Phrases(Vec<Box<dyn Scorer>>);

impl Phrases {
    /// `None` where the part lacks one of them.
    pub(super) fn open(part: &TextPart, phrases: &[Vec<String>]) -> Result<Option<Phrases>> {
        let mut scorers: Vec<Box<dyn Scorer>> = Vec::with_capacity(phrases.len());
        for words in phrases {
            let terms: Vec<_> = words.iter().map(|word| text_term(word)).collect();
            let query: Box<dyn Query> = match terms.as_slice() {
                [term] => Box::new(tantivy::query::TermQuery::new(term.clone(), IndexRecordOption::Basic)),
                _ => Box::new(PhraseQuery::new(terms)),
            };
            let scorer = query
                .weight(EnableScoring::disabled_from_schema(&SCHEMA))
                .and_then(|weight| weight.scorer(part.reader(), 1.0))
                .map_err(reading(part.path()))?;
            if scorer.doc() == TERMINATED {
                return Ok(None);
            }
            scorers.push(scorer);
        }
        Ok(Some(Phrases(scorers)))
    }

    /// The first row at or after `row` that has every phrase.
    pub(super) fn next(&mut self, row: u32) -> Option<u32> {
        let mut target = row;
        let mut agreed = 0;
        let mut at = 0;
        while agreed < self.0.len() {
            let found = seek(self.0[at].as_mut(), target);
            agreed = if found == target { agreed + 1 } else { 1 };
            target = found;
            at = (at + 1) % self.0.len();
        }
        (target < TERMINATED).then_some(target)
    }
}
