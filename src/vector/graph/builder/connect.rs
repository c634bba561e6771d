//! Makes every row reachable.

use std::collections::{HashSet, VecDeque};

use super::lists::Lists;
use crate::vector::graph::links::{Links, NONE};

/// Walks from `start`; each row the walk does not find gets one link from a found row near it.
///
/// The links by which the walk first came to each row form a tree. A full list gives up its last link
/// that is not in the tree, so that nothing found is lost again: when this returns, the tree has
/// all rows.
pub(super) fn connect(links: &mut Links, start: u32) {
    if links.nodes() == 0 {
        return;
    }
    let mut tree = Tree::new(links, start);
    for node in 0..links.nodes() as u32 {
        if tree.has(node) {
            continue;
        }
        let near = nearby(links, &tree, node);
        // n nodes in the tree use n - 1 links, so with two links a node there is always one with room
        let Some((host, slot)) = near.or_else(|| tree.room_anywhere(links)) else { return };
        let width = links.width();
        links.flat_mut()[host as usize * width + slot] = node;
        tree.grow(links, node, host);
    }
}

/// The first found node with room, going outwards from `node` along its links.
fn nearby(links: &Links, tree: &Tree, node: u32) -> Option<(u32, usize)> {
    let mut seen = HashSet::from([node]);
    let mut queue = VecDeque::from([node]);
    while let Some(at) = queue.pop_front() {
        for &to in links.of(at) {
            if !seen.insert(to) {
                continue;
            }
            if !tree.has(to) {
                queue.push_back(to);
            } else if let Some(found) = tree.room(links, to) {
                return Some(found);
            }
        }
    }
    None
}

/// Which rows have a path to `target`.
pub(super) fn leading_to(links: &Links, target: u32) -> Vec<bool> {
    let nodes = links.nodes() as u32;
    let before = Lists::collect(nodes, |add| {
        for node in 0..nodes {
            links.of(node).iter().for_each(|&to| add(to, node));
        }
    });
    let mut leads = vec![false; nodes as usize];
    leads[target as usize] = true;
    let mut stack = vec![target];
    while let Some(node) = stack.pop() {
        for &from in before.of(node) {
            if !std::mem::replace(&mut leads[from as usize], true) {
                stack.push(from);
            }
        }
    }
    leads
}

struct Tree {
    /// The node by whose link each found node was found; the start is its own.
    parent: Vec<u32>,
    /// The nodes in the order they were found, and how many of the first have no room left.
    found: Vec<u32>,
    full: usize,
}

impl Tree {
    fn new(links: &Links, start: u32) -> Tree {
        let mut tree = Tree { parent: vec![NONE; links.nodes()], found: Vec::new(), full: 0 };
        tree.grow(links, start, start);
        tree
    }

    fn has(&self, node: u32) -> bool {
        self.parent[node as usize] != NONE
    }

    /// Adds `node` below `parent` and everything that it leads to.
    fn grow(&mut self, links: &Links, node: u32, parent: u32) {
        let mut next = self.found.len();
        self.parent[node as usize] = parent;
        self.found.push(node);
        while let Some(&at) = self.found.get(next) {
            next += 1;
            for &to in links.of(at) {
                if !self.has(to) {
                    self.parent[to as usize] = at;
                    self.found.push(to);
                }
            }
        }
    }

    /// The first found node with room. A node that has none never gets any again.
    fn room_anywhere(&mut self, links: &Links) -> Option<(u32, usize)> {
        while let Some(&host) = self.found.get(self.full) {
            if let Some(room) = self.room(links, host) {
                return Some(room);
            }
            self.full += 1;
        }
        None
    }

    /// Where `host` can take one more link without the tree losing one.
    fn room(&self, links: &Links, host: u32) -> Option<(u32, usize)> {
        let list = links.of(host);
        if list.len() < links.width() {
            return Some((host, list.len()));
        }
        let slot = list.iter().rposition(|&to| self.parent[to as usize] != host)?;
        Some((host, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reached(links: &Links, start: u32) -> usize {
        Tree::new(links, start).found.len()
    }

    /// Lists as a builder could leave them: from empty to full, with islands.
    fn links() -> impl Strategy<Value = (Links, u32)> {
        (2usize..6, 1usize..120).prop_flat_map(|(width, nodes)| {
            let list = prop::collection::btree_set(0..nodes as u32, 0..=width);
            (prop::collection::vec(list, nodes), 0..nodes as u32).prop_map(move |(lists, start)| {
                let mut links = Links::new(nodes, width);
                for (node, list) in (0..).zip(lists) {
                    links.set(node, list.into_iter().filter(|&to| to != node));
                }
                (links, start)
            })
        })
    }

    proptest! {
        #[test]
        fn everything_is_reachable_and_nothing_found_is_lost((mut links, start) in links()) {
            let width = links.width();
            connect(&mut links, start);
            prop_assert_eq!(reached(&links, start), links.nodes());
            for node in 0..links.nodes() as u32 {
                let list = links.of(node);
                let distinct: HashSet<u32> = list.iter().copied().collect();
                prop_assert!(list.len() <= width && distinct.len() == list.len());
                prop_assert!(!distinct.contains(&node));
            }
        }
    }

    #[test]
    fn a_connected_graph_is_left_alone() {
        let mut links = Links::new(5, 2);
        (0..5).for_each(|node| links.set(node, [(node + 1) % 5]));
        let before = links.flat().to_vec();
        connect(&mut links, 3);
        assert_eq!(links.flat(), before);
    }
}
