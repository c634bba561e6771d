//! Compares all pairs of rows within a group.

use super::near::{Near, Pool, keep};
use crate::vector::distance::{self, LANES, TILE_ROWS};
use crate::vector::graph::panel::Panels;
use crate::vector::graph::space::Space;

/// The most rows of a group: all pairs of a group are compared.
pub(super) const GROUP: usize = 512;

/// Working space of comparing groups.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    panels: Panels,
    found: [Vec<Near>; TILE_ROWS],
}

impl Comparison {
    /// Compares all pairs of `group` (at most [`GROUP`] rows) and adds what is near to `pools`, those of its rows, which
    /// keep `limit`. `places` has a place for every row: the one that it has in its group.
    pub fn group(
        &mut self,
        space: &Space<'_>,
        group: &[u32],
        places: &[u16],
        pools: &mut [Pool],
        limit: usize,
    ) {
        self.panels.pack(space, group.iter().copied());
        let mut distances = [[0.0; LANES]; TILE_ROWS];
        let mut padded = [u32::MAX; GROUP];
        padded[..group.len()].copy_from_slice(group);
        let mut first = 0;
        for rows in group.chunks(TILE_ROWS) {
            let (tile_pools, later) = pools[first..].split_at_mut(rows.len());
            first += rows.len();
            later.iter().take(TILE_ROWS).for_each(Pool::prefetch);
            // most of what is near was found by an earlier cut
            let mut unknown = [[0; GROUP / LANES]; TILE_ROWS];
            for ((&row, pool), unknown) in rows.iter().zip(&*tile_pools).zip(&mut unknown) {
                *unknown =
                    not_among(&padded, places, pool.known().iter().map(|near| near.row()).chain([row]));
            }
            let mut bars = tile_pools.iter().map(Pool::bar);
            let mut tile = distance::tile(rows, |row| space.tile_row(row, bars.next().unwrap_or(0.0)));
            for (at_panel, (first, panel)) in self.panels.from(0).enumerate() {
                let below = distance::near(&tile, panel, &mut distances);
                for (at, found) in self.found.iter_mut().enumerate() {
                    for lane in distance::lanes(below[at] & unknown[at][at_panel]) {
                        found.push(Near::new(distances[at][lane], group[first + lane]));
                    }
                    if found.len() >= 2 * limit {
                        tile[at].below = keep(found, limit);
                    }
                }
            }
            for (pool, found) in tile_pools.iter_mut().zip(&mut self.found) {
                pool.add(found, limit);
            }
        }
    }
}

/// A mask for each panel of a group of `rows`: the lanes whose rows are not among `known`.
fn not_among(rows: &[u32; GROUP], places: &[u16], known: impl Iterator<Item = u32>) -> [u16; GROUP / LANES] {
    // a byte each, and no branch: whether a row is of this group cannot be foretold
    let mut among = [0u8; GROUP];
    for row in known {
        let place = usize::from(places[row as usize]) % GROUP;
        among[place] |= u8::from(rows[place] == row);
    }
    let (lanes, _) = among.as_chunks::<8>();
    // gathers the lowest bits of eight bytes in the highest byte
    let bits = |bytes: [u8; 8]| u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    std::array::from_fn(|panel| !((bits(lanes[2 * panel]) | bits(lanes[2 * panel + 1]) << 8) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn what_is_known_of_a_group_is_masked_out(
            order in Just((0..900u32).collect::<Vec<_>>()).prop_shuffle(),
            len in 1usize..=GROUP,
            known in prop::collection::hash_set(0u32..900, 0..200),
        ) {
            let mut places = vec![0u16; 900];
            for group in order.chunks(len) {
                (0..).zip(group).for_each(|(place, &row)| places[row as usize] = place);
            }
            for group in order.chunks(len) {
                let mut padded = [u32::MAX; GROUP];
                padded[..group.len()].copy_from_slice(group);
                let masks = not_among(&padded, &places, known.iter().copied());
                let unknown = |&&row: &&u32| masks[usize::from(places[row as usize]) / LANES] >> (places[row as usize] % 16) & 1 == 1;
                let found: HashSet<u32> = group.iter().filter(unknown).copied().collect();
                let want: HashSet<u32> = group.iter().copied().filter(|row| !known.contains(row)).collect();
                prop_assert_eq!(found, want);
            }
        }
    }
}
