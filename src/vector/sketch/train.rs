//! What the rows of a segment have in common, learned from some of them.

use half::f16;
use rayon::prelude::*;

use super::query::{Estimates, reach, taken, unit};
use super::{CENTROIDS, Decoded, Errors, Model, QUANTISERS, axes, nearest};
use crate::collection::definition::Metric;
use crate::vector::distance;

/// So many rows stand for all, or as many as have so many values together.
const SAMPLE: usize = 4096;
const SAMPLE_VALUES: usize = 1 << 21;
/// How often directions are turned towards those in which rows differ most.
const TURNS: usize = 3;
/// How often centroids are moved to the middle of what is nearest to them.
const MOVES: usize = 6;
/// Rows of the sample whose neighbours in it tell how far estimates are off, and how many neighbours.
const ASKING: usize = 128;
const NEIGHBOURS: usize = 10;

/// The values of a [`Model`] for these rows, but for the first and the last of the bounds of errors.
pub(super) fn train(metric: Metric, rows: &Decoded) -> Vec<f32> {
    let dimensions = rows.dimensions;
    let mut sample = Sample::new(rows);
    let centre = sample.centre();
    sample.subtract(&centre);
    let axes = strongest(&sample);
    let along = products(&sample.values, &axes, dimensions);
    let centroids: Vec<f32> = (0..super::quantisers(dimensions))
        .into_par_iter()
        .flat_map_iter(|at| {
            let shared = 2 * super::quantisers(dimensions) - 1 - at;
            let pair = |along: &[f32]| [along[at], along.get(shared).copied().unwrap_or(0.0)];
            centroids(along.chunks_exact(axes.len() / dimensions).map(pair).collect()).into_iter().flatten()
        })
        .collect();
    let mut values = vec![0.0; size_of::<Errors>() / size_of::<f32>()];
    values.extend(centre);
    let mut halves: Vec<u16> = axes.into_iter().map(|value| f16::from_f32(value).to_bits()).collect();
    halves.resize(halves.len().next_multiple_of(2), 0);
    values.extend_from_slice(bytemuck::cast_slice(&halves));
    values.extend(centroids);
    let errors = sample.errors(metric, &Model::new(dimensions, &values));
    values[..size_of::<Errors>() / size_of::<f32>()].copy_from_slice(bytemuck::cast_slice(&[errors]));
    values
}

/// Some rows, evenly spread over all.
struct Sample {
    dimensions: usize,
    values: Vec<f32>,
}

impl Sample {
    fn new(rows: &Decoded) -> Sample {
        let dimensions = rows.dimensions;
        let count = SAMPLE.min(SAMPLE_VALUES / dimensions).max(1).min(rows.len());
        let mut values = Vec::with_capacity(count * dimensions);
        let mut row = Vec::new();
        for at in 0..count {
            rows.read(at * rows.len() / count, &mut row);
            values.extend_from_slice(&row);
        }
        Sample { dimensions, values }
    }

    fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }

    fn centre(&self) -> Vec<f32> {
        let mut sum = vec![0.0f64; self.dimensions];
        self.rows()
            .for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value)));
        sum.into_iter().map(|sum| (sum / self.rows().len() as f64) as f32).collect()
    }

    fn subtract(&mut self, centre: &[f32]) {
        for row in self.values.chunks_exact_mut(self.dimensions) {
            row.iter_mut().zip(centre).for_each(|(value, mean)| *value -= mean);
        }
    }

    /// What a model makes of the errors of the sample, and of similarities between its rows.
    fn errors(&self, metric: Metric, model: &Model) -> Errors {
        let encode = |row: &[f32]| {
            let mut codes = [0; QUANTISERS];
            // rows are encoded as they are stored
            let mut row: Vec<f32> = row.iter().zip(model.centre).map(|(value, mean)| value + mean).collect();
            let error = model.encode(&mut row, &mut codes);
            (codes, error)
        };
        let encoded: Vec<([u8; QUANTISERS], f32)> =
            self.values.par_chunks_exact(self.dimensions).map(encode).collect();
        let mut ascending: Vec<f32> = encoded.iter().map(|(_, error)| *error).collect();
        ascending.sort_unstable_by(f32::total_cmp);
        let bound = |at: usize| ascending[(at * ascending.len() / CENTROIDS).min(ascending.len() - 1)];
        let bounds = std::array::from_fn(bound);
        let count = ascending.len();
        let asked: Vec<Asked> = (0..ASKING.min(count))
            .into_par_iter()
            .map(|at| self.ask(metric, model, &encoded, at * count / ASKING.min(count)))
            .collect();
        let mean = |of: &dyn Fn(&Asked) -> [f32; 2]| {
            [0, 1].map(|at| asked.iter().map(|asked| of(asked)[at]).sum::<f32>() / asked.len() as f32)
        };
        let (neighbours, itself) = (mean(&|asked| asked.neighbours), mean(&|asked| asked.itself));
        // ratios of means: rows that lie on their centroids tell little
        let ratio = |[of, to]: [f32; 2]| if to > 0.0 { of / to } else { 0.0 };
        let average = ratio(mean(&|asked| asked.off));
        let variance = ratio(mean(&|asked| asked.off_squared)) - average * average;
        let slope = (itself[1] - neighbours[1]) / (itself[0] - neighbours[0]);
        Errors {
            mean: average.max(0.0),
            deviation: variance.max(0.0).sqrt(),
            knee: neighbours[0],
            slope: if slope.is_finite() { slope.clamp(0.0, 1.0) } else { 1.0 },
            bounds,
        }
    }

    /// Asks for the neighbours of a row of the sample.
    fn ask(
        &self,
        metric: Metric,
        model: &Model,
        encoded: &[([u8; QUANTISERS], f32)],
        asking: usize,
    ) -> Asked {
        let stored =
            |row: &[f32]| -> Vec<f32> { row.iter().zip(model.centre).map(|(x, mean)| x + mean).collect() };
        let row = |at: usize| &self.values[at * self.dimensions..][..self.dimensions];
        let vector = stored(row(asking));
        let (reach, unit) = (reach(metric, &vector, model.centre), unit(metric, &vector));
        let common = distance::dot(&vector, model.centre);
        let estimates = Estimates::new(metric, model, &vector);
        let similarities = |at: usize| {
            let similarity = match metric {
                Metric::L2 => -distance::l2_squared(row(asking), row(at)),
                Metric::Cosine | Metric::Dot => distance::dot(&vector, row(at)) + common,
            };
            let (codes, error) = &encoded[at];
            let sum: f32 =
                estimates.tables.iter().zip(codes).map(|(table, &code)| table[usize::from(code)]).sum();
            [similarity, estimates.common + sum - taken(metric, *error)]
        };
        let mut others: Vec<(usize, [f32; 2])> =
            (0..encoded.len()).filter(|&at| at != asking).map(|at| (at, similarities(at))).collect();
        others.sort_unstable_by(|(_, a), (_, b)| b[0].total_cmp(&a[0]));
        others.truncate(NEIGHBOURS);
        let mut asked = Asked { itself: similarities(asking).map(|x| x / unit), ..Asked::default() };
        let share = 1.0 / others.len() as f32;
        for (at, [similarity, estimate]) in others {
            asked.neighbours[0] += share * similarity / unit;
            asked.neighbours[1] += share * estimate / unit;
            let off = [similarity - estimate, encoded[at].1 * reach];
            for (at, off) in off.into_iter().enumerate() {
                asked.off[at] += share * off;
                asked.off_squared[at] += share * off * off;
            }
        }
        asked
    }
}

/// What a row of the sample tells of estimates, for queries of length 1.
#[derive(Default)]
struct Asked {
    /// The similarity of the row to itself, and its estimate.
    itself: [f32; 2],
    /// The same of its neighbours, on average.
    neighbours: [f32; 2],
    /// By how much the similarity of neighbours is higher than estimated, on average, and the unit of that, see
    /// [`Errors::mean`].
    off: [f32; 2],
    /// Their squares.
    off_squared: [f32; 2],
}

/// The inner products of each of some rows of `len` values with each of others.
fn products(rows: &[f32], others: &[f32], len: usize) -> Vec<f32> {
    let of_row = |row| others.chunks_exact(len).map(move |other| distance::dot(row, other));
    rows.par_chunks_exact(len).flat_map_iter(of_row).collect()
}

fn transposed(rows: &[f32], len: usize) -> Vec<f32> {
    (0..len).flat_map(|at| rows.iter().skip(at).step_by(len).copied()).collect()
}

/// The directions in which rows differ most, strongest first, one after the other: orthogonal iteration (Golub and Van
/// Loan, "Matrix Computations", section 7.3), from where some rows are.
fn strongest(sample: &Sample) -> Vec<f32> {
    let (dimensions, count) = (sample.dimensions, sample.rows().len());
    let columns = transposed(&sample.values, dimensions);
    let wanted = axes(dimensions);
    let mut directions: Vec<f32> = (0..wanted)
        .flat_map(|at| sample.values[at * count / wanted * dimensions..][..dimensions].iter().copied())
        .collect();
    for _ in 0..TURNS {
        make_orthonormal(&mut directions, dimensions);
        let along = products(&sample.values, &directions, dimensions);
        directions = transposed(&products(&columns, &transposed(&along, wanted), count), wanted);
    }
    make_orthonormal(&mut directions, dimensions);
    directions
}

/// Takes from each row what it has of those before, and makes it a unit vector; zeros where nothing is left.
fn make_orthonormal(rows: &mut [f32], len: usize) {
    for at in 0..rows.len() / len {
        let (before, row) = rows.split_at_mut(at * len);
        let row = &mut row[..len];
        let length = distance::dot(row, row);
        // twice: the first time leaves rounding errors
        for _ in 0..2 {
            for other in before.chunks_exact(len) {
                let share = distance::dot(row, other);
                row.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
            }
        }
        let left = distance::dot(row, row);
        let scale = if left > length * 1e-8 && left.is_normal() { left.sqrt().recip() } else { 0.0 };
        row.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Centroids of pairs of values: Lloyd's algorithm, from pairs that lie evenly along the first value.
fn centroids(mut pairs: Vec<[f32; 2]>) -> [[f32; CENTROIDS]; 2] {
    pairs.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let start = |at: usize| pairs[(2 * at + 1) * pairs.len() / (2 * CENTROIDS)];
    let mut centroids: [[f32; CENTROIDS]; 2] = [0, 1].map(|of| std::array::from_fn(|at| start(at)[of]));
    for _ in 0..MOVES {
        let mut sums = [[0.0f64; 3]; CENTROIDS];
        for &pair in &pairs {
            let [x, y, count] = &mut sums[nearest(&centroids, pair).0];
            *x += f64::from(pair[0]);
            *y += f64::from(pair[1]);
            *count += 1.0;
        }
        for (at, [x, y, count]) in sums.into_iter().enumerate().filter(|(_, [.., count])| *count > 0.0) {
            (centroids[0][at], centroids[1][at]) = ((x / count) as f32, (y / count) as f32);
        }
    }
    centroids
}
