//! The candidates of a walk: the best rows met so far, and which of them were already left by their links.

use crate::vector::top::Candidate;

/// In a row number: its links were followed.
const DONE: u32 = 1 << 31;

/// The most rows a graph can have: a bit of a row number is needed.
pub(super) const MAX_ROWS: u32 = DONE;

/// So many candidates are moved one by one sooner than a place among them is searched.
const FEW: usize = 96;

/// The best `limit` rows, best first, in one flat array: insertion moves a few cache lines.
#[derive(Debug, Default)]
pub(super) struct Beam {
    limit: usize,
    /// A candidate each, see [`pack`].
    entries: Vec<u64>,
    bar: f32,
    /// All before this are done.
    next: usize,
}

/// The similarity in the upper half, so that the better one is the smaller number; the row in the lower half.
fn pack(Candidate { similarity, row }: Candidate) -> u64 {
    let bits = similarity.to_bits();
    let ascending = if bits & DONE == 0 { !(bits | DONE) } else { bits };
    u64::from(ascending) << 32 | u64::from(row)
}

fn unpack(entry: u64) -> Candidate {
    let ascending = (entry >> 32) as u32;
    let bits = if ascending & DONE == 0 { !ascending & !DONE } else { ascending };
    Candidate { similarity: f32::from_bits(bits), row: entry as u32 & !DONE }
}

impl Beam {
    /// Empties it for a walk with `limit` (at least 1) candidates.
    pub fn reset(&mut self, limit: usize) {
        self.limit = limit;
        self.entries.clear();
        self.bar = f32::NEG_INFINITY;
        self.next = 0;
    }

    /// What a candidate has to be better than to be kept: the worst one's similarity once it is full.
    #[inline]
    pub fn bar(&self) -> f32 {
        self.bar
    }

    /// Adds a row that is better than [`bar`](Self::bar); the worst one leaves when there are too many.
    /// Whether it is the one that [`pop`](Self::pop) would return.
    #[inline]
    pub fn push(&mut self, candidate: Candidate) -> bool {
        let entry = pack(candidate);
        if self.entries.len() < self.limit {
            self.entries.push(entry);
        }
        let at = self.make_room(entry);
        self.entries[at] = entry;
        if self.entries.len() == self.limit {
            self.bar = unpack(self.entries[self.limit - 1]).similarity;
        }
        let first = at <= self.next;
        self.next = self.next.min(at);
        first
    }

    /// Moves all that are worse than `entry` by one place, over the last one; the place that becomes free.
    #[inline]
    fn make_room(&mut self, entry: u64) -> usize {
        let last = self.entries.len() - 1;
        let worse = |other: u64| other >> 32 > entry >> 32;
        if last < FEW {
            // most of what is found is nearer to the end
            let mut at = last;
            while at > 0 && worse(self.entries[at - 1]) {
                self.entries[at] = self.entries[at - 1];
                at -= 1;
            }
            return at;
        }
        let at = self.entries[..last].partition_point(|&other| !worse(other));
        self.entries.copy_within(at..last, at + 1);
        at
    }

    /// The best row whose links were not followed yet; it counts as done from here on.
    #[inline]
    pub fn pop(&mut self) -> Option<u32> {
        self.next = self.open_from(self.next)?;
        let entry = &mut self.entries[self.next];
        let row = *entry as u32;
        *entry |= u64::from(DONE);
        self.next += 1;
        Some(row)
    }

    /// The row that [`pop`](Self::pop) would return.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        self.open_from(self.next).map(|at| self.entries[at] as u32)
    }

    /// How many rows are exactly as similar.
    pub fn as_good_as(&self, candidate: Candidate) -> usize {
        let similarity = pack(candidate) >> 32;
        let from = self.entries.partition_point(|&other| other >> 32 < similarity);
        self.entries[from..].iter().take_while(|&&other| other >> 32 == similarity).count()
    }

    fn open_from(&self, at: usize) -> Option<usize> {
        self.entries[at..].iter().position(|&entry| entry as u32 & DONE == 0).map(|offset| at + offset)
    }

    /// The rows, best first.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + Clone + '_ {
        self.entries.iter().map(|&entry| unpack(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_kept_row_is_popped_once_best_first(
            scores in prop::collection::vec(0u8..50, 1..300),
            limit in prop_oneof![1usize..20, FEW - 5..2 * FEW],
            pops in prop::collection::vec(any::<bool>(), 300),
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
