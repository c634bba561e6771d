//! A graph in memory, between building and freezing.

use super::calibration::Calibration;
use super::links::Links;
use super::panel::Panels;
use crate::rows::RowSet;

/// A graph in memory: node `i` is row `i`.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Length of the vectors.
    pub dimensions: u32,
    /// How many rows kept links of an older graph.
    pub reused: u32,
    /// The links of every row.
    pub links: Links,
    /// Rows that are equal to another one and hang below it.
    pub copies: RowSet,
    /// Rows that a search may start from, ascending; empty where there are no rows.
    pub entry_rows: Vec<u32>,
    /// The entry rows, packed.
    pub entries: Panels,
    /// How much of the nearest rows walks find.
    pub calibration: Calibration,
}

impl Graph {
    /// How many rows it has.
    pub fn rows(&self) -> u32 {
        self.links.nodes() as u32
    }

    /// How many rows can be reached from the worst entry: all of them.
    pub fn reachable(&self) -> u32 {
        self.entry_rows.iter().map(|&entry| self.reachable_from(entry)).min().unwrap_or(0)
    }

    fn reachable_from(&self, entry: u32) -> u32 {
        let mut seen = vec![false; self.links.nodes()];
        let mut stack = vec![entry];
        seen[entry as usize] = true;
        let mut count = 0;
        while let Some(node) = stack.pop() {
            count += 1;
            for &to in self.links.of(node) {
                if !std::mem::replace(&mut seen[to as usize], true) {
                    stack.push(to);
                }
            }
        }
        count
    }
}
