//! A query to be compared with sketches.

use super::{CENTROIDS, HUGE, Model};
use crate::collection::definition::Metric;
use crate::vector::distance::{self, Tables};

/// Neighbours of a vector that is like no row are those rows whose errors are in their favour: they are this many
/// deviations above the others.
const LUCK: f32 = 2.0;

/// A query to be compared with sketches.
#[derive(Clone, Debug)]
pub struct SketchQuery {
    pub(in crate::vector) tables: Tables,
    /// The similarity that a sum of 0 stands for, and what it rises by with each step.
    least: f32,
    step: f32,
    knee: f32,
    slope: f32,
}

/// What errors of estimates are in proportion to, beside how far a row is from its centroids.
pub(super) fn reach(metric: Metric, vector: &[f32], centre: &[f32]) -> f32 {
    match metric {
        Metric::L2 => 2.0 * distance::l2_squared(vector, centre).sqrt(),
        Metric::Cosine | Metric::Dot => distance::dot(vector, vector).sqrt(),
    }
}

/// What similarities to a vector are in proportion to, so that what was learned from one helps another.
pub(super) fn unit(metric: Metric, vector: &[f32]) -> f32 {
    match metric {
        Metric::L2 => 1.0,
        Metric::Cosine | Metric::Dot => distance::dot(vector, vector).sqrt(),
    }
}

/// What the centroids of rows' codes say about similarities to a vector.
pub(super) struct Estimates {
    /// What all have in common.
    pub common: f32,
    /// For each quantiser what each centroid adds.
    pub tables: Vec<[f32; CENTROIDS]>,
    /// The squared length of what the vector has beside the axes.
    beside: f32,
}

impl Estimates {
    pub fn new(metric: Metric, model: &Model, vector: &[f32]) -> Estimates {
        match metric {
            Metric::L2 => {
                let moved: Vec<f32> = vector.iter().zip(model.centre).map(|(x, mean)| x - mean).collect();
                let (tables, beside) =
                    Estimates::by(model, &moved, |x, centroid| -(x - centroid) * (x - centroid));
                Estimates { common: -beside, tables, beside }
            }
            Metric::Cosine | Metric::Dot => {
                let (tables, beside) = Estimates::by(model, vector, |x, centroid| x * centroid);
                Estimates { common: distance::dot(vector, model.centre), tables, beside }
            }
        }
    }

    /// Tables of what a coordinate of a centroid adds for one of the vector, both coordinates together.
    fn by(model: &Model, vector: &[f32], add: impl Fn(f32, f32) -> f32) -> (Vec<[f32; CENTROIDS]>, f32) {
        let along = model.along_axes(vector);
        let beside = (distance::dot(vector, vector) - distance::dot(&along, &along)).max(0.0);
        let table = |([x, y], [xs, ys]): ([f32; 2], &[[f32; CENTROIDS]; 2])| {
            std::array::from_fn(|at| add(x, xs[at]) + add(y, ys[at]))
        };
        (model.pairs(&along).zip(model.centroids).map(table).collect(), beside)
    }

    /// The deviation of similarities to rows that are 1 away from their centroids if the vector is like no row: what it has
    /// beside the axes goes anywhere.
    fn elsewhere(&self, metric: Metric, dimensions: usize) -> f32 {
        let deviation = (self.beside / (dimensions - super::axes(dimensions)).max(1) as f32).sqrt();
        if metric == Metric::L2 { 2.0 * deviation } else { deviation }
    }
}

/// What being so far from its centroids takes from an estimate for a row.
pub(super) fn taken(metric: Metric, error: f32) -> f32 {
    match metric {
        Metric::L2 => error * error,
        Metric::Cosine | Metric::Dot => 0.0,
    }
}

/// The most that an error between two bounds may well add to an estimate.
fn most_added(metric: Metric, reach: f32, least: f32, most: f32) -> f32 {
    let error = match metric {
        // it adds less again where rows are farther from their centroids than the vector is
        Metric::L2 => (reach / 2.0).min(most).max(least),
        Metric::Cosine | Metric::Dot => most,
    };
    error * reach - taken(metric, error)
}

impl SketchQuery {
    /// Prepares `vector`. Similarities of rows may well be `deviations` standard deviations higher than estimated.
    /// Nothing where the vector is too long for that.
    pub fn new(metric: Metric, vector: &[f32], model: &Model, deviations: f32) -> Option<SketchQuery> {
        if distance::dot(vector, vector) > HUGE {
            return None;
        }
        let estimates = Estimates::new(metric, model, vector);
        let errors = model.errors;
        let usual = (errors.mean + deviations * errors.deviation) * reach(metric, vector, model.centre);
        let reach = usual.max((LUCK + deviations) * estimates.elsewhere(metric, vector.len()));
        let Estimates { common, mut tables, .. } = estimates;
        tables.push(std::array::from_fn(|code| {
            most_added(metric, reach, errors.bounds[code], errors.bounds[code + 1])
        }));
        let extreme = |table: &[f32; CENTROIDS]| {
            table.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &x| [low.min(x), high.max(x)])
        };
        let extremes: Vec<[f32; 2]> = tables.iter().map(extreme).collect();
        let range = extremes.iter().fold(0.0f32, |range, [low, high]| range.max(high - low));
        let step = (range / f32::from(Tables::MOST)).max(f32::MIN_POSITIVE);
        let entries = |(table, [low, _]): (&[f32; CENTROIDS], &[f32; 2])| {
            table.map(|value| ((value - low) / step + 0.5) as u8)
        };
        let entries = Tables::new(tables.iter().zip(&extremes).map(entries).collect());
        // of as many roundings
        let rounding = step * (tables.len() as f32 / 12.0).sqrt();
        let least = common + extremes.iter().map(|[low, _]| low).sum::<f32>() + deviations * rounding;
        let knee = errors.knee * unit(metric, vector);
        Some(SketchQuery { tables: entries, least, step, knee, slope: errors.slope })
    }

    /// One more than the least sum of a row whose similarity may well be as high as `similarity`.
    #[inline]
    pub fn bar(&self, similarity: f32) -> u16 {
        let over = (similarity - self.knee).max(0.0);
        let estimate = similarity - over * (1.0 - self.slope);
        (((estimate - self.least) / self.step) as u16).saturating_add(1)
    }
}
