//! Best-first search of a frozen graph.

use std::collections::BinaryHeap;

use super::GraphPart;
use super::visited::Visited;
use crate::segment::RowSet;
use crate::store::Result;
use crate::vector::scan::{rescore, scan};
use crate::vector::top::{Candidate, Top};
use crate::vector::{Query, Scored, VectorPart, distance};

/// The `k` best allowed rows, best first: the graph is walked with `ef` candidates by their codes, the
/// best of them are scored in full precision.
///
/// Rows that are not allowed are walked through but not collected. Where they are so much in the way
/// that a scan of the allowed rows would have been cheaper, it is scanned after all.
pub fn search(
    part: &VectorPart,
    graph: &GraphPart,
    query: &Query,
    k: usize,
    ef: usize,
    allowed: Option<&RowSet>,
) -> Result<Vec<Scored>> {
    if graph.rows() != part.rows() {
        return Err(graph.corrupt("it is the graph of another number of rows"));
    }
    if part.rows() == 0 || k == 0 {
        return Ok(Vec::new());
    }
    let entry = descend(part, graph, query)?;
    let walk = Walk { part, graph, query, allowed, ef: ef.max(k) };
    match graph.visited.with(graph.rows(), |visited| walk.run(entry, visited))? {
        Some(found) => rescore(part, query, k, found),
        None => scan(part, query, k, allowed),
    }
}

fn candidate(part: &VectorPart, query: &Query, row: u32) -> Result<Candidate> {
    let (codes, constants) = part.codes(row)?;
    Ok(Candidate { similarity: query.code_similarity(codes, &constants), row })
}

/// Goes down the upper layers, in each to the best node that can be reached by getting better.
fn descend(part: &VectorPart, graph: &GraphPart, query: &Query) -> Result<Candidate> {
    let Some(mut best) = top_row(graph)?.map(|row| candidate(part, query, row)).transpose()? else {
        return candidate(part, query, 0);
    };
    for layer in (1..=graph.upper_layers()).rev() {
        let rows = graph.upper_rows(layer)?;
        let position = rows.binary_search(&best.row);
        let mut position = position.map_err(|_| graph.corrupt("a row is missing in a lower layer"))? as u32;
        loop {
            let here = position;
            for &to in graph.upper_links(layer, here)? {
                let row = rows[to as usize];
                if row >= graph.rows() {
                    return Err(graph.corrupt("a layer has a row outside the graph"));
                }
                let next = candidate(part, query, row)?;
                if next.similarity > best.similarity {
                    (best, position) = (next, to);
                }
            }
            if position == here {
                break;
            }
        }
    }
    Ok(best)
}

/// The first row of the top layer, if there are upper layers.
fn top_row(graph: &GraphPart) -> Result<Option<u32>> {
    let layers = graph.upper_layers();
    if layers == 0 {
        return Ok(None);
    }
    match graph.upper_rows(layers)?.first() {
        Some(&row) if row < graph.rows() => Ok(Some(row)),
        _ => Err(graph.corrupt("a layer has a row outside the graph")),
    }
}

struct Walk<'a> {
    part: &'a VectorPart,
    graph: &'a GraphPart,
    query: &'a Query,
    allowed: Option<&'a RowSet>,
    ef: usize,
}

impl Walk<'_> {
    /// The `ef` best allowed rows of the bottom layer by their codes; `None` where looking at the
    /// allowed rows one by one has become cheaper.
    fn run(&self, entry: Candidate, visited: &mut Visited) -> Result<Option<Top>> {
        let budget = self.allowed.map_or(usize::MAX, |set| set.len() as usize);
        let mut seen = 0;
        let mut top = Top::new(self.ef);
        let mut queue = BinaryHeap::from([entry]);
        let mut fresh: Vec<u32> = Vec::new();
        visited.insert(entry.row);
        self.collect(&mut top, entry);
        while let Some(best) = queue.pop() {
            if best.similarity < top.bar() {
                break;
            }
            fresh.clear();
            for &row in self.graph.bottom_links(best.row)? {
                if visited.insert(row) {
                    distance::prefetch(self.part.codes_hint(row));
                    fresh.push(row);
                }
            }
            seen += fresh.len();
            if seen > budget {
                return Ok(None);
            }
            for &row in &fresh {
                let next = candidate(self.part, self.query, row)?;
                if next.similarity > top.bar() {
                    queue.push(next);
                    self.collect(&mut top, next);
                }
            }
        }
        Ok(Some(top))
    }

    #[inline]
    fn collect(&self, top: &mut Top, candidate: Candidate) {
        if self.allowed.is_none_or(|set| set.contains(candidate.row)) {
            top.push(candidate);
        }
    }
}
