//! Rows that are equal bit for bit (boilerplate, repeated chunks).
//!
//! Left to a graph builder they link only to each other and cut themselves off. So one row of each
//! group is linked like any other, and the rest hang below it as a tree: the first below the
//! representative, each next one below an earlier one. A search that arrives at one gets them all. Their order is a
//! random one: where a filter leaves out the older ones, say, others are not far.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rows::RowSet;
use crate::vector::graph::links::Links;
use crate::vector::graph::random::Random;
use crate::vector::graph::space::Space;

/// A group of equal rows: the lowest, and the others ascending.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    pub representative: u32,
    pub others: Vec<u32>,
}

/// The distinct rows (a representative of each group among them), ascending, and the groups.
pub(super) fn find(space: &Space<'_>) -> (Vec<u32>, Vec<Group>) {
    let identity = |row: u32| space.row(row).identity();
    let hash = |row: u32| {
        let (bytes, seed) = identity(row);
        (xxh3_64_with_seed(bytes, seed.into()), row)
    };
    let mut hashes: Vec<(u64, u32)> = (0..space.rows()).into_par_iter().map(hash).collect();
    hashes.par_sort_unstable();
    let mut distinct = Vec::with_capacity(hashes.len());
    let mut groups = Vec::new();
    for run in hashes.chunk_by(|a, b| a.0 == b.0) {
        let representative = run[0].1;
        distinct.push(representative);
        let (equal, collided): (Vec<u32>, Vec<u32>) =
            run[1..].iter().map(|&(_, row)| row).partition(|&row| identity(row) == identity(representative));
        distinct.extend(collided);
        if !equal.is_empty() {
            groups.push(Group { representative, others: equal });
        }
    }
    distinct.sort_unstable();
    (distinct, groups)
}

/// Hangs the others of each group below its representative, and says which these others are. The first link of each is
/// to the representative.
pub(super) fn attach(groups: &[Group], links: &mut Links) -> RowSet {
    let fanout = links.width() - 1;
    let mut copies = RowSet::empty(links.nodes() as u32);
    for Group { representative, others } in groups {
        others.iter().for_each(|&row| copies.insert(row));
        let mut others = others.clone();
        others.sort_unstable_by_key(|&row| Random(row.into()).next());
        let kept = links.of(*representative);
        let kept = kept[..kept.len().min(fanout)].to_vec();
        links.set(*representative, kept.into_iter().chain(others.first().copied()));
        for (index, &row) in others.iter().enumerate() {
            let below = others.iter().skip(index * fanout + 1).take(fanout).copied();
            links.set(row, std::iter::once(*representative).chain(below));
        }
    }
    copies
}
