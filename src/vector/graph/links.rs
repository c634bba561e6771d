//! Lists of links in memory.

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
