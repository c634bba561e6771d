//! A query vector, prepared once: normalised where the metric asks for it, and quantised like a row.

use super::part::{CODE_ZERO, RowConstants, code_stride, quantise};
use super::distance::TileRow;
use super::{distance, unit_or_finite};
use crate::collection::definition::Metric;
use crate::error::{Code, Error, Result};

/// A prepared query.
///
/// All ordering inside the dense leg is by *similarity*, of which more is better: the inner product
/// for cosine and dot, minus the squared distance for l2. [`raw`](Self::raw) turns it into what users see.
#[derive(Clone, Debug)]
pub struct Query {
    metric: Metric,
    vector: Vec<f32>,
    /// Signed codes, padded with zeros to a row's stride (so that a row's padding never counts).
    codes: Vec<i8>,
    /// The same with the offset of a row's codes.
    offset_codes: Vec<u8>,
    scale: f32,
    /// What a row's codes being offset by [`CODE_ZERO`] adds to the product.
    offset: i32,
    norm_squared: f32,
}

impl Query {
    /// Prepares `vector`. `invalid_vector` where its length is not `dimensions`, a value is not finite
    /// or too large, or (cosine) it has no direction.
    pub fn new(metric: Metric, dimensions: u32, vector: &[f32]) -> Result<Query> {
        if vector.len() != dimensions as usize {
            let message =
                format!("the query vector has {} dimensions, the collection {dimensions}", vector.len());
            return Err(Error::new(Code::InvalidVector, message));
        }
        let mut vector = vector.to_vec();
        let norm_squared = unit_or_finite(metric, &mut vector)?;
        let mut offset_codes = vec![CODE_ZERO; code_stride(vector.len())];
        let scale = quantise(&vector, &mut offset_codes);
        let codes: Vec<i8> = offset_codes.iter().map(|code| (code ^ CODE_ZERO) as i8).collect();
        let offset = codes.iter().map(|&code| i32::from(code)).sum::<i32>() * i32::from(CODE_ZERO);
        Ok(Query { metric, vector, codes, offset_codes, scale, offset, norm_squared })
    }

    /// The metric it was prepared for.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Length of the vector.
    pub fn dimensions(&self) -> u32 {
        self.vector.len() as u32
    }

    /// Exact similarity to a full-precision row.
    #[inline]
    pub(super) fn similarity(&self, row: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => distance::dot(&self.vector, row),
            Metric::L2 => -distance::l2_squared(&self.vector, row),
        }
    }

    /// Approximate similarity to a row's codes.
    #[inline]
    pub(super) fn code_similarity(&self, codes: &[u8], constants: &RowConstants) -> f32 {
        self.product_similarity(distance::dot_codes(codes, &self.codes), constants)
    }

    /// The query's codes, as long as a row's.
    pub(super) fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// Approximate similarity to a row whose codes have this inner product with the query's.
    #[inline]
    pub(super) fn product_similarity(&self, product: i32, constants: &RowConstants) -> f32 {
        let dot = (product - self.offset) as f32 * (self.scale * constants.scale);
        match self.metric {
            Metric::Cosine | Metric::Dot => dot,
            Metric::L2 => 2.0 * dot - constants.norm_squared - self.norm_squared,
        }
    }

    /// How far [`code_similarity`](Self::code_similarity) to a row may well be from the exact one: three standard deviations
    /// of what rounding to whole steps does to an inner product.
    #[inline]
    pub(super) fn code_error(&self, constants: &RowConstants) -> f32 {
        let of_row = constants.scale * constants.scale * self.norm_squared;
        let of_query = self.scale * self.scale * constants.norm_squared;
        let deviation = ((of_row + of_query) / 12.0).sqrt();
        3.0 * if self.metric == Metric::L2 { 2.0 * deviation } else { deviation }
    }

    /// The query as the side of a tile that asks for everything nearer than `below`.
    pub(super) fn tile_row(&self, below: f32) -> TileRow<'_> {
        let codes = &self.offset_codes[..self.vector.len().next_multiple_of(4)];
        TileRow { codes, scale: -2.0 * self.scale, base: self.norm_squared, extension: 0.0, below }
    }

    /// The score users see: cosine, inner product, or Euclidean distance.
    #[inline]
    pub fn raw(&self, similarity: f32) -> f32 {
        match self.metric {
            Metric::Cosine => similarity.clamp(-1.0, 1.0),
            Metric::Dot => similarity,
            Metric::L2 => (-similarity).max(0.0).sqrt(),
        }
    }
}
