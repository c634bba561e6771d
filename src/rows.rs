//! A set of rows of one segment: what a filter lets through, what is deleted, what is alive.

use roaring::RoaringBitmap;

/// A fixed-size bit set over the rows `0..rows` of a segment. Membership is one load: it is tested in
/// the innermost loops of both legs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSet {
    words: Vec<u64>,
    rows: u32,
    len: u32,
}

impl RowSet {
    /// No row of `0..rows`.
    pub fn empty(rows: u32) -> RowSet {
        RowSet { words: vec![0; (rows as usize).div_ceil(64)], rows, len: 0 }
    }

    /// Every row of `0..rows`.
    pub fn full(rows: u32) -> RowSet {
        let mut set = RowSet { words: vec![u64::MAX; (rows as usize).div_ceil(64)], rows, len: rows };
        set.clear_tail();
        set
    }

    /// The rows of a bitmap; those at or past `rows` are left out.
    pub fn from_bitmap(bitmap: &RoaringBitmap, rows: u32) -> RowSet {
        let mut set = RowSet::empty(rows);
        for row in bitmap.iter().take_while(|&row| row < rows) {
            set.insert(row);
        }
        set
    }

    /// The same rows as a compressed bitmap.
    pub fn to_bitmap(&self) -> RoaringBitmap {
        self.iter().collect()
    }

    /// The size of the segment: rows are `0..rows()`.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// How many rows are in the set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `row` is in the set; false for a row past the segment.
    #[inline]
    pub fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Adds `row`, which must be below `rows()` (others are ignored).
    #[inline]
    pub fn insert(&mut self, row: u32) {
        if row < self.rows {
            let word = &mut self.words[row as usize / 64];
            let bit = 1u64 << (row % 64);
            self.len += u32::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Adds the rows `start..end`.
    pub fn insert_range(&mut self, rows: std::ops::Range<u32>) {
        for row in rows {
            self.insert(row);
        }
    }

    /// Keeps the rows that are also in `other`.
    pub fn and(&mut self, other: &RowSet) {
        self.combine(other, |a, b| a & b);
    }

    /// Adds the rows of `other`.
    pub fn or(&mut self, other: &RowSet) {
        self.combine(other, |a, b| a | b);
    }

    /// Removes the rows of `other`.
    pub fn and_not(&mut self, other: &RowSet) {
        self.combine(other, |a, b| a & !b);
    }

    /// Exactly the rows that were not in the set.
    pub fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_tail();
        self.len = self.rows - self.len;
    }

    /// Which rows are in the set, 64 of them a word: its lowest bit is for the first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Which of 64 rows are in the set: its lowest bit is for row `64 · word`.
    #[inline]
    pub fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (mut words, mut rest, mut base) = (self.words.iter(), 0u64, 0u32.wrapping_sub(64));
        std::iter::from_fn(move || {
            while rest == 0 {
                rest = *words.next()?;
                base = base.wrapping_add(64);
            }
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            Some(base + bit)
        })
    }

    fn combine(&mut self, other: &RowSet, op: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.rows, other.rows, "row sets of different segments");
        let mut len = 0;
        for (index, word) in self.words.iter_mut().enumerate() {
            *word = op(*word, other.words.get(index).copied().unwrap_or(0));
            len += word.count_ones();
        }
        self.len = len;
    }

    fn clear_tail(&mut self) {
        let used = self.rows % 64;
        if used > 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(rows: u32, members: &[u32]) -> RowSet {
        let mut set = RowSet::empty(rows);
        members.iter().for_each(|&row| set.insert(row));
        set
    }

    proptest::proptest! {
        #[test]
        fn behaves_like_a_set(rows in 1u32..300, a: Vec<u16>, b: Vec<u16>) {
            let members = |list: &[u16]| list.iter().map(|&r| u32::from(r) % rows).collect::<BTreeSet<_>>();
            let (a, b) = (members(&a), members(&b));
            let of = |s: &BTreeSet<u32>| set(rows, &s.iter().copied().collect::<Vec<_>>());
            let check = |got: RowSet, want: BTreeSet<u32>| {
                assert_eq!(got.len() as usize, want.len());
                assert_eq!(got.iter().collect::<BTreeSet<_>>(), want);
                assert_eq!(RowSet::from_bitmap(&got.to_bitmap(), rows), got);
            };
            let mut got = of(&a); got.and(&of(&b)); check(got, &a & &b);
            let mut got = of(&a); got.or(&of(&b)); check(got, &a | &b);
            let mut got = of(&a); got.and_not(&of(&b)); check(got, &a - &b);
            let mut got = of(&a); got.invert(); check(got, &(0..rows).collect::<BTreeSet<_>>() - &a);
            check(RowSet::full(rows), (0..rows).collect());
        }
    }
}
