//! Measures how much of the nearest rows walks of a new graph find.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::calibration::{Calibration, Precision, ef_for};
use super::panel::Panels;
use super::part::LinkLists;
use super::random::Random;
use super::scratch::Scratch;
use super::space::Space;
use super::walk::Walk;
use crate::store::Result;
use crate::vector::distance::{self, LANES, TILE_ROWS};
use crate::vector::scan::rescore;
use crate::vector::top::{Candidate, Top};
use crate::vector::{Query, VectorPart};

/// The values of `ef` that are tried.
const EFS: [u32; 11] = [10, 16, 24, 36, 54, 80, 120, 180, 270, 400, 600];
/// Neighbours that are looked for.
const K: usize = 10;
/// How many queries are made of rows. A few of them miss all that they look for, so it takes many to tell how many do.
const QUERIES: usize = 2000;
/// A query is a row, moved this far towards another one: questions are not where the rows are. Questions
/// about the texts of an evaluation set took as many candidates as rows moved by a quarter.
const BLEND: f32 = 0.3;
/// Rows that are packed at a time to find the true neighbours.
const PACKED: usize = 8192;
/// A walk by whole codes takes this many times as long as one by their upper halves.
const WHOLE_COST: f32 = 1.35;
/// So many queries are also compared with the rows themselves: where codes do not tell rows apart, neighbours by codes
/// are not neighbours.
const BY_ROWS: usize = 16;
/// Where walks find less than this share of what they find by codes, codes do not tell rows apart.
const TOLD_APART: f32 = 0.9;
/// The recalls at which the two are compared.
const COMPARED_AT: [f32; 4] = [0.95, 0.97, 0.98, 0.99];

fn best(recalls: &[(u32, f32)]) -> f32 {
    recalls.iter().map(|&(_, recall)| recall).fold(0.0, f32::max)
}

/// Measures walks that look for the neighbours of blended rows. `None` once `cancel` is set.
pub(super) fn calibrate(
    part: &VectorPart,
    space: &Space<'_>,
    links: LinkLists<'_>,
    entry_rows: &[u32],
    entries: &Panels,
    cancel: &AtomicBool,
) -> Result<Option<Calibration>> {
    let mut random = Random(3);
    let mut any_row = || random.below(part.rows() as usize) as u32;
    let rows: Vec<(u32, u32)> =
        (0..QUERIES.min(part.rows() as usize)).map(|_| (any_row(), any_row())).collect();
    let prepare = |&(row, other): &(u32, u32)| {
        let (from, to) = (part.values(row)?, part.values(other)?);
        let blend = from.iter().zip(&*to).map(|(a, b)| a + BLEND * (b - a));
        let query = Query::new(part.metric(), part.dimensions(), &blend.collect::<Vec<_>>());
        Ok(query.ok().map(|query| (row, query))) // opposite rows may blend to zero, which is no query
    };
    let queries: Vec<(u32, Query)> =
        rows.iter().filter_map(|rows| prepare(rows).transpose()).collect::<Result<_>>()?;
    let Some(bars) = farthest_neighbours(part, space, &queries, cancel)? else { return Ok(None) };
    let codes = part.codes_at_random()?;
    let entry_panels = entries.words();
    let walk = |query, ef, precision| Walk {
        codes,
        links,
        entry_rows,
        entry_panels,
        query,
        k: K + 1, // the row itself is found, too
        ef: ef as usize + 1,
        precision,
    };
    let measure =
        |precision| recalls(part.rows(), &queries, &bars, cancel, |query, ef| walk(query, ef, precision));
    let Some(halves) = measure(Precision::Halves)? else { return Ok(None) };
    let Some(whole) = measure(Precision::Whole)? else { return Ok(None) };
    let ratios = COMPARED_AT.map(|recall| ef_for(&halves, recall) / ef_for(&whole, recall));
    let cheaper = ratios.iter().product::<f32>() <= WHOLE_COST.powi(ratios.len() as i32);
    // where neither finds as much, the one that finds more
    let as_good = best(&halves) >= COMPARED_AT[2].min(best(&whole) - 0.005);
    let (precision, mut recalls) = match cheaper && as_good {
        true => (Precision::Halves, halves),
        false => (Precision::Whole, whole),
    };
    let most = EFS[EFS.len() - 1];
    let by_rows = found_by_rows(part, &queries, cancel, |query| walk(query, most, precision))?;
    let Some(found) = by_rows else { return Ok(None) };
    // walks miss some by codes, too
    let told_apart = (found / best(&recalls)).min(1.0);
    if told_apart < TOLD_APART {
        recalls.iter_mut().for_each(|(_, recall)| *recall *= told_apart);
    }
    Ok(Some(Calibration { precision, recalls }))
}

/// The share of the nearest other rows of a few of the queries, by the rows themselves, that walks find.
fn found_by_rows<'a>(
    part: &VectorPart,
    queries: &'a [(u32, Query)],
    cancel: &AtomicBool,
    walk: impl Fn(&'a Query) -> Walk<'a> + Sync,
) -> Result<Option<f32>> {
    let wanted = K.min(part.rows().saturating_sub(1) as usize);
    let queries = &queries[..queries.len().min(BY_ROWS)];
    if queries.is_empty() || wanted == 0 {
        return Ok(Some(1.0));
    }
    let mut nearest: Vec<Top> = queries.iter().map(|_| Top::new(wanted)).collect();
    for first in (0..part.rows()).step_by(PACKED) {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        nearest.par_iter_mut().zip(queries).try_for_each(|(nearest, (own, query))| {
            let rows = first..part.rows().min(first + PACKED as u32);
            rows.filter(|row| row != own).try_for_each(|row| {
                nearest.push(Candidate { similarity: query.similarity(part.row(row)?), row });
                Ok(())
            })
        })?;
    }
    let found_of = |scratch: &mut Scratch, (nearest, (own, query)): (&Top, &'a (u32, Query))| {
        let walk = walk(query);
        scratch.reset(part.rows());
        walk.run(scratch)?;
        let found = walk.refine(wanted + 1, scratch.beam.candidates());
        let mut count = 0;
        for hit in rescore(part, query, wanted + 1, &found)?.iter().filter(|hit| hit.row != *own) {
            count += usize::from(query.similarity(part.row(hit.row)?) >= nearest.bar());
        }
        Ok(count.min(wanted))
    };
    let found: Vec<usize> =
        nearest.par_iter().zip(queries).map_init(Scratch::default, found_of).collect::<Result<_>>()?;
    Ok(Some(found.into_iter().sum::<usize>() as f32 / (wanted * queries.len()) as f32))
}

/// The similarity by codes of the `K`-th nearest other row of each query.
fn farthest_neighbours(
    part: &VectorPart,
    space: &Space<'_>,
    queries: &[(u32, Query)],
    cancel: &AtomicBool,
) -> Result<Option<Vec<f32>>> {
    let mut nearest: Vec<Top> = queries.iter().map(|_| Top::new(K)).collect();
    let mut panels = Panels::default();
    for first in (0..space.rows()).step_by(PACKED) {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let rows = first..space.rows().min(first + PACKED as u32);
        panels.pack(space, rows);
        nearest.par_chunks_mut(TILE_ROWS).zip(queries.par_chunks(TILE_ROWS)).for_each(
            |(nearest, queries)| {
                let mut distances = [[0.0; LANES]; TILE_ROWS];
                let numbers: Vec<u32> = (0..queries.len() as u32).collect();
                let mut tile = distance::tile(&numbers, |at| queries[at as usize].1.tile_row(0.0));
                for (lane_0, panel) in panels.from(0) {
                    for (row, top) in tile.iter_mut().zip(&*nearest) {
                        row.below = -top.bar();
                    }
                    let below = distance::near(&tile, panel, &mut distances);
                    for (at, top) in nearest.iter_mut().enumerate() {
                        for lane in distance::lanes(below[at]) {
                            let row = first + (lane_0 + lane) as u32;
                            if row != queries[at].0 {
                                top.push(Candidate { similarity: -distances[at][lane], row });
                            }
                        }
                    }
                }
            },
        );
    }
    let codes = part.codes_at_random()?;
    let farthest = |((_, query), nearest): (&(u32, Query), Top)| {
        let similarity =
            |near: Candidate| query.code_similarity(codes.row(near.row), &codes.constants[near.row as usize]);
        nearest.into_sorted().into_iter().map(similarity).fold(f32::INFINITY, f32::min)
    };
    Ok(Some(queries.iter().zip(nearest).map(farthest).collect()))
}

/// The share of the neighbours, those not less similar than the bars, that walks find with each of [`EFS`]. A walk with more
/// candidates comes by all rows that one with fewer came by, so a query is done with when all its neighbours are found.
fn recalls<'a>(
    rows: u32,
    queries: &'a [(u32, Query)],
    bars: &[f32],
    cancel: &AtomicBool,
    walk: impl Fn(&'a Query, u32) -> Walk<'a> + Sync,
) -> Result<Option<Vec<(u32, f32)>>> {
    let wanted = K.min(rows.saturating_sub(1) as usize);
    if queries.is_empty() || wanted == 0 {
        return Ok(Some(EFS.map(|ef| (ef, 1.0)).to_vec()));
    }
    let found_with = |ef: u32, scratch: &mut Scratch, query: usize| {
        let (row, query, bar) = (queries[query].0, &queries[query].1, bars[query]);
        let walk = walk(query, ef);
        scratch.reset(rows);
        walk.run(scratch)?;
        let found = walk.refine(wanted + 1, scratch.beam.candidates());
        Ok(found.iter().filter(|near| near.row != row && near.similarity >= bar).take(wanted).count())
    };
    let mut open: Vec<usize> = (0..queries.len()).collect();
    let mut at = |ef: u32| {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let found: Vec<usize> = open
            .par_iter()
            .map_init(Scratch::default, |scratch, &query| found_with(ef, scratch, query))
            .collect::<Result<_>>()?;
        let missed: usize = found.iter().map(|found| wanted - found).sum();
        let mut found = found.into_iter();
        open.retain(|_| found.next().is_some_and(|found| found < wanted));
        Ok(Some((ef, 1.0 - missed as f32 / (wanted * queries.len()) as f32)))
    };
    EFS.into_iter().map(&mut at).collect()
}
