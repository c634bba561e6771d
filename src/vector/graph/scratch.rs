//! What a walk needs beside the graph, kept between walks so that none allocates or clears.

use parking_lot::Mutex;

use super::beam::Beam;
use crate::rows::RowSet;
use crate::vector::top::Candidate;

/// Marks for the rows of one graph: a bit each, so that those of most graphs stay in the fastest cache.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    /// The marked rows.
    marked: Vec<u32>,
}

impl Visited {
    /// Marks `rows`, which must be below the graph's rows.
    #[inline]
    pub fn mark(&mut self, rows: &[u32]) {
        // no branch on whether a row is new: it cannot be foretold
        let mut end = self.marked.len();
        self.marked.resize(end + rows.len(), 0);
        for &row in rows {
            let word = &mut self.words[row as usize / 64];
            let bit = 1 << (row % 64);
            self.marked[end] = row;
            end += usize::from(*word & bit == 0);
            *word |= bit;
        }
        self.marked.truncate(end);
    }

    /// Marks `row`, which must be below the graph's rows; whether it was not.
    #[inline]
    pub fn mark_one(&mut self, row: u32) -> bool {
        let word = &mut self.words[row as usize / 64];
        let bit = 1 << (row % 64);
        let new = *word & bit == 0;
        if new {
            *word |= bit;
            self.marked.push(row);
        }
        new
    }

    /// Marks those of `rows`, which must be below the graph's rows, that are allowed; how many those are.
    #[inline]
    pub fn mark_allowed(&mut self, rows: &[u32], allowed: &RowSet) -> usize {
        let (mut end, mut found) = (self.marked.len(), 0);
        self.marked.resize(end + rows.len(), 0);
        for &row in rows {
            let word = &mut self.words[row as usize / 64];
            let bit = u64::from(allowed.contains(row)) << (row % 64);
            self.marked[end] = row;
            end += usize::from(*word & bit != bit);
            found += usize::from(bit != 0);
            *word |= bit;
        }
        self.marked.truncate(end);
        found
    }

    /// Takes the marks off the rows that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.marked.retain(|&row| {
            let kept = keep(row);
            self.words[row as usize / 64] &= !(u64::from(!kept) << (row % 64));
            kept
        });
    }

    /// The marked rows, in the order in which they were marked.
    pub fn marked(&self) -> &[u32] {
        &self.marked
    }

    /// How many rows are marked.
    pub fn len(&self) -> usize {
        self.marked.len()
    }

    fn reset(&mut self, rows: u32) {
        for row in self.marked.drain(..) {
            self.words[row as usize / 64] = 0;
        }
        self.words.resize(rows.div_ceil(64) as usize, 0);
    }
}

/// Working space of one walk.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Rows that were met.
    pub visited: Visited,
    /// Rows that a filter leaves out, whose links were followed all the same.
    pub crossed: Visited,
    pub beam: Beam,
    /// Copies of rows in the beam, which have not been there.
    pub copies: Vec<Candidate>,
    pub met: Met,
}

/// Room for what is known of rows that are met for the first time.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Their inner products with the query.
    pub products: Vec<i32>,
    /// Those that are wanted come first.
    pub candidates: Vec<Candidate>,
}

impl Scratch {
    /// Makes it ready for a walk over `rows` rows.
    pub fn reset(&mut self, rows: u32) {
        self.visited.reset(rows);
        self.crossed.reset(rows);
    }
}

/// Working spaces that no walk uses at the moment: as many as ever ran at once.
#[derive(Debug, Default)]
pub(super) struct ScratchPool(Mutex<Vec<Scratch>>);

impl ScratchPool {
    /// Runs `walk` with marks for `rows` rows, none of them set.
    pub fn with<T>(&self, rows: u32, walk: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.0.lock().pop().unwrap_or_default();
        scratch.reset(rows);
        let result = walk(&mut scratch);
        self.0.lock().push(scratch);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_outlive_a_walk() {
        let pool = ScratchPool::default();
        for walk in 0..100u32 {
            pool.with(200, |scratch| {
                let row = walk * 7 % 200;
                scratch.visited.mark(&[row, 3, row]);
                scratch.visited.mark(&[3]);
                let marked = if row == 3 { vec![3] } else { vec![row, 3] };
                assert_eq!(scratch.visited.marked(), marked, "walk {walk}");
            });
        }
    }
}
