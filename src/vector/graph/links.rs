//! A graph in memory, between building and freezing.

use super::build::Panels;
use super::calibrate::Calibration;
use crate::store::{PartWriter, Result};

/// Where a list of links ends before its full width. No row has this number.
pub(super) const NONE: u32 = u32::MAX;

/// Lists of links of a fixed width, one per node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    width: usize,
    flat: Vec<u32>,
}

impl Links {
    /// `nodes` empty lists that hold up to `width` links.
    pub fn new(nodes: usize, width: usize) -> Links {
        Links { width, flat: vec![NONE; nodes * width] }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.flat.len() / self.width
    }

    /// The most links of a node.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The links of `node`.
    pub fn of(&self, node: u32) -> &[u32] {
        let list = &self.flat[node as usize * self.width..(node as usize + 1) * self.width];
        &list[..list.iter().position(|&to| to == NONE).unwrap_or(self.width)]
    }

    /// Replaces the links of `node`; those past the width are dropped.
    pub fn set(&mut self, node: u32, links: impl IntoIterator<Item = u32>) {
        let list = &mut self.flat[node as usize * self.width..(node as usize + 1) * self.width];
        list.fill(NONE);
        for (slot, to) in list.iter_mut().zip(links) {
            *slot = to;
        }
    }

    /// The lists as mutable slices padded with `NONE`, for filling in parallel.
    pub(super) fn flat_mut(&mut self) -> &mut [u32] {
        &mut self.flat
    }

    /// All lists one after the other, padded with `NONE`.
    pub(super) fn flat(&self) -> &[u32] {
        &self.flat
    }
}

/// A graph in memory: node `i` is row `i`.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Length of the vectors.
    pub dimensions: u32,
    /// The links of every row.
    pub links: Links,
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

    /// Writes a `graph` part, fsyncs it and returns its length in bytes.
    pub fn write(&self, writer: PartWriter) -> Result<u64> {
        super::part::write(self, writer)
    }
}
