//! Cuts rows into groups of rows that are near each other.

use rayon::prelude::*;

use crate::vector::distance::{self, LANES, TILE_ROWS};
use crate::vector::graph::panel::Panels;
use crate::vector::graph::random::Random;
use crate::vector::graph::space::Space;

/// More groups than this are not made in one cut.
const MAX_LEADERS: usize = 256;
/// Rows that one task assigns to leaders.
const BATCH: usize = 256;

/// Groups of at most `limit` rows: leaders are drawn at random, every row goes with the nearest one, groups
/// that are too large are cut again and small ones joined ("randomized ball carving": PiPNN, 2026; the idea
/// is that of random partition trees). Other draws make other cuts.
pub(super) fn partition(
    space: &Space<'_>,
    rows: Vec<u32>,
    limit: usize,
    random: &mut Random,
) -> Vec<Vec<u32>> {
    let mut groups = Vec::new();
    cut(space, rows, limit, random, &mut groups);
    groups
}

fn cut(space: &Space<'_>, rows: Vec<u32>, limit: usize, random: &mut Random, groups: &mut Vec<Vec<u32>>) {
    if rows.len() <= limit {
        groups.push(rows);
        return;
    }
    let leaders = (rows.len() * 3 / limit).clamp(2, MAX_LEADERS);
    let mut panels = Panels::default();
    let leaders: Vec<u32> = (0..leaders).map(|_| rows[random.below(rows.len())]).collect();
    panels.pack(space, leaders.iter().copied());
    let mut nearest = vec![0; rows.len()];
    nearest.par_chunks_mut(BATCH).zip(rows.par_chunks(BATCH)).for_each(|(nearest, rows)| {
        assign(space, &panels, rows, nearest);
    });
    let mut cells = vec![Vec::new(); leaders.len()];
    for (&row, &leader) in rows.iter().zip(&nearest) {
        cells[leader as usize].push(row);
    }
    let mut small = Vec::new();
    for cell in cells {
        if cell.len() == rows.len() {
            // rows that no leader tells apart
            groups.extend(cell.chunks(limit).map(<[u32]>::to_vec));
        } else if cell.len() > limit {
            cut(space, cell, limit, random, groups);
        } else if small.len() + cell.len() > limit {
            groups.push(std::mem::replace(&mut small, cell));
        } else {
            small.extend(cell);
        }
    }
    if !small.is_empty() {
        groups.push(small);
    }
}

/// The position of the nearest leader of each of `rows`, the first of equally near ones.
fn assign(space: &Space<'_>, leaders: &Panels, rows: &[u32], nearest: &mut [u32]) {
    let mut distances = [[0.0; LANES]; TILE_ROWS];
    for (rows, nearest) in rows.chunks(TILE_ROWS).zip(nearest.chunks_mut(TILE_ROWS)) {
        let mut tile = distance::tile(rows, |row| space.tile_row(row, f32::INFINITY));
        for (first, panel) in leaders.from(0) {
            let below = distance::near(&tile, panel, &mut distances);
            for (at, nearest) in nearest.iter_mut().enumerate() {
                for lane in distance::lanes(below[at]) {
                    if distances[at][lane] < tile[at].below {
                        tile[at].below = distances[at][lane];
                        *nearest = (first + lane) as u32;
                    }
                }
            }
        }
    }
}
