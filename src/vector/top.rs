//! The best rows seen so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A row with its similarity. The greater candidate is the better one: more similar, then lower row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub similarity: f32,
    pub row: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.similarity.total_cmp(&other.similarity).then_with(|| other.row.cmp(&self.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Keeps the best `limit` candidates.
#[derive(Debug)]
pub(super) struct Top {
    limit: usize,
    heap: BinaryHeap<Reverse<Candidate>>,
}

impl Top {
    pub fn new(limit: usize) -> Top {
        Top { limit, heap: BinaryHeap::new() }
    }

    /// How many are kept.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What a candidate has to be better than to be kept: the worst one's similarity once it is full.
    #[inline]
    pub fn bar(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.limit => worst.0.similarity,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Offers a candidate; the worst one leaves when there are too many.
    #[inline]
    pub fn push(&mut self, candidate: Candidate) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(candidate));
        } else if let Some(mut last) = self.heap.peek_mut()
            && candidate > last.0
        {
            *last = Reverse(candidate);
        }
    }

    /// Best first.
    pub fn into_sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate).collect()
    }
}
