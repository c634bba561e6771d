//! Vectors in 8 bits a dimension, in two planes of 4 bits.
//!
//! A code is a dimension's value in steps of `max|x| / 119`, rounded, so it lies in -119..=119. Code + 136 is one byte.
//! Its upper four bits alone stand for the value to within half of 16 steps, and zero is still exactly zero. A row holds the upper halves of all dimensions first,
//! then the lower halves: a walk reads the first plane only, half the memory, and the candidates it finds are
//! ranked by both.
//!
//! In a plane, byte `j` of the 32 bytes for dimensions `64·i ..` has dimension `64·i + j` in its lower and
//! `64·i + 32 + j` in its upper half. Each row is quantised by itself: nothing is trained, and a merge copies
//! codes as they are.

use crate::collection::definition::Metric;

/// The largest code of a row.
const LARGEST: f32 = 119.0;
/// What is added to a row's code to make it a byte.
pub(super) const OFFSET: i32 = 136;
/// Added to 16 times the upper half, it is the middle of the codes that have this half.
pub(super) const HIGH_OFFSET: i32 = 128;
/// Codes that share an upper half.
pub(super) const HIGH_STEP: i32 = 16;

/// Dimensions in one unit of a plane, and the bytes it takes in both planes.
pub(super) const UNIT: usize = 64;

/// What is known of a row beside its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct RowConstants {
    /// What one step of a code is worth (see [`unbiased_scale`]); 0 for a row of zeros.
    pub scale: f32,
    /// The same where the upper halves stand for the codes (see [`unbiased`]).
    pub high_scale: f32,
    /// Squared length of the row.
    pub norm_squared: f32,
}

/// Bytes of one row of codes: whole cache lines.
pub(super) fn code_stride(dimensions: usize) -> usize {
    dimensions.next_multiple_of(UNIT)
}

/// Replaces `codes` with the values of `vector`, which are finite, in steps of the returned scale, at most `largest` (up to
/// 127) of them.
pub(super) fn quantise(vector: &[f32], largest: f32, codes: &mut Vec<i8>) -> f32 {
    /// 1.5 · 2²³: a small number added to it is rounded to a whole one, which is then its lowest byte.
    const WHOLE: f32 = 12_582_912.0;
    let scale = most(vector) / largest;
    codes.clear();
    if !scale.is_normal() {
        codes.resize(vector.len(), 0); // too small to tell from zero
        return 0.0;
    }
    let steps = scale.recip();
    codes.extend(vector.iter().map(|x| (x * steps + WHOLE).to_bits() as i8));
    scale
}

/// The largest absolute value.
fn most(vector: &[f32]) -> f32 {
    // side by side, so that the compiler uses vector instructions
    let mut most = [0.0f32; 16];
    let (whole, rest) = vector.as_chunks::<16>();
    let larger = |(most, x): (&mut f32, &f32)| *most = if x.abs() > *most { x.abs() } else { *most };
    whole.iter().for_each(|values| most.iter_mut().zip(values).for_each(larger));
    most.iter_mut().zip(rest).for_each(larger);
    most.into_iter().fold(0.0, f32::max)
}

/// What the upper half of a code stands for.
fn by_upper_half(code: i32) -> i32 {
    ((code + OFFSET) & -HIGH_STEP) - HIGH_OFFSET
}

/// The scale that replaces `step` so that codes are as long in the direction of `vector`, of which it made them with
/// values of at most `largest` steps, as it is itself: so products with vectors near it are not biased where values
/// repeat, and their roundings with them. But no more than one rounding of the largest value is made up for: products with
/// other vectors would be off by more than [`Query::code_error`](super::Query) allows for.
pub(super) fn unbiased_scale(vector: &[f32], step: f32, largest: f32, codes: &[i8]) -> f32 {
    let most = 0.5 / largest;
    unbiased(vector, step, codes, |code| code).clamp(step * (1.0 - most), step * (1.0 + most))
}

/// The scale with which what `codes` stand for is as long in the direction of `vector`, of which `scale` made them, as it
/// is itself (as in RaBitQ: Gao and Long, <https://arxiv.org/abs/2405.12497>, section 3.2).
fn unbiased(vector: &[f32], scale: f32, codes: &[i8], stands_for: impl Fn(i32) -> i32) -> f32 {
    if scale == 0.0 {
        return 0.0;
    }
    // side by side, so that the compiler uses vector instructions; in steps, which neither grow nor vanish when squared
    const LANES: usize = 8;
    let (steps, mut squares, mut products) = (scale.recip(), [0.0; LANES], [0.0; LANES]);
    let mut add = |values: &[f32; LANES], codes: &[i8; LANES]| {
        for lane in 0..LANES {
            let value = values[lane] * steps;
            squares[lane] += value * value;
            products[lane] += value * stands_for(codes[lane].into()) as f32;
        }
    };
    let ((values, rest), (codes, rest_codes)) = (vector.as_chunks(), codes.as_chunks());
    values.iter().zip(codes).for_each(|(values, codes)| add(values, codes));
    let mut last = ([0.0; LANES], [0; LANES]);
    last.0[..rest.len()].copy_from_slice(rest);
    last.1[..rest_codes.len()].copy_from_slice(rest_codes);
    add(&last.0, &last.1);
    // the largest code is not 0, so there are products
    scale * (squares.iter().sum::<f32>() / products.iter().sum::<f32>())
}

/// Quantises rows, with working space.
#[derive(Debug, Default)]
pub(super) struct Quantiser(Vec<i8>);

impl Quantiser {
    /// Appends the planes of `vector` to `codes`; returns its constants.
    pub fn append(&mut self, vector: &[f32], norm_squared: f32, codes: &mut Vec<u8>) -> RowConstants {
        let step = quantise(vector, LARGEST, &mut self.0);
        let scale = unbiased_scale(vector, step, LARGEST, &self.0);
        let high_scale = unbiased(vector, step, &self.0, by_upper_half);
        self.append_planes(codes);
        RowConstants { scale, high_scale, norm_squared }
    }

    /// The same for a row of which nothing else is kept: its constants are those of the codes. For cosine the
    /// scale is the one with which the codes have length 1.
    pub fn append_as_row(&mut self, metric: Metric, vector: &[f32], codes: &mut Vec<u8>) -> RowConstants {
        let step = quantise(vector, LARGEST, &mut self.0);
        // of up to 65,536 dimensions, within 32 bits
        let (mut squares, mut products) = (0, 0);
        for code in self.0.iter().map(|&code| i32::from(code)) {
            squares += code * code;
            products += code * by_upper_half(code);
        }
        let length = f64::from(step) * f64::from(squares).sqrt();
        let (scale, norm_squared) = match metric {
            Metric::Cosine if length > 0.0 => ((f64::from(step) / length) as f32, 1.0),
            _ => (step, (length * length) as f32),
        };
        // a row's largest code is LARGEST, so there are products unless all codes are zero
        let high_scale = scale * squares as f32 / products.max(1) as f32;
        self.append_planes(codes);
        RowConstants { scale, high_scale, norm_squared }
    }

    fn append_planes(&mut self, planes: &mut Vec<u8>) {
        self.0.resize(code_stride(self.0.len()), 0);
        for shift in [4, 0] {
            for unit in self.0.chunks_exact(UNIT) {
                let (lower, upper) = unit.split_at(UNIT / 2);
                let half = |code: i8| (code as u8).wrapping_add(OFFSET as u8) >> shift & 15;
                planes.extend(lower.iter().zip(upper).map(|(&lower, &upper)| half(lower) | half(upper) << 4));
            }
        }
    }
}

/// Calls `code` with every code of a row, dimension by dimension, those of the padding (0) included.
pub(super) fn decode(row: &[u8], mut code: impl FnMut(i8)) {
    let (high, low) = row.split_at(row.len() / 2);
    for (high, low) in high.chunks_exact(UNIT / 2).zip(low.chunks_exact(UNIT / 2)) {
        for shift in [0, 4] {
            for (high, low) in high.iter().zip(low) {
                let byte = (high >> shift & 15) << 4 | low >> shift & 15;
                code((i32::from(byte) - OFFSET) as i8);
            }
        }
    }
}

/// A query's codes in the order in which the halves of a row's codes are met.
///
/// Kernels read rows in whole cache lines, and one may hold the end of the first plane and the beginning of the
/// second: where a line holds the other plane, there are zeros here.
#[derive(Clone, Debug)]
pub struct CodeQuery {
    /// Bytes of a row.
    pub(super) stride: usize,
    /// For the lines with the upper halves, from the row's start: what its bytes' lower and upper four bits
    /// are multiplied with.
    pub(super) high: [Vec<i8>; 2],
    /// For the lines with the lower halves, up to the row's end.
    pub(super) low: [Vec<i8>; 2],
}

impl CodeQuery {
    /// Arranges a query's codes.
    pub fn new(codes: &[i8]) -> CodeQuery {
        let stride = code_stride(codes.len());
        let plane = stride / 2;
        let lines = plane.next_multiple_of(UNIT);
        let empty = || [vec![0; lines], vec![0; lines]];
        let (mut high, mut low) = (empty(), empty());
        let before = lines - plane; // where the first line with lower halves still has upper ones
        for (unit, codes) in codes.chunks(UNIT).enumerate() {
            let first = unit * UNIT / 2;
            for (half, codes) in codes.chunks(UNIT / 2).enumerate() {
                high[half][first..][..codes.len()].copy_from_slice(codes);
                low[half][before + first..][..codes.len()].copy_from_slice(codes);
            }
        }
        CodeQuery { stride, high, low }
    }

    /// How many of its first bytes are read for the upper halves.
    pub(super) fn high_bytes(&self) -> usize {
        self.high[0].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_code_is_within_half_a_step(vector in prop::collection::vec(-100.0f32..100.0, 1..200)) {
            let mut row = Vec::new();
            let RowConstants { scale, high_scale, .. } = Quantiser::default().append(&vector, 1.0, &mut row);
            prop_assert_eq!(row.len(), code_stride(vector.len()));
            let mut codes = Vec::new();
            decode(&row, |code| codes.push(code));
            prop_assert_eq!(codes.len(), row.len());
            let step = most(&vector) / LARGEST;
            prop_assume!(step.is_normal());
            for (&code, x) in codes.iter().zip(&vector) {
                let back = f32::from(code) * step;
                prop_assert!((back - x).abs() <= step * 0.5001, "{x} became {back}");
                let high = by_upper_half(code.into());
                prop_assert!((i32::from(code) - high).abs() <= HIGH_STEP / 2);
            }
            let length: f32 = vector.iter().map(|x| x * x).sum();
            let along = |scale: f32, stands_for: fn(i32) -> i32| {
                let values = codes.iter().map(|&code| stands_for(code.into()) as f32 * scale);
                values.zip(&vector).map(|(value, x)| value * x).sum::<f32>()
            };
            let (by_halves, by_codes) = (along(high_scale, by_upper_half), along(scale, |code| code));
            prop_assert!((by_halves - length).abs() <= length * 1e-4, "{by_halves} for {length}");
            let uncorrected = along(step, |code| code);
            prop_assert!((by_codes - length).abs() <= (uncorrected - length).abs() + length * 1e-4);
            prop_assert!((scale / step - 1.0).abs() <= 0.5001 / LARGEST);
            prop_assert!(codes[vector.len()..].iter().all(|&code| code == 0));
        }
    }
}
