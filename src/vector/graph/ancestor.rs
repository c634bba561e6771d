//! The graph of a segment that was merged into another, kept until that one has a graph of its own.

use std::sync::Arc;

use super::part::{GraphPart, LinkLists};
use crate::rows::RowSet;
use crate::store::Result;

/// In place of a row that was not copied.
const DROPPED: u32 = u32::MAX;
/// A graph over a smaller share of the rows than this saves too little.
const LEAST_SHARE: f32 = 0.5;
/// A graph that lost a larger share of its rows has too many holes.
const MOST_DROPPED: f32 = 0.3;

/// A graph over some of the rows of a merged segment: how these are linked need not be found out again.
///
/// It lives in memory only. After a restart, the merged segment gets a graph that is built from nothing.
#[derive(Clone, Debug)]
pub struct Ancestor {
    graph: Arc<GraphPart>,
    /// For each row of the graph, the row of the merged segment that it is now, or [`DROPPED`].
    places: Vec<u32>,
}

impl Ancestor {
    /// The graph of a segment before any of its rows is moved.
    pub fn new(graph: Arc<GraphPart>) -> Ancestor {
        let places = (0..graph.rows()).collect();
        Ancestor { graph, places }
    }

    /// The same graph after the segment's rows `kept` became the rows from `base` on of another.
    #[must_use]
    pub fn moved(&self, kept: &RowSet, base: u32) -> Ancestor {
        let mut moved = vec![DROPPED; kept.rows() as usize];
        for (row, place) in kept.iter().zip(base..) {
            moved[row as usize] = place;
        }
        let place = |&row: &u32| moved.get(row as usize).copied().unwrap_or(DROPPED);
        Ancestor { graph: Arc::clone(&self.graph), places: self.places.iter().map(place).collect() }
    }

    /// How many rows it links.
    pub fn rows(&self) -> u32 {
        self.places.iter().filter(|&&place| place != DROPPED).count() as u32
    }

    /// Whether a graph over `rows` rows is made sooner, and as well, from this one than from nothing.
    pub fn is_worth_it(&self, rows: u32) -> bool {
        let (linked, before) = (self.rows() as f32, self.places.len() as f32);
        linked >= LEAST_SHARE * rows as f32 && before - linked <= MOST_DROPPED * before
    }

    /// The row that `row` of the graph is now.
    pub(super) fn place(&self, row: u32) -> Option<u32> {
        self.places.get(row as usize).copied().filter(|&place| place != DROPPED)
    }

    /// Its rows that are left, each with the row that it is now.
    pub(super) fn placed(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..).zip(&self.places).filter(|&(_, &place)| place != DROPPED).map(|(row, &place)| (row, place))
    }

    /// Its links, checked.
    pub(super) fn links(&self) -> Result<LinkLists<'_>> {
        self.graph.check_links()?;
        self.graph.lists()
    }

    /// The most links of one of its rows.
    pub(super) fn width(&self) -> usize {
        self.graph.width()
    }
}
