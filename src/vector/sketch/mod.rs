//! Vectors in 4-bit codes of their principal components, for passing over most rows of a scan after a look at a few
//! bytes.
//!
//! What a row differs by from the mean of all is taken along the directions in which rows differ most. A strong
//! direction goes with a weak one (Ge, He, Ke and Sun, "Optimized Product Quantization", 2013, section 4), and such a
//! pair of values becomes the nearest of 16 centroids (Jégou, Douze and Schmid, "Product Quantization for Nearest
//! Neighbor Search", 2011). The last code of a row tells how far the others leave it from where it is.
//!
//! A query makes a table of 16 small numbers for each code, what a row that has it is similar by or may well be. So the
//! most that a row's similarity may well be is a sum of numbers looked up, those of 64 rows by one instruction (André,
//! Kermarrec and Le Scouarnec, "Cache locality is not enough", 2015).
//!
//! Directions, centroids and errors are found anew for each segment ([`train`]). Too few rows have no sketches.

mod query;
mod train;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use super::codes::{RowConstants, code_stride, decode};
use super::distance::{self, BLOCK, ENTRIES, place};
use crate::collection::definition::Metric;

pub(super) use query::SketchQuery;

/// A row has so many codes, the one of its error included. Four are looked up together.
const CODES: std::ops::RangeInclusive<usize> = 16..=48;
/// At most so many codes are of values.
const QUANTISERS: usize = *CODES.end() - 1;
/// What a code may stand for.
const CENTROIDS: usize = ENTRIES;
/// Fewer rows are not sketched: what is known about all of them would take longer to prepare and more room than they do.
const FEWEST: usize = 4096;
/// Squared lengths up to this leave room for everything that is made of them.
const HUGE: f32 = 1e30;

/// How many codes of values a row has: one for two dimensions, as long as there are not too many.
fn quantisers(dimensions: usize) -> usize {
    let codes = (dimensions / 2).next_multiple_of(4).clamp(*CODES.start(), *CODES.end());
    (codes - 1).min(dimensions)
}

/// How many directions there are. The first ones, the strong, have a quantiser each; the others share them, the weakest
/// with the strongest.
fn axes(dimensions: usize) -> usize {
    dimensions.min(2 * quantisers(dimensions))
}

/// Bytes of the sketch of one row: two codes each.
fn row_bytes(dimensions: usize) -> usize {
    (quantisers(dimensions) + 1).div_ceil(2)
}

/// Bytes of the sketches of a block.
///
/// First come the first two codes of all rows, the first one in the lower four bits, then the next two. Of 64 bytes, those
/// at even places belong to rows 0 to 31, those at odd places to rows 32 to 63.
pub(super) fn block_bytes(dimensions: usize) -> usize {
    BLOCK * row_bytes(dimensions)
}

/// The directions and centroids by which the rows of a part are sketched, and what is known of the errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    errors: &'a Errors,
    centre: &'a [f32],
    /// Unit vectors, one after the other, in half precision.
    axes: &'a [u16],
    /// Of each quantiser the centroids, by their first and second coordinates.
    centroids: &'a [[[f32; CENTROIDS]; 2]],
}

/// What is known of how far estimates are from the truth. An estimate is what the centroids of a row's codes say.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Errors {
    /// Similarities of neighbours are higher than estimated by so much on average, in units of the row's distance from
    /// its centroids times the query's [`reach`](query::reach).
    mean: f32,
    /// The standard deviation of the same.
    deviation: f32,
    /// From this similarity on (for others than l2 to a query of length 1), where rows are nearer than neighbours usually
    /// are ...
    knee: f32,
    /// ... the estimate rises only so much with the similarity.
    slope: f32,
    /// Rows with the code `i` for their error are from `bounds[i]` to `bounds[i + 1]` away from their centroids.
    bounds: [f32; CENTROIDS + 1],
}

impl<'a> Model<'a> {
    /// How many values a model is stored in.
    pub fn len(dimensions: usize) -> usize {
        size_of::<Errors>() / size_of::<f32>()
            + dimensions
            + (dimensions * axes(dimensions)).div_ceil(2)
            + quantisers(dimensions) * 2 * CENTROIDS
    }

    /// The model that is stored in so many [values](Self::len).
    pub fn new(dimensions: usize, values: &'a [f32]) -> Model<'a> {
        let (errors, values) = values.split_at(size_of::<Errors>() / size_of::<f32>());
        let (centre, values) = values.split_at(dimensions);
        let halves = dimensions * axes(dimensions);
        let (axes, centroids) = values.split_at(halves.div_ceil(2));
        Model {
            errors: bytemuck::from_bytes(bytemuck::cast_slice(errors)),
            centre,
            axes: &bytemuck::cast_slice(axes)[..halves],
            centroids: bytemuck::cast_slice(centroids),
        }
    }

    /// What `vector` is along each axis.
    fn along_axes(&self, vector: &[f32]) -> Vec<f32> {
        self.axes.chunks_exact(vector.len()).map(|axis| distance::dot_f16(vector, axis)).collect()
    }

    /// What is quantised together: the value along an axis, and along the one that shares its quantiser or 0.
    fn pairs(&self, along: &[f32]) -> impl Iterator<Item = [f32; 2]> {
        let shared = |at: usize| along.get(2 * self.centroids.len() - 1 - at).copied().unwrap_or(0.0);
        (0..self.centroids.len()).map(move |at| [along[at], shared(at)])
    }

    /// The codes of a row's values, without that of its error; returns how far its centroids are from it.
    fn encode(&self, row: &mut [f32], codes: &mut [u8; QUANTISERS]) -> f32 {
        row.iter_mut().zip(self.centre).for_each(|(value, centre)| *value -= centre);
        let along = self.along_axes(row);
        let mut error = distance::dot(row, row) - distance::dot(&along, &along);
        for ((code, centroids), pair) in codes.iter_mut().zip(self.centroids).zip(self.pairs(&along)) {
            let (nearest, squared) = nearest(centroids, pair);
            *code = nearest as u8;
            error += squared;
        }
        error.max(0.0).sqrt()
    }
}

/// The nearest centroid, and its squared distance, or a few millionths less.
#[inline]
fn nearest(centroids: &[[f32; CENTROIDS]; 2], [x, y]: [f32; 2]) -> (usize, f32) {
    const NUMBER: u32 = CENTROIDS as u32 - 1;
    // distances are ordered like their bits, the last of which give way to the centroid's number: no branches
    let mut keys: [i32; CENTROIDS] = std::array::from_fn(|at| {
        let (x, y) = (x - centroids[0][at], y - centroids[1][at]);
        ((x * x + y * y).to_bits() & !NUMBER | at as u32) as i32
    });
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            keys[at] = keys[at].min(keys[at + half]);
        }
    }
    let key = keys[0] as u32;
    ((key & NUMBER) as usize, f32::from_bits(key & !NUMBER))
}

/// The model and sketches of rows that are known by their codes, block by block; none where there are too few rows or
/// some that are too large. The same for any number of threads.
pub(super) fn sketch(
    metric: Metric,
    dimensions: usize,
    codes: &[u8],
    constants: &[RowConstants],
) -> Option<(Vec<f32>, Vec<u8>)> {
    let rows = Decoded { dimensions, codes, constants };
    if constants.len() < FEWEST || constants.iter().any(|constants| constants.norm_squared > HUGE) {
        return None;
    }
    let mut values = train::train(metric, &rows);
    let model = Model::new(dimensions, &values);
    let blocks: Vec<(Vec<u8>, [f32; 2])> = (0..constants.len().div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| sketch_block(&model, &rows, block * BLOCK))
        .collect();
    let merge =
        |[least, most]: [f32; 2], (_, bounds): &(_, [f32; 2])| [least.min(bounds[0]), most.max(bounds[1])];
    let [least, most] = blocks.iter().fold([f32::INFINITY, 0.0], merge);
    let errors: &mut Errors =
        bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(&mut values[..size_of::<Errors>() / 4]));
    errors.bounds[0] = least;
    errors.bounds[CENTROIDS] = most;
    Some((values, blocks.into_iter().flat_map(|(block, _)| block).collect()))
}

/// The sketches of the rows from `first` on, and the least and the most of their errors.
fn sketch_block(model: &Model, rows: &Decoded, first: usize) -> (Vec<u8>, [f32; 2]) {
    let mut block = vec![0; block_bytes(rows.dimensions)];
    let (mut bounds, mut codes, mut row) = ([f32::INFINITY, 0.0f32], [0; QUANTISERS], Vec::new());
    let quantisers = model.centroids.len();
    for at in 0..BLOCK.min(rows.len() - first) {
        rows.read(first + at, &mut row);
        let error = model.encode(&mut row, &mut codes);
        bounds = [bounds[0].min(error), bounds[1].max(error)];
        let inner = &model.errors.bounds[1..CENTROIDS];
        let of_error = inner.iter().filter(|&&bound| error > bound).count() as u8;
        for (number, code) in codes[..quantisers].iter().copied().chain([of_error]).enumerate() {
            block[number / 2 * BLOCK + place(at)] |= code << (4 * (number % 2));
        }
    }
    (block, bounds)
}

/// Rows that are known by their codes.
struct Decoded<'a> {
    dimensions: usize,
    codes: &'a [u8],
    constants: &'a [RowConstants],
}

impl Decoded<'_> {
    fn len(&self) -> usize {
        self.constants.len()
    }

    /// Puts the values of a row into `values`.
    fn read(&self, row: usize, values: &mut Vec<f32>) {
        let (stride, scale) = (code_stride(self.dimensions), self.constants[row].scale);
        values.clear();
        decode(&self.codes[row * stride..][..stride], |code| values.push(f32::from(code) * scale));
        values.truncate(self.dimensions);
    }
}
