//! Makes a built graph one that a search can rely on: diverse links, and every row reachable.

use std::collections::{HashSet, VecDeque};

use rayon::prelude::*;

use super::links::{Graph, Layer, Links, NONE};
use super::space::Space;

/// Selects the links of every node anew from its own links and the nodes that link to it, nearest
/// first, leaving out a candidate that is nearer to a selected one than to the node (Malkov &
/// Yashunin, algorithm 4); free places are filled with the nearest left out.
///
/// A builder that drops the farthest link when a list is full leaves dense clusters without a way out.
pub(super) fn diversify(layer: &Layer, space: &Space<'_>) -> Links {
    let (links, rows) = (&layer.links, &layer.rows);
    let reverse = Reverse::of(links);
    let mut selected = Links::new(links.nodes(), links.width());
    let width = links.width();
    selected.flat_mut().par_chunks_mut(width).enumerate().for_each(|(node, list)| {
        let from = rows[node];
        let node = node as u32;
        let mut candidates: Vec<(f32, u32)> = links
            .of(node)
            .iter()
            .chain(reverse.of_node(node))
            .map(|&to| (space.distance(from, rows[to as usize]), to))
            .collect();
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        candidates.dedup();
        let mut left_out = Vec::new();
        let mut count = 0;
        for (distance, to) in candidates {
            if count == width {
                break;
            }
            let row = rows[to as usize];
            if list[..count].iter().all(|&kept| space.distance(row, rows[kept as usize]) > distance) {
                list[count] = to;
                count += 1;
            } else {
                left_out.push(to);
            }
        }
        for (slot, to) in list[count..].iter_mut().zip(left_out) {
            *slot = to;
        }
    });
    selected
}

/// Who links to a node.
struct Reverse {
    starts: Vec<usize>,
    from: Vec<u32>,
}

impl Reverse {
    fn of(links: &Links) -> Reverse {
        let nodes = links.nodes();
        let mut starts = vec![0usize; nodes + 1];
        for node in 0..nodes as u32 {
            links.of(node).iter().for_each(|&to| starts[to as usize + 1] += 1);
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut from = vec![0; starts[nodes]];
        for node in 0..nodes as u32 {
            for &to in links.of(node) {
                from[next[to as usize]] = node;
                next[to as usize] += 1;
            }
        }
        Reverse { starts, from }
    }

    fn of_node(&self, node: u32) -> &[u32] {
        &self.from[self.starts[node as usize]..self.starts[node as usize + 1]]
    }
}

/// Makes every node of every layer reachable from the entry point.
pub(super) fn connect_layers(graph: &mut Graph) {
    let Some(entry) = graph.entry_row() else { return };
    for layer in &mut graph.layers {
        // the entry row is in the top layer, so it is in all of them
        if let Ok(start) = layer.rows.binary_search(&entry) {
            connect(&mut layer.links, start as u32);
        }
    }
}

/// Walks from `start`; each node the walk does not find gets one link from a found node near it.
///
/// The links by which the walk first came to each node form a tree. A full list gives up its last link
/// that is not in the tree, so that nothing found is lost again: when this returns, the tree has
/// all nodes.
fn connect(links: &mut Links, start: u32) {
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
