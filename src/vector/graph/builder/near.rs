//! The nearest rows known so far of a row.

use std::mem;

/// Another row and how far it is: ordered by distance, then row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// The nearest rows known of one row, nearest first, none twice.
pub(super) type Pool = Vec<Near>;

/// What a row must be nearer than to enter a pool of `limit`.
pub(super) fn bar(pool: &Pool, limit: usize) -> f32 {
    if pool.len() < limit { f32::INFINITY } else { pool[limit - 1].distance() }
}

/// Adds `found` (in any order, none twice) to `pool` and keeps the nearest `limit`; leaves `found` empty.
/// `merged` is working space.
pub(super) fn merge(pool: &mut Pool, found: &mut Vec<Near>, limit: usize, merged: &mut Pool) {
    if found.len() > limit {
        found.select_nth_unstable(limit - 1);
        found.truncate(limit);
    }
    found.sort_unstable();
    merged.clear();
    let (mut old, mut new) = (pool.iter().copied().peekable(), found.drain(..).peekable());
    while merged.len() < limit {
        let next = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a <= b => old.next(),
            (_, Some(_)) => new.next(),
            (_, None) => old.next(),
        };
        let Some(next) = next else { break };
        if merged.last() != Some(&next) {
            merged.push(next);
        }
    }
    drop((old, new));
    mem::swap(pool, merged);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_pool_holds_the_nearest_of_all_that_was_found(
            lists in prop::collection::vec(prop::collection::btree_set((0u8..20, 0u32..30), 0..40), 1..6),
            limit in 1usize..20,
        ) {
            let (mut pool, mut merged, mut all) = (Pool::new(), Pool::new(), BTreeSet::new());
            for list in lists {
                let mut found: Vec<Near> = list.iter().map(|&(d, row)| Near::new(f32::from(d), row)).collect();
                all.extend(found.iter().copied());
                merge(&mut pool, &mut found, limit, &mut merged);
                let want: Vec<Near> = all.iter().copied().take(limit).collect();
                prop_assert_eq!(&pool, &want);
                let bar = bar(&pool, limit);
                let want = want.get(limit - 1).map_or(f32::INFINITY, |near| near.distance());
                prop_assert_eq!(bar, want);
            }
        }
    }
}
