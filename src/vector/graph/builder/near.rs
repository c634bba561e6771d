//! The nearest rows known so far of a row.

use crate::vector::distance;

/// Another row and how far it is: ordered by distance, then row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, bytemuck::NoUninit)]
#[repr(transparent)]
pub(super) struct Near(u64);

impl Near {
    /// `distance` must not be negative or NaN: then its bits order like the number.
    pub fn new(distance: f32, row: u32) -> Near {
        Near(u64::from(distance.to_bits()) << 32 | u64::from(row))
    }

    pub fn distance(self) -> f32 {
        f32::from_bits((self.0 >> 32) as u32)
    }

    pub fn row(self) -> u32 {
        self.0 as u32
    }
}

/// The nearest rows known of one row, none twice.
///
/// It is neither sorted nor cut down to the nearest whenever some are found, only when many were: so a row that is
/// found costs little.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    known: Vec<Near>,
    /// What is not nearer is not wanted.
    bar: Option<f32>,
}

/// A pool may have so many rows more than it keeps.
const SLACK: usize = 32;

impl Pool {
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.known.clear();
        self.bar = None;
    }

    /// Asks the processor to load it.
    pub fn prefetch(&self) {
        distance::prefetch(bytemuck::cast_slice(&self.known));
    }

    /// What a row must be nearer than to be wanted.
    pub fn bar(&self) -> f32 {
        self.bar.unwrap_or(f32::INFINITY)
    }

    /// What is known, in no order, and perhaps some that are not among the nearest.
    pub fn known(&self) -> &[Near] {
        &self.known
    }

    /// Adds `found`, of which none is known, and keeps at least the nearest `limit` of all; leaves `found` empty.
    pub fn add(&mut self, found: &mut Vec<Near>, limit: usize) {
        let len = self.known.len() + found.len();
        // once and for all
        self.known.reserve_exact((limit + SLACK).saturating_sub(self.known.len()));
        if len < limit || (self.bar.is_some() && len <= limit + SLACK) {
            self.known.append(found);
            return;
        }
        found.extend_from_slice(&self.known);
        self.bar = Some(keep(found, limit));
        self.known.clear();
        self.known.append(found);
    }

    /// The nearest `limit`, nearest first.
    pub fn sort(&mut self, limit: usize) {
        self.known.sort_unstable();
        self.known.truncate(limit);
    }
}

/// Leaves the nearest `limit` (at least one) of `found`, which has at least as many; the distance of the farthest of them.
pub(super) fn keep(found: &mut Vec<Near>, limit: usize) -> f32 {
    let (_, farthest, _) = found.select_nth_unstable(limit - 1);
    let distance = farthest.distance();
    found.truncate(limit);
    distance
}

/// The nearest `limit` of two lists, both nearest first, each of them once.
pub(super) fn merge(a: &[Near], b: &[Near], limit: usize, merged: &mut Vec<Near>) {
    merged.clear();
    let (mut at_a, mut at_b) = (0, 0);
    // no branch on which is nearer: it cannot be foretold
    while let (Some(&next_a), Some(&next_b)) = (a.get(at_a), b.get(at_b)) {
        merged.push(next_a.min(next_b));
        at_a += usize::from(next_a <= next_b);
        at_b += usize::from(next_b <= next_a);
    }
    merged.extend_from_slice(&a[at_a..]);
    merged.extend_from_slice(&b[at_b..]);
    merged.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn nears(list: &BTreeSet<(u8, u32)>) -> Vec<Near> {
        list.iter().map(|&(distance, row)| Near::new(f32::from(distance), row)).collect()
    }

    proptest! {
        #[test]
        fn a_pool_keeps_the_nearest_of_all_that_was_found(
            // every row has one distance
            rows in prop::collection::vec((0u8..20, 0usize..6), 0..300),
            limit in 1usize..20,
        ) {
            let all: BTreeSet<(u8, u32)> = (0..).zip(&rows).map(|(row, &(distance, _))| (distance, row)).collect();
            let mut pool = Pool::default();
            for cut in 0..6 {
                let in_cut = |&(_, row): &(u8, u32)| rows[row as usize].1 == cut;
                let mut found = nears(&all.iter().copied().filter(in_cut).collect());
                found.retain(|near| near.distance() < pool.bar());
                found.reverse();
                pool.add(&mut found, limit);
                prop_assert!(found.is_empty() && pool.known().len() <= limit + SLACK);
            }
            pool.sort(limit);
            let kept: Vec<f32> = pool.known().iter().map(|near| near.distance()).collect();
            // of rows equally far, any
            let want: Vec<f32> = nears(&all).iter().take(limit).map(|near| near.distance()).collect();
            prop_assert_eq!(kept, want);
            prop_assert!(pool.known().iter().all(|near| all.contains(&(near.distance() as u8, near.row()))));
        }

        #[test]
        fn a_merged_list_has_the_nearest_of_both_once(
            a in prop::collection::btree_set((0u8..20, 0u32..30), 0..40),
            b in prop::collection::btree_set((0u8..20, 0u32..30), 0..40),
            limit in 1usize..20,
        ) {
            let mut merged = vec![Near::new(0.0, 0)];
            merge(&nears(&a), &nears(&b), limit, &mut merged);
            let want = nears(&a.union(&b).copied().collect());
            prop_assert_eq!(&merged[..], &want[..limit.min(want.len())]);
        }
    }
}
