//! Vectors in 8 bits a dimension, in two planes of 4 bits.
//!
//! A code is a dimension's value in steps of the row's scale, `round(x / scale)` with `scale = max|x| / 119`,
//! so it lies in -119..=119. Code + 136 is one byte. Its upper four bits alone stand for the value to within
//! half of 16 steps, and zero is still exactly zero. A row holds the upper halves of all dimensions first,
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
    /// What one step of a code is worth; 0 for a row of zeros.
    pub scale: f32,
    /// The same where the upper halves stand for the codes: with it, they are as long in the row's own direction
    /// as the row is, so that products with vectors near it are not biased (as in RaBitQ: Gao and Long,
    /// <https://arxiv.org/abs/2405.12497>, section 3.2).
    pub high_scale: f32,
    /// Squared length of the row.
    pub norm_squared: f32,
}

/// Bytes of one row of codes: whole cache lines.
pub(super) fn code_stride(dimensions: usize) -> usize {
    dimensions.next_multiple_of(UNIT)
}

/// Replaces `codes` with the values of `vector` in steps of the returned scale, at most `largest` of them.
pub(super) fn quantise(vector: &[f32], largest: f32, codes: &mut Vec<i8>) -> f32 {
    let scale = vector.iter().fold(0.0f32, |most, x| most.max(x.abs())) / largest;
    codes.clear();
    if !scale.is_normal() {
        codes.resize(vector.len(), 0); // too small to tell from zero
        return 0.0;
    }
    codes.extend(vector.iter().map(|x| (x / scale).round().clamp(-largest, largest) as i8));
    scale
}

/// What the upper half of a code stands for.
fn by_upper_half(code: i32) -> i32 {
    (code + OFFSET) / HIGH_STEP * HIGH_STEP - HIGH_OFFSET
}

/// Quantises rows, with working space.
#[derive(Debug, Default)]
pub(super) struct Quantiser(Vec<i8>);

impl Quantiser {
    /// Appends the planes of `vector` to `codes`; returns its constants.
    pub fn append(&mut self, vector: &[f32], norm_squared: f32, codes: &mut Vec<u8>) -> RowConstants {
        let scale = quantise(vector, LARGEST, &mut self.0);
        let at = |dimension: usize| (i32::from(*self.0.get(dimension).unwrap_or(&0)) + OFFSET) as u8;
        let units = vector.len().div_ceil(UNIT);
        for shift in [4, 0] {
            let half = |dimension: usize| at(dimension) >> shift & 15;
            for unit in 0..units {
                let first = unit * UNIT;
                codes.extend((first..first + UNIT / 2).map(|low| half(low) | half(low + UNIT / 2) << 4));
            }
        }
        let (mut squares, mut products) = (0, 0);
        for code in self.0.iter().map(|&code| i32::from(code)) {
            squares += i64::from(code * code);
            products += i64::from(code * by_upper_half(code));
        }
        // a row's largest code is LARGEST, so there are products unless all codes are zero
        let high_scale = scale * squares as f32 / products.max(1) as f32;
        RowConstants { scale, high_scale, norm_squared }
    }

    /// The same for a row of which nothing else is kept: its constants are those of the codes. For cosine the
    /// scale is the one with which the codes have length 1.
    pub fn append_as_row(&mut self, metric: Metric, vector: &[f32], codes: &mut Vec<u8>) -> RowConstants {
        let mut constants = self.append(vector, 1.0, codes);
        let squares: i64 = self.0.iter().map(|&code| i64::from(code) * i64::from(code)).sum();
        let length = f64::from(constants.scale) * (squares as f64).sqrt();
        match metric {
            Metric::Cosine if length > 0.0 => {
                constants.scale = (f64::from(constants.scale) / length) as f32;
                constants.high_scale = (f64::from(constants.high_scale) / length) as f32;
            }
            _ => constants.norm_squared = (length * length) as f32,
        }
        constants
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
        for (dimension, &code) in codes.iter().enumerate() {
            let (unit, within) = (dimension / UNIT, dimension % UNIT);
            let (half, byte) = (within / (UNIT / 2), unit * UNIT / 2 + within % (UNIT / 2));
            high[half][byte] = code;
            low[half][before + byte] = code;
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
            for (&code, x) in codes.iter().zip(&vector) {
                let back = f32::from(code) * scale;
                prop_assert!((back - x).abs() <= scale * 0.5001, "{x} became {back}");
                let high = (i32::from(code) + OFFSET) / HIGH_STEP * HIGH_STEP - HIGH_OFFSET;
                prop_assert!((i32::from(code) - high).abs() <= HIGH_STEP / 2);
            }
            let lengthened: f32 = codes.iter().map(|&code| {
                by_upper_half(i32::from(code)) as f32 * high_scale * f32::from(code) * scale
            }).sum();
            let length: f32 = codes.iter().map(|&code| (f32::from(code) * scale).powi(2)).sum();
            prop_assert!((lengthened - length).abs() <= length * 1e-3, "{lengthened} for {length}");
            prop_assert!(codes[vector.len()..].iter().all(|&code| code == 0));
        }
    }
}
