//! The dense leg: distances, codes, scans and the graph over the rows of a segment.
//!
//! - [`BytesPerVector`]: what a vector takes, on disk and in memory.
//! - [`codes`]: vectors in 8 bits a dimension.
//! - [`distance`]: the inner loops, chosen for the processor at run time.
//! - [`sketch`]: vectors in 4-bit codes of their principal components.
//! - [`part`]: rows, their codes and sketches, on disk.
//! - [`Row`]: a row in the type it is stored in.
//! - [`Query`]: a vector prepared for comparing.
//! - [`scan`], [`exact`], [`score_rows`]: looking at every allowed row.
//! - [`graph`]: the graph: build, freeze, walk.
//! - [`recall`]: the way in. It picks the cheapest of these that finds the neighbours, by [`cost`].

mod bytes;
mod codes;
mod cost;
pub mod distance;
pub mod graph;
pub mod part;
mod query;
mod row;
mod scan;
mod sketch;
mod top;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod storage_tests;
#[cfg(test)]
mod tests;

use crate::collection::definition::{Metric, Storage};
use crate::error::{Code, Error, Result};
use crate::rows::RowSet;
use crate::store;

pub use bytes::BytesPerVector;
pub use codes::CodeQuery;
pub use graph::{Effort, GraphPart};
pub use part::{VectorPart, VectorWriter};
pub use query::Query;
pub use row::Row;
pub use scan::{exact, scan, score_rows};

/// A row and its score as users see it: cosine, inner product or Euclidean distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The row of the segment.
    pub row: u32,
    /// The score.
    pub raw: f32,
}

/// The `k` best allowed rows, best first, by the cheapest way that finds them: an exact pass where
/// `exact` asks for it or hardly any rows are allowed, a walk of the graph where there is one whose walks find
/// neighbours and that costs less than a scan, else a scan.
pub fn recall(
    part: &VectorPart,
    graph: Option<&GraphPart>,
    query: &Query,
    k: usize,
    effort: Effort,
    exact: bool,
    allowed: Option<&RowSet>,
) -> store::Result<Vec<Scored>> {
    let candidates = allowed.map_or(part.rows(), |set| set.len().min(part.rows()));
    match graph {
        _ if exact || candidates <= cost::few(part.row_bytes()) => scan::exact(part, query, k, allowed),
        Some(linked)
            if linked.calibration().finds_neighbours()
                && cost::walk(linked.ef(effort).max(k))
                    < cost::scan(candidates, part.rows(), effort.deviations()) =>
        {
            graph::search(part, linked, query, k, effort, allowed)
        }
        Some(_) => scan(part, query, k, effort, allowed),
        // few rows: there is time to miss next to none
        None => scan(part, query, k, Effort::Recall(1.0), allowed),
    }
}

/// A raw score on the scale 0 (unrelated) to 1 (same), without a look at other candidates. `floor` is
/// the cosine or inner product that counts as unrelated; l2 is `1 / (1 + distance)`.
pub fn normalized(metric: Metric, raw: f32, floor: f32) -> f32 {
    let score = match metric {
        Metric::Cosine | Metric::Dot if floor < 1.0 => (raw - floor) / (1.0 - floor),
        Metric::Cosine | Metric::Dot => return f32::from(raw >= floor),
        Metric::L2 => 1.0 / (1.0 + raw.max(0.0)),
    };
    score.clamp(0.0, 1.0)
}

/// The longest vector whose distances and products stay finite in `f32`.
const MAX_NORM_SQUARED: f64 = (f32::MAX / 4.0) as f64;

/// Whether vectors of a segment may have this value: `invalid_vector` where one is not finite or too large, or
/// cosine has no direction.
pub fn check(metric: Metric, storage: Storage, vector: &[f32]) -> Result<()> {
    let mut vector = vector.to_vec();
    unit_or_finite(metric, &mut vector)?;
    match storage {
        Storage::Float16 => row::to_halves(&vector).map(drop),
        Storage::Float32 | Storage::Int8 => Ok(()),
    }
}

/// Makes `vector` a unit vector for cosine, and leaves it alone for the others; returns its squared
/// length. `invalid_vector` where a value is not finite or too large, or cosine has no direction.
fn unit_or_finite(metric: Metric, vector: &mut [f32]) -> Result<f32> {
    let norm_squared = norm_squared(vector);
    if !norm_squared.is_finite() || metric != Metric::Cosine && norm_squared > MAX_NORM_SQUARED {
        return Err(Error::new(
            Code::InvalidVector,
            "the vector has a value that is not finite or too large",
        ));
    }
    if metric != Metric::Cosine {
        return Ok(norm_squared as f32);
    }
    if norm_squared == 0.0 {
        return Err(Error::new(
            Code::InvalidVector,
            "a vector of zeros has no direction to compare by cosine",
        ));
    }
    let by = norm_squared.sqrt().recip();
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) * by) as f32);
    Ok(self::norm_squared(vector) as f32)
}

fn norm_squared(vector: &[f32]) -> f64 {
    // side by side, so that the compiler uses vector instructions
    let mut sums = [0.0; 8];
    let (whole, rest) = vector.as_chunks::<8>();
    let add = |(sum, &x): (&mut f64, &f32)| *sum += f64::from(x) * f64::from(x);
    whole.iter().for_each(|values| sums.iter_mut().zip(values).for_each(add));
    sums.iter_mut().zip(rest).for_each(add);
    sums.into_iter().sum()
}
