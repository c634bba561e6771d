//! What BM25 knows about a snapshot: the same numbers whichever segment a row lies in.

use quick_cache::sync::Cache;

use super::part::TextPart;
use crate::Result;

/// BM25's k1.
pub(super) const K1: f32 = 1.2;
/// BM25's b.
pub(super) const B: f32 = 0.75;
/// How many words' frequencies are remembered.
const REMEMBERED: usize = 20_000;

/// Statistics of all rows of a snapshot. Deleted rows count until compaction.
#[derive(Debug)]
pub struct Statistics {
    parts: Vec<TextPart>,
    rows: u64,
    tokens: u64,
    doc_freqs: Cache<Box<str>, u64>,
}

impl Statistics {
    /// The statistics of the rows of `parts`.
    pub fn new(parts: &[&TextPart]) -> Statistics {
        Statistics {
            parts: parts.iter().map(|&part| part.clone()).collect(),
            rows: parts.iter().map(|part| u64::from(part.rows())).sum(),
            tokens: parts.iter().map(|part| part.tokens()).sum(),
            doc_freqs: Cache::new(REMEMBERED),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of tokens of all rows.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens a row.
    pub fn average_len(&self) -> f32 {
        self.tokens as f32 / self.rows as f32
    }

    /// The number of rows that have the analyzed word `term`.
    pub fn doc_freq(&self, term: &str) -> Result<u64> {
        if let Some(known) = self.doc_freqs.get(term) {
            return Ok(known);
        }
        let mut doc_freq = 0;
        for part in &self.parts {
            doc_freq += u64::from(part.doc_freq(term)?);
        }
        // tantivy asserts this; it can only be broken by files that lie about their rows
        let doc_freq = doc_freq.min(self.rows);
        self.doc_freqs.insert(term.into(), doc_freq);
        Ok(doc_freq)
    }
}

/// BM25's inverse document frequency, as tantivy computes it.
pub(super) fn idf(doc_freq: u64, rows: u64) -> f32 {
    (1.0 + ((rows - doc_freq) as f32 + 0.5) / (doc_freq as f32 + 0.5)).ln()
}
