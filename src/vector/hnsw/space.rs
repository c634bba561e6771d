//! Distances between the rows of a part, for building.

use crate::collection::definition::Metric;
use crate::store::Result;
use crate::vector::{VectorPart, distance};

/// All rows of a part, checked, with a distance that is never negative and never NaN.
///
/// For the inner product this is half the squared Euclidean distance of the rows extended by one
/// dimension that makes them equally long (Bachrach et al. 2014), in which the nearest row to an
/// extended query is the one with the largest inner product.
#[derive(Debug)]
pub struct Space<'a> {
    metric: Metric,
    dimensions: usize,
    values: &'a [f32],
    /// `dot` only: the squared length of the longest row, and the added coordinate of each row.
    longest: f32,
    extension: Vec<f32>,
}

impl<'a> Space<'a> {
    /// Checks every row of `part`.
    pub fn new(part: &'a VectorPart) -> Result<Space<'a>> {
        let (mut longest, mut extension) = (1.0, Vec::new());
        if part.metric() == Metric::Dot {
            longest = part.norms_squared()?.fold(0.0, f32::max);
            extension = part.norms_squared()?.map(|norm| (longest - norm).max(0.0).sqrt()).collect();
        }
        Ok(Space {
            metric: part.metric(),
            dimensions: part.dimensions() as usize,
            values: part.all_rows()?,
            longest,
            extension,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> u32 {
        (self.values.len() / self.dimensions) as u32
    }

    /// The values of `row`.
    pub fn row(&self, row: u32) -> &'a [f32] {
        &self.values[row as usize * self.dimensions..(row as usize + 1) * self.dimensions]
    }

    /// How far `b` is from `a`.
    pub fn distance(&self, a: u32, b: u32) -> f32 {
        let (x, y) = (self.row(a), self.row(b));
        let distance = match self.metric {
            Metric::Cosine => 1.0 - distance::dot(x, y),
            Metric::Dot => {
                let extension = self.extension[a as usize] * self.extension[b as usize];
                self.longest - distance::dot(x, y) - extension
            }
            Metric::L2 => distance::l2_squared(x, y),
        };
        distance.max(0.0) // and 0 for NaN
    }
}
