//! A query vector, prepared once: normalised where the metric asks for it, and quantised like a row.

use super::codes::{CodeQuery, HIGH_OFFSET, HIGH_STEP, OFFSET, RowConstants, quantise, unbiased_scale};
use super::distance::TileRow;
use super::row::Row;
use super::sketch::{Model, SketchQuery};
use super::{distance, unit_or_finite};
use crate::collection::definition::Metric;
use crate::error::{Code, Error, Result};

/// The largest code of a query.
const LARGEST: f32 = 127.0;

/// A prepared query.
///
/// All ordering inside the dense leg is by *similarity*, of which more is better: the inner product
/// for cosine and dot, minus the squared distance for l2. [`raw`](Self::raw) turns it into what users see.
#[derive(Clone, Debug)]
pub struct Query {
    metric: Metric,
    dimensions: u32,
    /// Padded with zeros to whole units of codes.
    vector: Vec<f32>,
    codes: CodeQuery,
    /// The same with an offset of 128, whole groups of four.
    offset_codes: Vec<u8>,
    scale: f32,
    /// Sum of the codes: times a row's offset, what that adds to a product.
    sum: i32,
    norm_squared: f32,
}

/// What turns products of codes into similarities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranking {
    step: i32,
    offset: i32,
    scale: f32,
    norm_weight: f32,
    constant: f32,
}

impl Ranking {
    /// Approximate similarity to a row whose codes have this product with the query's.
    #[inline]
    pub fn similarity(&self, product: i32, constants: &RowConstants) -> f32 {
        let product = (self.step * product - self.offset) as f32;
        let scale = if self.step == 1 { constants.scale } else { constants.high_scale };
        product * (self.scale * scale) - self.norm_weight * constants.norm_squared - self.constant
    }
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
        let mut codes = Vec::new();
        let step = quantise(&vector, LARGEST, &mut codes);
        let scale = unbiased_scale(&vector, step, LARGEST, &codes);
        let sum = codes.iter().map(|&code| i32::from(code)).sum();
        let mut offset_codes: Vec<u8> = codes.iter().map(|&code| code as u8 ^ 128).collect();
        offset_codes.resize(codes.len().next_multiple_of(4), 128);
        let codes = CodeQuery::new(&codes);
        vector.resize(codes.stride, 0.0);
        Ok(Query { metric, dimensions, vector, codes, offset_codes, scale, sum, norm_squared })
    }

    /// The metric it was prepared for.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Length of the vector.
    pub fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Exact similarity to a row as it is stored.
    #[inline]
    pub(super) fn similarity(&self, row: Row<'_>) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => row.dot(&self.vector),
            Metric::L2 => -row.l2_squared(&self.vector),
        }
    }

    /// The query's codes.
    pub(super) fn codes(&self) -> &CodeQuery {
        &self.codes
    }

    /// Approximate similarity to a row's codes.
    #[inline]
    pub(super) fn code_similarity(&self, codes: &[u8], constants: &RowConstants) -> f32 {
        self.whole_ranking().similarity(distance::dot_both(codes, &self.codes), constants)
    }

    /// Similarities from products of rows' codes with the query's.
    #[inline]
    pub(super) fn whole_ranking(&self) -> Ranking {
        self.ranking(1, OFFSET)
    }

    /// Rougher similarities from products of the upper halves of rows' codes with the query's.
    #[inline]
    pub(super) fn high_ranking(&self) -> Ranking {
        self.ranking(HIGH_STEP, HIGH_OFFSET)
    }

    fn ranking(&self, step: i32, offset: i32) -> Ranking {
        let offset = offset * self.sum;
        match self.metric {
            Metric::Cosine | Metric::Dot => {
                Ranking { step, offset, scale: self.scale, norm_weight: 0.0, constant: 0.0 }
            }
            Metric::L2 => {
                let (scale, constant) = (2.0 * self.scale, self.norm_squared);
                Ranking { step, offset, scale, norm_weight: 1.0, constant }
            }
        }
    }

    /// How far [`code_similarity`](Self::code_similarity) to a row may well be from the exact one.
    #[inline]
    pub(super) fn code_error(&self, constants: &RowConstants) -> f32 {
        self.rounding_error(constants.scale, constants)
    }

    /// How far a similarity by [`high_ranking`](Self::high_ranking) may well be from the exact one.
    #[inline]
    pub(super) fn high_error(&self, constants: &RowConstants) -> f32 {
        self.rounding_error(HIGH_STEP as f32 * constants.scale, constants)
    }

    /// Three standard deviations of what rounding a row to whole steps does to the similarity.
    fn rounding_error(&self, step: f32, constants: &RowConstants) -> f32 {
        let of_row = step * step * self.norm_squared;
        let of_query = self.scale * self.scale * constants.norm_squared;
        let deviation = ((of_row + of_query) / 12.0).sqrt();
        3.0 * if self.metric == Metric::L2 { 2.0 * deviation } else { deviation }
    }

    /// The query for comparing with sketches, if it can be.
    pub(super) fn sketch(&self, model: &Model, deviations: f32) -> Option<SketchQuery> {
        SketchQuery::new(self.metric, &self.vector[..self.dimensions as usize], model, deviations)
    }

    /// The query as the side of a tile that asks for everything nearer than `below`.
    pub(super) fn tile_row(&self, below: f32) -> TileRow<'_> {
        let codes = &self.offset_codes;
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
