//! The candidates of a walk: the best rows met so far, and which of them were already left by their links.

use crate::vector::top::Candidate;

/// In a row number: its links were followed.
const DONE: u32 = 1 << 31;

/// The most rows a graph can have: a bit of a row number is needed.
pub(super) const MAX_ROWS: u32 = DONE;

/// The best `limit` rows, best first, in flat arrays: insertion moves a few cache lines.
#[derive(Debug, Default)]
pub(super) struct Beam {
    limit: usize,
    similarities: Vec<f32>,
    rows: Vec<u32>,
    /// All before this are done.
    next: usize,
}

impl Beam {
    /// Empties it for a walk with `limit` (at least 1) candidates.
    pub fn reset(&mut self, limit: usize) {
        self.limit = limit;
        self.similarities.clear();
        self.rows.clear();
        self.next = 0;
    }

    /// What a candidate has to be better than to be kept: the worst one's similarity once it is full.
    #[inline]
    pub fn bar(&self) -> f32 {
        self.similarities.get(self.limit - 1).copied().unwrap_or(f32::NEG_INFINITY)
    }

    /// Adds a row that is better than [`bar`](Self::bar); the worst one leaves when there are too many.
    #[inline]
    pub fn push(&mut self, candidate: Candidate) {
        let at = self.similarities.partition_point(|&other| other >= candidate.similarity);
        if self.rows.len() == self.limit {
            self.similarities.pop();
            self.rows.pop();
        }
        let at = at.min(self.rows.len());
        self.similarities.insert(at, candidate.similarity);
        self.rows.insert(at, candidate.row);
        self.next = self.next.min(at);
    }

    /// The best row whose links were not followed yet; it counts as done from here on.
    #[inline]
    pub fn pop(&mut self) -> Option<u32> {
        self.next = self.open_from(self.next)?;
        let row = &mut self.rows[self.next];
        let popped = *row;
        *row |= DONE;
        self.next += 1;
        Some(popped)
    }

    /// The row that [`pop`](Self::pop) would return.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        self.open_from(self.next).map(|at| self.rows[at])
    }

    fn open_from(&self, at: usize) -> Option<usize> {
        self.rows[at..].iter().position(|row| row & DONE == 0).map(|offset| at + offset)
    }

    /// The rows, best first.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let rows = self.rows.iter().map(|row| row & !DONE);
        self.similarities.iter().zip(rows).map(|(&similarity, row)| Candidate { similarity, row })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_kept_row_is_popped_once_best_first(
            scores in prop::collection::vec(0u8..50, 1..80),
            limit in 1usize..20,
            pops in prop::collection::vec(any::<bool>(), 80),
        ) {
            let mut beam = Beam::default();
            beam.reset(limit);
            let mut done = std::collections::BTreeSet::new();
            let mut best_left = |beam: &mut Beam| {
                let left = beam.candidates().find(|candidate| !done.contains(&candidate.row));
                assert_eq!(beam.peek(), left.map(|candidate| candidate.row));
                let popped = beam.pop();
                assert_eq!(popped, left.map(|candidate| candidate.row));
                done.extend(popped);
                popped
            };
            let mut kept: Vec<(u8, u32)> = Vec::new();
            for (row, &score) in (0..).zip(&scores) {
                if f32::from(score) > beam.bar() {
                    beam.push(Candidate { similarity: score.into(), row });
                    kept.push((score, row));
                    kept.sort_by_key(|&(score, row)| (std::cmp::Reverse(score), row));
                    kept.truncate(limit);
                }
                let got: Vec<(u8, u32)> = beam.candidates().map(|c| (c.similarity as u8, c.row)).collect();
                assert_eq!(got, kept);
                if pops[row as usize] {
                    best_left(&mut beam);
                }
            }
            while best_left(&mut beam).is_some() {}
        }
    }
}
