//! Distances between the rows of a part, for building: squared Euclidean distances of their codes.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::collection::definition::Metric;
use crate::store::Result;
use crate::vector::VectorPart;
use crate::vector::codes::{RowConstants, code_stride, decode};
use crate::vector::distance::{self, TileRow};
use crate::vector::row::{Row, Rows};

/// All rows of a part, checked, with a distance that is never negative and never NaN.
///
/// The distance of `a` and `b` is `|a|² + |b|² − 2·a·b`, with the product of their 8-bit codes. The order of
/// its operations is the same wherever it is computed, so that the same pair has the same distance bit for
/// bit on every processor.
///
/// For the inner product it is the distance of the rows extended by one dimension that makes them equally
/// long (Bachrach et al. 2014), in which the nearest row to an extended query is the one with the largest
/// inner product.
#[derive(Debug)]
pub struct Space<'a> {
    rows: u32,
    dimensions: usize,
    groups: usize,
    /// One byte a dimension with an offset of 128, whole groups of four. After those of the rows, as many zeros.
    codes: Vec<u8>,
    stored: Rows<'a>,
    row_len: usize,
    factors: Vec<Factors>,
}

/// What turns products of codes into distances.
#[derive(Clone, Copy, Debug)]
struct Factors {
    scale: f32,
    /// The squared length; of the extended row for the inner product.
    base: f32,
    /// The added coordinate; 0 but for the inner product.
    extension: f32,
    /// 128 times the sum of the signed codes: what the offset of the other row's codes adds to a product.
    bias: i32,
}

/// A row with its codes made signed, to be compared with many others one by one.
#[derive(Debug, Default)]
pub struct Signed {
    row: u32,
    codes: Vec<i8>,
}

impl<'a> Space<'a> {
    /// Checks every row of `part`.
    pub fn new(part: &'a VectorPart) -> Result<Space<'a>> {
        let dimensions = part.dimensions() as usize;
        let (planes, constants) = part.all_codes()?;
        let longest = constants.iter().map(|constants| constants.norm_squared).fold(0.0, f32::max);
        let groups = dimensions.div_ceil(4);
        let mut codes = vec![128; groups * 4 * (part.rows() as usize + 1)];
        let planes = planes.par_chunks_exact(code_stride(dimensions));
        let factors = |((codes, planes), constants): ((&mut [u8], &[u8]), &RowConstants)| {
            let (mut places, mut sum) = (codes.iter_mut(), 0);
            decode(planes, |code| {
                sum += i32::from(code);
                if let Some(place) = places.next() {
                    *place = code as u8 ^ 128;
                }
            });
            let norm = constants.norm_squared;
            let (base, extension) = match part.metric() {
                Metric::Cosine | Metric::L2 => (norm, 0.0),
                Metric::Dot => (longest, (longest - norm).max(0.0).sqrt()),
            };
            Factors { scale: constants.scale, base, extension, bias: 128 * sum }
        };
        let factors =
            codes.par_chunks_exact_mut(groups * 4).zip(planes).zip(constants).map(factors).collect();
        let (stored, row_len) = (part.all_rows()?, part.row_len());
        Ok(Space { rows: part.rows(), dimensions, groups, codes, stored, row_len, factors })
    }

    /// How many rows there are.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// `row` as it is stored.
    pub(super) fn row(&self, row: u32) -> Row<'a> {
        self.stored.row(row, self.row_len)
    }

    /// The values of all rows, one after the other: as they lie in the map, or as many decoded ones.
    pub(super) fn values(&self) -> Cow<'a, [f32]> {
        match self.stored {
            Rows::Float32(values) => Cow::Borrowed(values),
            _ => (0..self.rows).flat_map(|row| self.row(row).values(self.dimensions).into_owned()).collect(),
        }
    }

    /// The codes of `row`, padded to whole groups of four.
    pub(super) fn codes(&self, row: u32) -> &[u8] {
        let len = self.groups * 4;
        &self.codes[row as usize * len..(row as usize + 1) * len]
    }

    /// The codes of no row: zeros.
    pub(super) fn no_codes(&self) -> &[u8] {
        self.codes(self.rows)
    }

    /// Groups of four dimensions in a panel.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// The words of `row` at the head of a panel: scale, base, extension and bias.
    pub(super) fn panel_header(&self, row: u32) -> [i32; 4] {
        let factors = self.factors[row as usize];
        let bits = |x: f32| x.to_bits() as i32;
        [bits(factors.scale), bits(factors.base), bits(factors.extension), factors.bias]
    }

    /// `row` as the side of a tile that asks for everything nearer than `below`.
    pub(super) fn tile_row(&self, row: u32, below: f32) -> TileRow<'_> {
        let Factors { scale, base, extension, .. } = self.factors[row as usize];
        TileRow { codes: self.codes(row), scale: -2.0 * scale, base, extension: -2.0 * extension, below }
    }

    /// Prepares `row` for [`distance_to`](Self::distance_to).
    pub(super) fn sign(&self, row: u32, signed: &mut Signed) {
        signed.row = row;
        signed.codes.clear();
        signed.codes.extend(self.codes(row).iter().map(|&code| (code ^ 128) as i8));
    }

    /// How far `to` is from a prepared row.
    pub(super) fn distance_to(&self, from: &Signed, to: u32) -> f32 {
        let (a, b) = (self.factors[from.row as usize], self.factors[to as usize]);
        let product = distance::dot_codes(self.codes(to), &from.codes) - a.bias;
        let distance = (a.base + b.base)
            + ((-2.0 * a.scale) * b.scale) * product as f32
            + (-2.0 * a.extension) * b.extension;
        distance.max(0.0) // and 0 for NaN
    }

    /// Asks the processor to load the codes of `row`.
    pub(super) fn prefetch(&self, row: u32) {
        distance::prefetch(self.codes(row));
    }

    /// How far `b` is from `a`, by their [`values`](Self::values).
    pub(super) fn distance(&self, values: &[f32], a: u32, b: u32) -> f32 {
        let extension = self.factors[a as usize].extension - self.factors[b as usize].extension;
        let row = |row: u32| &values[row as usize * self.dimensions..(row as usize + 1) * self.dimensions];
        distance::l2_squared(row(a), row(b)) + extension * extension
    }
}
