//! Best-first search of a frozen graph.

use super::beam::Beam;
use super::calibration::{Effort, Precision};
use super::part::{GraphPart, LinkLists};
use super::scratch::{Met, Scratch, Visited};
use crate::rows::RowSet;
use crate::store::Result;
use crate::vector::distance::{self, LANES};
use crate::vector::part::Codes;
use crate::vector::scan::{rescore, scan};
use crate::vector::top::{Candidate, Top};
use crate::vector::{Query, Scored, VectorPart, cost};

/// The `k` best allowed rows, best first: the graph is walked by the rows' codes, the best candidates are
/// scored in full precision. Where a look around the query shows that a scan of the allowed rows finds them sooner
/// or better, they are scanned.
pub fn search(
    part: &VectorPart,
    graph: &GraphPart,
    query: &Query,
    k: usize,
    effort: Effort,
    allowed: Option<&RowSet>,
) -> Result<Vec<Scored>> {
    if graph.rows() != part.rows() || graph.dimensions() != part.dimensions() {
        return Err(graph.corrupt("it is the graph of other vectors"));
    }
    if part.rows() == 0 || k == 0 {
        return Ok(Vec::new());
    }
    let (codes, links) = (part.codes_at_random()?, graph.lists()?);
    let (entry_rows, entry_panels) = graph.entries()?;
    let (ef, precision) = (graph.ef(effort).max(k), graph.calibration().precision);
    let walk = Walk { codes, links, entry_rows, entry_panels, query, k, ef, precision };
    graph.scratch.with(graph.rows(), |scratch| match allowed {
        None => {
            walk.run(scratch)?;
            rescore(part, query, k, &walk.refine(k, scratch.beam.candidates()))
        }
        Some(allowed) => match walk.run_filtered(allowed, effort.deviations(), scratch)? {
            true => rescore(part, query, k, &walk.refine(k, scratch.beam.candidates())),
            false => scan(part, query, k, effort, Some(allowed)),
        },
    })
}

/// So far ahead, the codes of candidates and the links of rows are asked for.
const AHEAD: usize = 4;

/// Bytes of a row's codes that are asked for; the processor itself goes on where there are more.
const ASKED: usize = 128;

/// Candidates of the walk that looks around before one with a filter.
const LOOK_AROUND: usize = 12;

/// Where the share of allowed rows around the query is below this part of their share of all rows, the filter
/// keeps away from the query: its nearest rows lie scattered.
const SCATTERED: f32 = 0.3;

/// Fewer allowed rows than this that were to be expected around the query tell nothing.
const TELLING: f32 = 4.0;

/// A row that links to fewer allowed rows is left by the links of its other neighbours, too.
const ENOUGH: usize = 16;

/// So many rows that are not allowed are crossed at most to find copies that are.
const COPIES: usize = 64;

/// By how much the candidates of a walk with a filter are raised each time that the share of allowed
/// rows halves.
const RAISED: f32 = 0.3;

/// A search on its way through a graph.
pub(super) struct Walk<'a> {
    pub codes: Codes<'a>,
    pub links: LinkLists<'a>,
    pub entry_rows: &'a [u32],
    pub entry_panels: &'a [i32],
    pub query: &'a Query,
    /// How many rows are looked for.
    pub k: usize,
    /// How many candidates are kept.
    pub ef: usize,
    pub precision: Precision,
}

impl Walk<'_> {
    /// Leaves the `ef` best rows by their codes in the beam. `scratch` must be ready for as many rows as
    /// there are.
    pub fn run(&self, scratch: &mut Scratch) -> Result<()> {
        scratch.beam.reset(self.ef);
        let entry = self.entry(scratch)?;
        scratch.beam.push(entry);
        self.go_on(scratch, |row, visited, _| self.follow(row, visited))
    }

    /// Leaves the best allowed rows by their codes in the beam, or says that a scan, for which estimates may be off by so
    /// many `deviations`, finds them sooner or better.
    ///
    /// After a look around the query, only allowed rows are walked, as if the graph had no others: those that
    /// are not allowed are crossed in one step, as in ACORN-1 (Patel et al.,
    /// <https://arxiv.org/abs/2403.04871>, section 5).
    fn run_filtered(&self, allowed: &RowSet, deviations: f32, scratch: &mut Scratch) -> Result<bool> {
        Walk { ef: LOOK_AROUND, ..*self }.run(scratch)?;
        let Scratch { visited, beam, met, .. } = scratch;
        let around = visited.len() as f32;
        visited.retain(|row| allowed.contains(row));
        let share = allowed.len() as f32 / allowed.rows() as f32;
        let share_around = visited.len() as f32 / around;
        let scattered = share * around > TELLING && share_around < SCATTERED * share;
        if visited.len() == 0
            || scattered
            || cost::filtered_walk(self.ef, share_around)
                > cost::scan(allowed.len(), allowed.rows(), deviations)
        {
            return Ok(false);
        }
        let raised = (1.0 - RAISED * share_around.log2()) * (share / share_around).max(1.0);
        beam.reset((self.ef as f32 * raised) as usize);
        for &candidate in self.score(visited.marked(), f32::NEG_INFINITY, met)? {
            if candidate.similarity > beam.bar() {
                beam.push(candidate);
            }
        }
        self.go_on(scratch, |row, visited, crossed| self.follow_allowed(row, allowed, visited, crossed))?;
        Ok(true)
    }

    /// Follows the links of the best rows in the beam until those of all that are kept were followed. `follow` marks
    /// the rows that a row leads to as visited.
    ///
    /// Copies of a row lead only to each other, so they wait until there is nothing else to follow: however many there
    /// are, the walk goes as far as without them.
    #[inline(always)]
    fn go_on(
        &self,
        scratch: &mut Scratch,
        follow: impl Fn(u32, &mut Visited, &mut Visited) -> Result<()>,
    ) -> Result<()> {
        let Scratch { visited, crossed, beam, copies, met } = scratch;
        copies.clear();
        while let Some(row) = beam.pop().or_else(|| self.next_copy(copies, beam)) {
            let before = visited.len();
            follow(row, visited, crossed)?;
            let original = self.links.original(row);
            let new = &visited.marked()[before..];
            self.ask_for(new);
            if let Some(next) = beam.peek() {
                distance::prefetch(self.links.hint(next));
            }
            for &candidate in self.score(new, beam.bar(), met)? {
                if candidate.similarity > beam.bar() {
                    if self.links.is_copy_of(candidate.row, original) {
                        copies.push(candidate);
                    } else if beam.push(candidate) {
                        distance::prefetch(self.links.hint(candidate.row));
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves a copy to the beam if it may be wanted: nobody wants more than `k` of a kind.
    #[cold]
    fn next_copy(&self, copies: &mut Vec<Candidate>, beam: &mut Beam) -> Option<u32> {
        while let Some(copy) = copies.pop() {
            if copy.similarity > beam.bar() && beam.as_good_as(copy) < self.k {
                beam.push(copy);
                return beam.pop();
            }
        }
        None
    }

    /// Ranks what a walk found, best first by the upper halves of its codes, by the whole codes. Those are
    /// left out whose upper halves are so much worse than the `k`-th best that rounding cannot explain it.
    pub fn refine(&self, k: usize, found: impl Iterator<Item = Candidate> + Clone) -> Vec<Candidate> {
        if self.precision == Precision::Whole {
            return found.collect();
        }
        let mut best = Top::new(k);
        let mut refined = Vec::with_capacity(self.ef.min(self.codes.constants.len()));
        let mut ahead = found.clone().skip(AHEAD);
        for Candidate { similarity, row } in found {
            if let Some(ahead) = ahead.next() {
                distance::prefetch(self.codes.row(ahead.row));
            }
            let constants = &self.codes.constants[row as usize];
            if similarity + self.query.high_error(constants) < best.bar() {
                continue;
            }
            let similarity = self.query.code_similarity(self.codes.row(row), constants);
            best.push(Candidate { similarity, row });
            refined.push(Candidate { similarity, row });
        }
        refined.sort_unstable_by(|a, b| b.cmp(a));
        refined
    }

    /// Marks the rows that `row` links to.
    #[inline]
    fn follow(&self, row: u32, visited: &mut Visited) -> Result<()> {
        visited.mark(self.links.of(row)?);
        Ok(())
    }

    /// Marks the allowed rows that `row` links to, and where they are few, those that its other neighbours link to,
    /// from the nearest on. Nobody needs to be crossed twice. Copies are crossed wherever they lead: some of them may
    /// be allowed while those that they hang below are not.
    #[inline]
    fn follow_allowed(
        &self,
        row: u32,
        allowed: &RowSet,
        visited: &mut Visited,
        crossed: &mut Visited,
    ) -> Result<()> {
        let links = self.links.of(row)?;
        let mut found = visited.mark_allowed(links, allowed);
        for (at, &to) in links.iter().enumerate() {
            if found >= ENOUGH && !self.links.is_copy(to) {
                continue;
            }
            if let Some(&later) = links.get(at + AHEAD) {
                distance::prefetch(self.links.hint(later));
            }
            let first = crossed.len();
            if allowed.contains(to) || !crossed.mark_one(to) {
                continue;
            }
            for at in first..first + COPIES {
                let Some(&over) = crossed.marked().get(at) else { break };
                let beyond = self.links.of(over)?;
                found += visited.mark_allowed(beyond, allowed);
                for &copy in beyond.iter().filter(|&&row| self.links.is_copy(row) && !allowed.contains(row)) {
                    crossed.mark_one(copy);
                }
            }
        }
        Ok(())
    }

    /// Asks the processor for the codes of `rows`.
    #[inline]
    fn ask_for(&self, rows: &[u32]) {
        let read = match self.precision {
            Precision::Halves => self.query.codes().high_bytes(),
            Precision::Whole => self.query.codes().stride,
        };
        self.codes.prefetch(rows, read.min(ASKED));
    }

    /// The entry row that is nearest to the query.
    fn entry(&self, scratch: &mut Scratch) -> Result<Candidate> {
        let mut tile_row = self.query.tile_row(f32::INFINITY);
        let (mut distances, mut nearest) = ([0.0; LANES], 0);
        let panels = self.entry_panels.chunks_exact(distance::panel_words(self.query.dimensions() as usize));
        for (rows, panel) in self.entry_rows.chunks(LANES).zip(panels) {
            let below = distance::near_one(&tile_row, panel, &mut distances);
            for lane in distance::lanes(below) {
                if lane < rows.len() && distances[lane] < tile_row.below {
                    (tile_row.below, nearest) = (distances[lane], rows[lane]);
                }
            }
        }
        scratch.visited.mark_one(nearest);
        let found = self.score(&[nearest], f32::NEG_INFINITY, &mut scratch.met)?.first();
        Ok(found.copied().unwrap_or(Candidate { similarity: f32::NEG_INFINITY, row: nearest }))
    }

    /// Those of `rows` that are more similar than `bar` by their codes.
    #[inline]
    fn score<'m>(&self, rows: &[u32], bar: f32, met: &'m mut Met) -> Result<&'m [Candidate]> {
        self.codes.check(rows)?;
        let Met { products, candidates } = met;
        products.clear();
        products.resize(rows.len(), 0);
        match self.precision {
            Precision::Halves => distance::dot_rows(self.codes.all, rows, self.query.codes(), products),
            Precision::Whole => distance::dot_rows_whole(self.codes.all, rows, self.query.codes(), products),
        }
        let ranking = match self.precision {
            Precision::Halves => self.query.high_ranking(),
            Precision::Whole => self.query.whole_ranking(),
        };
        if candidates.len() < rows.len() {
            candidates.resize(rows.len(), Candidate { similarity: 0.0, row: 0 });
        }
        // no branch on whether a row is wanted: it cannot be foretold
        let mut wanted = 0;
        for (&row, &product) in rows.iter().zip(&*products) {
            let similarity = ranking.similarity(product, &self.codes.constants[row as usize]);
            candidates[wanted] = Candidate { similarity, row };
            wanted += usize::from(similarity > bar);
        }
        Ok(&candidates[..wanted])
    }
}
