//! Searches with filters of all selectivities: recall and time, beside a search without and an exact pass
//! over the rows that are let through.
//!
//! Rows are sorted into topics by the nearest of some rows. A filter lets a share of the rows through: at random, those
//! of the topics nearest to the query (`correlated`), or those of the topics farthest from it (`anti-correlated`).

use std::time::Instant;

use gleaner::collection::definition::Metric;
use gleaner::rows::RowSet;
use gleaner::vector::{self, Effort, GraphPart, Query, Scored, VectorPart};
use rayon::prelude::*;

use crate::{K, good};

const SHARES: [f64; 4] = [0.5, 0.1, 0.01, 0.001];
const QUERIES: usize = 200;
const TOPICS: usize = 1000;
/// The default of a collection.
const EFFORT: Effort = Effort::Recall(0.95);
/// Searches without a filter, with it and exact passes are timed in turn so often; the fastest round of each counts. In
/// every other round the exact pass comes before the search: the second of them finds their rows in the caches.
const ROUNDS: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Random,
    Correlated,
    AntiCorrelated,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Random => "random",
            Kind::Correlated => "correlated",
            Kind::AntiCorrelated => "anti-correlated",
        }
    }
}

/// The topic of each row, and the rows that stand for topics.
struct Topics {
    of_row: Vec<usize>,
    centres: Vec<u32>,
}

impl Topics {
    fn new(part: &VectorPart, metric: Metric, values: &[f32]) -> Topics {
        let dimensions = part.dimensions();
        let centres: Vec<u32> =
            (0..TOPICS as u64).map(|topic| (topic * 7_919_000_003 % u64::from(part.rows())) as u32).collect();
        let nearest = |row: &[f32]| {
            let query = Query::new(metric, dimensions, row).unwrap();
            let near = by_nearness(part, metric, &query, &centres);
            near[0]
        };
        Topics { of_row: values.par_chunks_exact(dimensions as usize).map(nearest).collect(), centres }
    }

    /// All rows, those of the nearest topics first.
    fn by_nearness(&self, part: &VectorPart, metric: Metric, query: &Query) -> Vec<u32> {
        let mut place = [0; TOPICS];
        for (at, topic) in by_nearness(part, metric, query, &self.centres).into_iter().enumerate() {
            place[topic] = at;
        }
        let mut rows: Vec<u32> = (0..part.rows()).collect();
        rows.sort_by_key(|&row| place[self.of_row[row as usize]]);
        rows
    }
}

/// The places of `rows` in the order of their distance from the query.
fn by_nearness(part: &VectorPart, metric: Metric, query: &Query, rows: &[u32]) -> Vec<usize> {
    let scores = vector::score_rows(part, query, rows).unwrap();
    let farther = |&at: &usize| if metric == Metric::L2 { scores[at] } else { -scores[at] };
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by(|a, b| farther(a).total_cmp(&farther(b)));
    places
}

/// Microseconds of one search, on average.
fn time(queries: usize, search: &dyn Fn(usize) -> Vec<Scored>) -> f64 {
    let begun = Instant::now();
    (0..queries).for_each(|at| drop(std::hint::black_box(search(at))));
    begun.elapsed().as_secs_f64() * 1e6 / queries as f64
}

/// Prints a line for each share and kind of filter.
pub fn measure(
    part: &VectorPart,
    graph: &GraphPart,
    metric: Metric,
    values: &[f32],
    queries: &[&[f32]],
    json: bool,
) {
    let queries = &queries[..queries.len().min(QUERIES)];
    let prepare = |vector: &[f32]| Query::new(metric, part.dimensions(), vector).unwrap();
    let search = |at: usize, allowed: Option<&RowSet>| {
        vector::recall(part, Some(graph), &prepare(queries[at]), K, EFFORT, false, allowed).unwrap()
    };
    let topics = Topics::new(part, metric, values);
    let rows = part.rows();
    if !json {
        let columns = ["share", "filter", "recall", "µs", "without", "exact", "of the bound"];
        println!("{}", columns.map(|name| format!("{name:>15}")).join(" "));
    }
    for share in SHARES {
        let let_through = ((f64::from(rows) * share) as usize).max(K);
        for kind in [Kind::Random, Kind::Correlated, Kind::AntiCorrelated] {
            let filter = |vector: &&[f32]| {
                let query = &prepare(vector);
                let mut set = RowSet::empty(rows);
                match kind {
                    Kind::Random => (0..rows)
                        .filter(|&row| {
                            f64::from(row.wrapping_mul(2_654_435_769).swap_bytes()) < share * 2f64.powi(32)
                        })
                        .for_each(|row| set.insert(row)),
                    Kind::Correlated => topics.by_nearness(part, metric, query)[..let_through]
                        .iter()
                        .for_each(|&row| set.insert(row)),
                    Kind::AntiCorrelated => topics.by_nearness(part, metric, query)
                        [rows as usize - let_through..]
                        .iter()
                        .for_each(|&row| set.insert(row)),
                }
                set
            };
            let filters: Vec<RowSet> = queries.par_iter().map(filter).collect();
            let exact =
                |at: usize| vector::exact(part, &prepare(queries[at]), K, Some(&filters[at])).unwrap();
            let (mut found, mut wanted) = (0, 0);
            for (at, filter) in filters.iter().enumerate() {
                let nearest = exact(at);
                let worst = nearest.last().expect("rows are let through").raw;
                found += search(at, Some(filter)).iter().filter(|hit| good(metric, hit.raw, worst)).count();
                wanted += nearest.len();
            }
            let recall = found as f64 / wanted as f64;
            let mut fastest = [f64::INFINITY; 3];
            for round in 0..ROUNDS {
                let searches: [&dyn Fn(usize) -> Vec<Scored>; 3] =
                    [&|at| search(at, None), &|at| search(at, Some(&filters[at])), &exact];
                for at in if round % 2 == 0 { [0, 1, 2] } else { [0, 2, 1] } {
                    fastest[at] = fastest[at].min(time(queries.len(), searches[at]));
                }
            }
            let [without, filtered, exact] = fastest;
            let of_bound = filtered / exact.min(4.0 * without);
            if json {
                let line = serde_json::json!({
                    "filter": kind.name(),
                    "share": share,
                    "recall@10": recall,
                    "us": filtered,
                    "unfiltered_us": without,
                    "exact_us": exact,
                    "of_bound": of_bound,
                });
                println!("{line}");
            } else {
                println!(
                    "{share:>15} {:>15} {recall:>15.4} {filtered:>15.1} {without:>15.1} {exact:>15.1} {of_bound:>15.2}",
                    kind.name()
                );
            }
        }
    }
}
