//! What the ways to search a segment cost, in the time it takes to scan a row: measured on sets of 60,000 to
//! 400,000 rows (`benches/README.md`).

use super::distance::BLOCK;

/// Bytes of rows that are compared in full precision in the time that a scan by codes takes before and after it.
const FEW: usize = 200_000;

/// What it costs to go to a row, in bytes of it.
const PER_ROW: usize = 100;

/// How many rows of so many bytes are compared in full precision sooner than by their codes first.
pub(super) fn few(row_bytes: usize) -> u32 {
    (FEW / (row_bytes + PER_ROW)) as u32
}

/// Rows that are scanned in the time that a walk takes for one of its candidates.
const ROWS_PER_CANDIDATE: f32 = 54.0;

/// What the look around of a walk with a filter adds to it.
const LOOK_AROUND: f32 = 1.3;

/// Rows whose codes are looked at in the time that the sketches of a block take.
const ROWS_PER_BLOCK: f32 = 4.2;

/// Rows that are scanned in the time that everything but sketches takes: preparing the query, and looking at the codes of
/// rows that sketches leave. More are left, the surer it must be that no neighbour is hidden: so many more for each
/// deviation that estimates may be off.
const LEFT_BY_SKETCHES: f32 = 3200.0;

/// Of a scan for which a filter lets `allowed` of `rows` rows through, where estimates may be off by so many deviations.
pub(super) fn scan(allowed: u32, rows: u32, deviations: f32) -> f32 {
    let left = LEFT_BY_SKETCHES * (1.0 + deviations);
    let by_sketches = rows.div_ceil(BLOCK as u32) as f32 * ROWS_PER_BLOCK + left;
    by_sketches.min(allowed as f32)
}

/// Of a walk with `ef` candidates.
pub(super) fn walk(ef: usize) -> f32 {
    ROWS_PER_CANDIDATE * ef as f32
}

/// Of a walk with `ef` candidates for which a filter lets this share of the rows around the query through. The
/// others must be crossed.
pub(super) fn filtered_walk(ef: usize, share: f32) -> f32 {
    walk(ef) * LOOK_AROUND / share.sqrt()
}
