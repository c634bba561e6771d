//! Sketches against the rows that they stand for.

use half::f16;

use super::*;
use crate::vector::codes::Quantiser;
use crate::vector::fixture::{METRICS, Random};

/// Rows, and how they are sketched.
struct Sketched {
    metric: Metric,
    rows: Vec<Vec<f32>>,
    model: Vec<f32>,
    blocks: Vec<u8>,
}

impl Sketched {
    fn new(metric: Metric, rows: Vec<Vec<f32>>) -> Sketched {
        let (mut codes, mut quantiser) = (Vec::new(), Quantiser::default());
        let constants: Vec<_> = rows.iter().map(|row| quantiser.append(row, 1.0, &mut codes)).collect();
        let (model, blocks) = sketch(metric, rows[0].len(), &codes, &constants).unwrap();
        assert_eq!(model.len(), Model::len(rows[0].len()));
        assert_eq!(blocks.len(), rows.len().div_ceil(BLOCK) * block_bytes(rows[0].len()));
        Sketched { metric, rows, model, blocks }
    }

    fn similarity(&self, row: usize, query: &[f32]) -> f32 {
        match self.metric {
            Metric::L2 => -distance::l2_squared(&self.rows[row], query),
            Metric::Cosine | Metric::Dot => distance::dot(&self.rows[row], query),
        }
    }

    /// Which rows reach the similarity of the tenth for all that sketches say, and which do.
    fn reach(&self, query: &[f32], deviations: f32) -> (Vec<bool>, Vec<bool>) {
        let similarities: Vec<f32> = (0..self.rows.len()).map(|row| self.similarity(row, query)).collect();
        let mut ascending = similarities.clone();
        ascending.sort_by(f32::total_cmp);
        let bar = ascending[ascending.len() - 10];
        let model = Model::new(query.len(), &self.model);
        let query = SketchQuery::new(self.metric, query, &model, deviations).unwrap();
        let count = self.rows.len().div_ceil(BLOCK);
        let (mut of_rows, mut most) = (vec![[0; BLOCK]; count], vec![0; count]);
        distance::look_up(&self.blocks, &query.tables, &vec![u64::MAX; count], &mut of_rows, &mut most);
        let may = of_rows.as_flattened()[..self.rows.len()].iter().map(|&sum| sum >= query.bar(bar));
        (may.collect(), similarities.iter().map(|&similarity| similarity >= bar).collect())
    }
}

/// The share of neighbours that sketches would hide, and of rows that they leave.
fn missed_and_left(metric: Metric, dimensions: usize, mean: f32, deviations: f32) -> (f32, f32) {
    let mut random = Random::new(dimensions as u64);
    let centre = vec![mean; dimensions];
    let mut rows = random.clustered(4500, dimensions, 300);
    rows.iter_mut().for_each(|row| row.iter_mut().zip(&centre).for_each(|(x, mean)| *x += mean));
    let sketched = Sketched::new(metric, rows);
    let (mut missed, mut neighbours, mut left) = (0, 0, 0);
    for _ in 0..40 {
        let near = random.below(4500);
        let query = random.near(&sketched.rows[near], 0.5);
        let (may, does) = sketched.reach(&query, deviations);
        for (may, does) in may.into_iter().zip(does) {
            missed += usize::from(does && !may);
            neighbours += usize::from(does);
            left += usize::from(may);
        }
    }
    (missed as f32 / neighbours as f32, left as f32 / (40.0 * 4500.0))
}

#[test]
fn hardly_a_neighbour_is_hidden_and_most_rows_are_passed_over() {
    for metric in METRICS {
        for dimensions in [1, 3, 47, 50, 94, 100, 300] {
            for mean in [0.0, 0.7] {
                let (missed, left) = missed_and_left(metric, dimensions, mean, 2.6);
                assert!(missed <= 0.01, "{metric:?}, {dimensions} dimensions around {mean}: {missed} missed");
                assert!(left <= 0.3, "{metric:?}, {dimensions} dimensions around {mean}: {left} left");
            }
        }
    }
}

#[test]
fn fewer_deviations_pass_over_more_rows() {
    for metric in METRICS {
        let [sure, likely] = [2.6, 0.5].map(|deviations| missed_and_left(metric, 100, 0.3, deviations).1);
        assert!(likely < sure, "{metric:?}: {likely} and {sure}");
    }
}

#[test]
fn a_row_far_from_all_others_does_not_hide_how_they_lie() {
    let mut random = Random::new(10);
    let mut rows = random.clustered(4501, 100, 300);
    let sampled: std::collections::HashSet<usize> = (0..4096).map(|at| at * rows.len() / 4096).collect();
    let left = |rows: Vec<Vec<f32>>| {
        let (mut random, sketched) = (Random::new(11), Sketched::new(Metric::L2, rows));
        let left = (0..20).map(|at| {
            let query = random.near(&sketched.rows[at * 200 + 1], 0.5);
            sketched.reach(&query, 1.0).0.into_iter().filter(|&may| may).count()
        });
        left.sum::<usize>()
    };
    let without = left(rows.clone());
    let far = (0..rows.len()).rfind(|row| !sampled.contains(row)).unwrap();
    rows[far].iter_mut().for_each(|x| *x = 1000.0);
    let with = left(rows);
    assert!(with < without * 3 / 2, "{with} and {without}");
}

/// The bytes on disk, which later versions read: 16 values are 16 centroids.
#[test]
fn the_format_stays() {
    let rows: Vec<Vec<f32>> = (0..4096).map(|row| vec![1.0 + (row % 16) as f32]).collect();
    let sketched = Sketched::new(Metric::L2, rows);
    assert_eq!(sketched.blocks.len(), 4096);
    let (centre, axis, centroids) =
        (sketched.model[21], f16::from_bits(sketched.model[22].to_bits() as u16), &sketched.model[23..39]);
    assert_eq!((centre, axis.to_f32().abs()), (8.5, 1.0));
    for (row, value) in sketched.rows.iter().enumerate() {
        let (block, at) = (row / 64, row % 64);
        let code = sketched.blocks[64 * block + 2 * (at % 32) + at / 32] & 15;
        assert!((centroids[usize::from(code)] * axis.to_f32() + centre - value[0]).abs() < 1e-4, "row {row}");
    }
}

#[test]
fn few_rows_and_too_large_ones_are_not_sketched() {
    let sketches = |constants: RowConstants, rows: usize| {
        sketch(Metric::L2, 1, &vec![136; 64 * rows], &vec![constants; rows]).is_some()
    };
    assert!(sketches(RowConstants::default(), FEWEST));
    assert!(!sketches(RowConstants::default(), FEWEST - 1));
    assert!(!sketches(RowConstants { norm_squared: 2.0 * HUGE, ..RowConstants::default() }, FEWEST));
}

#[test]
fn sketches_do_not_depend_on_the_number_of_threads() {
    let mut random = Random::new(8);
    let rows = random.clustered(4200, 60, 30);
    let [one, three] = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let sketched = pool.install(|| Sketched::new(Metric::Dot, rows.clone()));
        (sketched.model.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), sketched.blocks)
    });
    assert!(one == three);
}

/// A damaged model under right checksums may say anything: rows are hidden or not, and that is all.
#[test]
fn a_model_of_any_values_is_no_panic() {
    let mut random = Random::new(9);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-45, 0.0];
    for metric in METRICS {
        for _ in 0..200 {
            let values: Vec<f32> = (0..Model::len(50))
                .map(|_| if random.below(20) == 0 { odd[random.below(odd.len())] } else { random.signed() })
                .collect();
            let query = SketchQuery::new(metric, &random.vector(50), &Model::new(50, &values), 1.0).unwrap();
            for similarity in odd {
                assert!(query.bar(similarity) > 0);
            }
        }
    }
}
