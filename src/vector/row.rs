//! A row as it is stored: in single or half precision, or as its codes.
//!
//! This is the seam between the types a collection can store its vectors in and everything that scores rows: a row is
//! handed on as it lies in the map, and only its kernels know its type.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::codes::{RowConstants, decode};
use super::distance;
use crate::error::{Code, Error};

/// A stored row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// Values in single precision.
    Float32(&'a [f32]),
    /// Values in half precision (IEEE 754 binary16).
    Float16(&'a [u16]),
    /// Codes in two planes, and what one step of them is worth.
    Int8(&'a [u8], f32),
}

impl<'a> Row<'a> {
    /// Inner product with a vector that is padded with zeros to whole units of codes.
    #[inline]
    pub(super) fn dot(self, padded: &[f32]) -> f32 {
        match self {
            Row::Float32(values) => distance::dot(&padded[..values.len()], values),
            Row::Float16(values) => distance::dot_f16(&padded[..values.len()], values),
            Row::Int8(codes, scale) => scale * distance::dot_int8(padded, codes),
        }
    }

    /// Squared distance to a vector that is padded with zeros to whole units of codes.
    #[inline]
    pub(super) fn l2_squared(self, padded: &[f32]) -> f32 {
        match self {
            Row::Float32(values) => distance::l2_squared(&padded[..values.len()], values),
            Row::Float16(values) => distance::l2_squared_f16(&padded[..values.len()], values),
            Row::Int8(codes, scale) => distance::l2_squared_int8(padded, codes, scale),
        }
    }

    /// Its first `dimensions` values, all that a row has but for the padding of its codes.
    pub(super) fn values(self, dimensions: usize) -> Cow<'a, [f32]> {
        match self {
            Row::Float32(values) => Cow::Borrowed(values),
            Row::Float16(values) => Cow::Owned(from_halves(values)),
            Row::Int8(codes, scale) => {
                let mut values = Vec::with_capacity(codes.len());
                decode(codes, |code| values.push(scale * f32::from(code)));
                values.truncate(dimensions);
                Cow::Owned(values)
            }
        }
    }

    /// What tells it from other rows of its part: two rows are equal where these are.
    pub(super) fn identity(self) -> (&'a [u8], u32) {
        match self {
            Row::Float32(values) => (bytemuck::cast_slice(values), 0),
            Row::Float16(values) => (bytemuck::cast_slice(values), 0),
            Row::Int8(codes, scale) => (codes, scale.to_bits()),
        }
    }
}

/// All rows of a part, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'a> {
    Float32(&'a [f32]),
    Float16(&'a [u16]),
    Int8(&'a [u8], &'a [RowConstants]),
}

impl<'a> Rows<'a> {
    /// Row `at`, of `len` values or bytes of codes. `at` is below the part's rows.
    pub fn row(self, at: u32, len: usize) -> Row<'a> {
        let range = at as usize * len..(at as usize + 1) * len;
        match self {
            Rows::Float32(values) => Row::Float32(&values[range]),
            Rows::Float16(values) => Row::Float16(&values[range]),
            Rows::Int8(codes, constants) => Row::Int8(&codes[range], constants[at as usize].scale),
        }
    }
}

fn from_halves(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect()
}

/// The values of `vector` in half precision, as bits. `invalid_vector` where one is too large for it.
pub(super) fn to_halves(vector: &[f32]) -> crate::Result<Vec<u16>> {
    let mut halves = vec![f16::ZERO; vector.len()];
    halves.convert_from_f32_slice(vector);
    match halves.iter().position(|half| !half.is_finite()) {
        None => Ok(halves.into_iter().map(f16::to_bits).collect()),
        Some(at) => {
            let message = format!("the vector's number {at} is {}: float16 holds at most 65504", vector[at]);
            Err(Error::new(Code::InvalidVector, message))
        }
    }
}
