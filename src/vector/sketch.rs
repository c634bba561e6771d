//! Vectors in 1 bit a rotated dimension, for passing over most rows of a scan after a look at a few bytes.
//!
//! What a row differs by from the mean of all is turned by a rotation that is the same for all, and of each of the
//! first dimensions of what comes out the sign is kept, after RaBitQ (Gao and Long,
//! <https://arxiv.org/abs/2405.12497>, section 3). A query is turned likewise, and quantised to nine levels, which are
//! two digits of three: a digit is as quickly compared with signs as a bit would be. The product of signs and query,
//! times a factor of the row, estimates the inner product of row and query without bias, and how far it is from it is
//! known: so a row can be passed over as soon as even a lucky one with its signs would not be among the best.
//!
//! The rotation is two rounds of flipping signs and a Hadamard transform (Ailon and Chazelle, "The Fast
//! Johnson-Lindenstrauss Transform", 2009). Rows of more than 256 dimensions keep 256 signs, as a random projection
//! would.

use std::f64::consts::PI;

use bytemuck::cast_slice;
use rayon::prelude::*;

use super::codes::{RowConstants, code_stride, decode};
use crate::collection::definition::Metric;

/// Rows that are looked at together: those of one word of a set of rows.
pub(super) const BLOCK: usize = 64;
/// Rows that are added up by one thread.
const GROUP: usize = 4096;
/// A row has between 1 and this many words of signs.
pub(super) const WORDS: usize = 4;
/// Squared lengths up to this leave room for everything that is made of them.
const HUGE: f64 = 1e30;
/// Rounds of the rotation.
const ROUNDS: u64 = 2;
/// Steps of a query's codes, in standard deviations: the best for nine levels of normally distributed values
/// (Max, "Quantizing for Minimum Distortion", 1960).
const STEP: f64 = 0.5338;

/// Bytes of the signs of one row: 8, 16 or 32.
fn sign_bytes(dimensions: usize) -> usize {
    8 * dimensions.div_ceil(64).next_power_of_two().min(WORDS)
}

/// Bytes of the sketches of a block.
///
/// First come the signs, those of 8 rows together: the first 8 bytes of each, then the next 8 of each. Then the
/// *factor* of each row as `f32`: times the product of signs and query it is the inner product of what row and query
/// differ by from the centre. Then the *base* of each row as `f32`, which is added: for l2 minus the squared distance
/// from the centre, for the others the inner product with it. Places past the last row have a base of minus infinity.
pub(super) fn block_bytes(dimensions: usize) -> usize {
    BLOCK * (sign_bytes(dimensions) + 2 * size_of::<f32>())
}

/// The mean of rows that are known by their codes, and their sketches, block by block: what they have in common tells
/// nothing about which is nearer. The same for any number of threads.
pub(super) fn sketch(
    metric: Metric,
    dimensions: usize,
    codes: &[u8],
    constants: &[RowConstants],
) -> (Vec<f32>, Vec<u8>) {
    let stride = code_stride(dimensions);
    let groups = |rows| codes.par_chunks(rows * stride).zip(constants.par_chunks(rows));
    let sum = |(codes, constants): (&[u8], &[RowConstants])| {
        let mut sum = vec![0.0; dimensions];
        for (codes, constants) in codes.chunks_exact(stride).zip(constants) {
            let mut sums = sum.iter_mut();
            decode(codes, |code| {
                if let Some(sum) = sums.next() {
                    *sum += f64::from(code) * f64::from(constants.scale);
                }
            });
        }
        sum
    };
    let sums: Vec<Vec<f64>> = groups(GROUP).map(sum).collect();
    let mean = |at| sums.iter().map(|sum| sum[at]).sum::<f64>() / constants.len().max(1) as f64;
    let centre: Vec<f32> = (0..dimensions).map(|at| mean(at) as f32).collect();
    let block = |(codes, constants)| sketch_block(metric, codes, constants, &centre);
    let blocks: Vec<Vec<u8>> = groups(BLOCK).map(block).collect();
    (centre, blocks.concat())
}

/// The sketches of a block of rows, as [`block_bytes`] says.
fn sketch_block(metric: Metric, codes: &[u8], constants: &[RowConstants], centre: &[f32]) -> Vec<u8> {
    let words = sign_bytes(centre.len()) / 8;
    let mut signs = vec![0; BLOCK * words];
    let (mut factors, mut bases) = ([0.0; BLOCK], [f32::NEG_INFINITY; BLOCK]);
    let (mut rotated, mut vector) = (Rotated::default(), Vec::new());
    for (at, (codes, constants)) in codes.chunks_exact(code_stride(centre.len())).zip(constants).enumerate() {
        vector.clear();
        decode(codes, |code| vector.push(f32::from(code) * constants.scale));
        let vector = &vector[..centre.len()];
        rotated.turn(vector, centre);
        let kept = &rotated.0[..words * 64];
        for (word, values) in kept.chunks_exact(64).enumerate() {
            let negative = |word, (bit, value): (usize, &f32)| word | u64::from(*value < 0.0) << bit;
            signs[(at / 8 * words + word) * 8 + at % 8] = values.iter().enumerate().fold(0u64, negative);
        }
        let along: f64 = kept.iter().map(|&value| f64::from(value.abs())).sum();
        let (squared, product) = distance_and_product(vector, centre);
        (factors[at], bases[at]) = match metric {
            _ if squared.max(product.abs()) > HUGE => (0.0, f32::MAX), // never passed over
            Metric::L2 => (factor(squared, along), -squared as f32),
            Metric::Cosine | Metric::Dot => (factor(squared, along), product as f32),
        };
    }
    let parts: [&[u8]; 3] = [cast_slice(&signs), cast_slice(&factors), cast_slice(&bases)];
    parts.concat()
}

/// The factor of a row of this squared length, which has the inner product `along` with its own signs.
fn factor(squared: f64, along: f64) -> f32 {
    if along > 0.0 { (squared / along) as f32 } else { 0.0 }
}

/// A rotated vector.
#[derive(Debug, Default)]
struct Rotated(Vec<f32>);

impl Rotated {
    /// Leaves what `vector` differs by from the centre, padded with zeros to a power of two and rotated.
    fn turn(&mut self, vector: &[f32], centre: &[f32]) {
        let len = vector.len().next_power_of_two().max(64);
        let scale = (len as f32).sqrt().recip();
        self.0.clear();
        self.0.extend(vector.iter().zip(centre).map(|(value, mean)| value - mean));
        self.0.resize(len, 0.0);
        for round in 0..ROUNDS {
            for (at, values) in self.0.chunks_exact_mut(64).enumerate() {
                let flips = mix(round << 32 | at as u64);
                for (bit, value) in values.iter_mut().enumerate() {
                    *value *= if flips >> bit & 1 == 1 { -scale } else { scale };
                }
            }
            hadamard(&mut self.0);
        }
    }
}

/// The squared distance of `vector` from the centre, and their inner product.
fn distance_and_product(vector: &[f32], centre: &[f32]) -> (f64, f64) {
    vector.iter().zip(centre).fold((0.0, 0.0), |(squared, product), (&value, &mean)| {
        let (value, mean) = (f64::from(value), f64::from(mean));
        (squared + (value - mean) * (value - mean), product + value * mean)
    })
}

/// The Walsh-Hadamard transform, which makes vectors longer by the square root of their number of dimensions, a power
/// of two.
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
}

/// Bits without a pattern (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let seed = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let seed = (seed ^ seed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    seed ^ seed >> 31
}

/// One digit of a query's codes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digit {
    /// Of each dimension whether it is negative.
    pub signs: [u64; WORDS],
    /// Of each dimension whether it is not zero.
    pub counted: [u64; WORDS],
}

/// A query to be compared with signs.
#[derive(Clone, Debug)]
pub struct SketchQuery {
    /// Bytes of the sketches of a block.
    pub(super) block_bytes: usize,
    /// The query's codes, -4 to 4, as one digit of 1 and one of 3, each of them added, subtracted or left out: where
    /// they are subtracted, and where they are not left out.
    pub(super) digits: [Digit; 2],
    /// In how many of the signs that count a row differs, those of the second digit counted three times, times this
    /// and plus [`at_zero`](Self::at_zero): what a row's factor is multiplied with for the most that its similarity
    /// may well be.
    pub(super) slope: f32,
    /// See [`slope`](Self::slope).
    pub(super) at_zero: f32,
    /// What all similarities are less by.
    pub(super) constant: f32,
}

impl SketchQuery {
    /// Prepares `vector`. Similarities of rows may well be `deviations` standard deviations higher than estimated.
    pub(super) fn new(metric: Metric, vector: &[f32], centre: &[f32], deviations: f32) -> SketchQuery {
        let mut rotated = Rotated::default();
        rotated.turn(vector, centre);
        let bytes = sign_bytes(vector.len());
        let (all, kept) = (rotated.0.len(), 8 * bytes);
        let values = &rotated.0[..kept];
        let squared: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let step = STEP * (squared / kept as f64).sqrt();
        let (mut digits, mut most, mut codes_squared, mut product) = ([Digit::default(); 2], 0, 0, 0.0);
        for (at, value) in values.iter().enumerate() {
            let (length, negative) = (f64::from(value.abs()), *value < 0.0);
            let code = ((length / step + 0.5) as i32).min(4);
            let threes = (code + 1) / 3;
            let ones = code - 3 * threes;
            for (digit, (value, negative)) in
                digits.iter_mut().zip([(ones, negative != (ones < 0)), (threes, negative)])
            {
                digit.signs[at / 64] |= u64::from(negative) << (at % 64);
                digit.counted[at / 64] |= u64::from(value != 0) << (at % 64);
            }
            most += ones.abs() + 3 * threes;
            codes_squared += code * code;
            product += f64::from(code) * length;
        }
        // what a step is worth: with it, the codes are as long in the query's own direction as the query is
        let scale = if product > 0.0 { squared / product } else { 0.0 };
        let (_, centre_squared) = distance_and_product(centre, centre);
        let (from_centre, product_with_centre) = distance_and_product(vector, centre);
        let (kept, all) = (kept as f64, all as f64);
        let of_row = from_centre * kept * (1.0 - 2.0 * kept / (PI * all)) / all;
        let of_query = (scale * scale * f64::from(codes_squared) - squared).max(0.0);
        let deviation = (of_row + of_query).sqrt();
        // of an inner product in the similarity, and what is added to all
        let (weight, constant) = match metric {
            Metric::L2 => (2.0, from_centre),
            Metric::Cosine | Metric::Dot => (1.0, centre_squared - product_with_centre),
        };
        let at_zero = weight * (f64::from(most) * scale + f64::from(deviations) * deviation);
        let block_bytes = block_bytes(vector.len());
        if from_centre.max(constant.abs()) > HUGE {
            // no row is passed over
            return SketchQuery {
                block_bytes,
                digits,
                slope: 0.0,
                at_zero: 0.0,
                constant: f32::NEG_INFINITY,
            };
        }
        let (slope, at_zero) = ((-2.0 * scale * weight) as f32, at_zero as f32);
        SketchQuery { block_bytes, digits, slope, at_zero, constant: constant as f32 }
    }

    /// The most that the similarity of a row may well be.
    #[inline(always)]
    pub(super) fn at_most(&self, differing: u32, factor: f32, base: f32) -> f32 {
        factor * (differing as f32 * self.slope + self.at_zero) + base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::codes::Quantiser;
    use crate::vector::distance;
    use crate::vector::fixture::{METRICS, Random};

    /// Similarities of rows to a query, as they are and as the most that their sketches say they may be.
    fn compared(metric: Metric, dimensions: usize, deviations: f32, mean: f32) -> Vec<(f32, f32)> {
        let mut random = Random::new(dimensions as u64);
        let mut vector = || -> Vec<f32> { random.vector(dimensions).iter().map(|x| x + mean).collect() };
        let (rows, query): (Vec<_>, _) = ((0..1000).map(|_| vector()).collect(), vector());
        let (mut codes, mut quantiser) = (Vec::new(), Quantiser::default());
        let constants: Vec<_> = rows.iter().map(|row| quantiser.append(row, 1.0, &mut codes)).collect();
        let (centre, blocks) = sketch(metric, dimensions, &codes, &constants);
        let query_sketch = SketchQuery::new(metric, &query, &centre, deviations);
        let count = blocks.len() / block_bytes(dimensions);
        let (mut of_rows, mut highest) = (vec![[0.0; BLOCK]; count], vec![0.0; count]);
        distance::at_most(&blocks, &query_sketch, &vec![u64::MAX; count], &mut of_rows, &mut highest);
        for (of_block, highest) in of_rows.iter().zip(highest) {
            assert_eq!(highest, of_block.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        let mut most: Vec<f32> =
            of_rows.as_flattened().iter().map(|most| most - query_sketch.constant).collect();
        assert!(most.drain(rows.len()..).all(|most| most == f32::NEG_INFINITY));
        let truth = rows.iter().map(|row| match metric {
            Metric::L2 => -distance::l2_squared(row, &query),
            Metric::Cosine | Metric::Dot => distance::dot(row, &query),
        });
        truth.zip(most).collect()
    }

    #[test]
    fn hardly_a_row_is_better_than_its_sketch_says_it_may_be() {
        for metric in METRICS {
            for dimensions in [1, 3, 50, 100, 256, 300, 784] {
                for mean in [0.0, 0.7] {
                    let compared = compared(metric, dimensions, 3.0, mean);
                    let better = compared.iter().filter(|(truth, most)| truth > most).count();
                    assert!(
                        better <= 10,
                        "{metric:?}, {dimensions} dimensions around {mean}: {better} of 1000"
                    );
                }
            }
        }
    }

    #[test]
    fn estimates_are_right_on_average_and_as_far_off_as_they_say() {
        for metric in METRICS {
            for dimensions in [50, 100, 256, 784] {
                let estimates = compared(metric, dimensions, 0.0, 0.3);
                let lucky = compared(metric, dimensions, 1.0, 0.3);
                // in deviations
                let errors: Vec<f32> = estimates
                    .iter()
                    .zip(&lucky)
                    .map(|((truth, estimate), (_, lucky))| (estimate - truth) / (lucky - estimate))
                    .collect();
                let mean = errors.iter().sum::<f32>() / errors.len() as f32;
                let square = errors.iter().map(|x| x * x).sum::<f32>() / errors.len() as f32;
                assert!(mean.abs() < 0.15, "{metric:?}, {dimensions} dimensions: off by {mean}");
                assert!((0.6..1.4).contains(&square), "{metric:?}, {dimensions} dimensions: {square}");
            }
        }
    }
}
