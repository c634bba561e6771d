//! Graphs made from that of a segment that was merged, beside those built from nothing.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::{Ancestor, Effort, Graph, GraphParameters, GraphPart, build, search};
use crate::collection::definition::{Builder, Metric};
use crate::rows::RowSet;
use crate::store::{PartFile, PartKind};
use crate::vector::fixture::{METRICS, Random, frozen, graph, open_graph, part};
use crate::vector::{Query, VectorPart, exact};

const PARAMETERS: GraphParameters = GraphParameters { m: 16, ef_construction: 100 };

/// A segment before a merge.
struct Input {
    vectors: Vec<Vec<f32>>,
    alive: RowSet,
}

impl Input {
    fn new(vectors: &[Vec<f32>], alive: RowSet) -> Input {
        Input { vectors: vectors.to_vec(), alive }
    }

    fn whole(vectors: &[Vec<f32>]) -> Input {
        Input::new(vectors, RowSet::full(vectors.len() as u32))
    }
}

/// Files of the graph of one input and of the merged rows.
struct Merge {
    dir: tempfile::TempDir,
    part: VectorPart,
    ancestor: Ancestor,
}

impl Merge {
    /// Merges `inputs`, of which `largest` has a graph.
    fn new(metric: Metric, inputs: &[Input], largest: usize) -> Merge {
        let dir = tempfile::tempdir().unwrap();
        let older = dir.path().join("older");
        std::fs::create_dir(&older).unwrap();
        let file = frozen(&older, &graph(&part(&older, metric, &inputs[largest].vectors)));
        let older = open_graph(&file, inputs[largest].vectors.len() as u32);
        let copied = |input: &Input| {
            input.alive.iter().map(|row| input.vectors[row as usize].clone()).collect::<Vec<_>>()
        };
        let base = inputs[..largest].iter().map(|input| input.alive.len()).sum();
        let vectors: Vec<Vec<f32>> = inputs.iter().flat_map(copied).collect();
        let part = part(dir.path(), metric, &vectors);
        let ancestor = Ancestor::new(Arc::new(older)).moved(&inputs[largest].alive, base);
        Merge { dir, part, ancestor }
    }

    fn grown(&self) -> Graph {
        self.built(Builder::Native, PARAMETERS)
    }

    fn built(&self, builder: Builder, parameters: GraphParameters) -> Graph {
        let cancel = AtomicBool::new(false);
        build(&self.part, builder, parameters, Some(&self.ancestor), &cancel).unwrap().unwrap()
    }

    fn fresh(&self) -> Graph {
        graph(&self.part)
    }

    fn frozen(&self, graph: &Graph) -> PathBuf {
        frozen(self.dir.path(), graph)
    }

    fn bytes(&self, graph: &Graph) -> Vec<u8> {
        std::fs::read(self.frozen(graph)).unwrap()
    }
}

/// The share of the ten nearest rows that walks find; rows as good as the tenth count.
fn recall(part: &VectorPart, graph: &GraphPart, queries: &[Query], effort: Effort) -> f64 {
    let share = |query: &Query| {
        let want = exact(part, query, 10, None).unwrap();
        let rows: HashSet<u32> = want.iter().map(|hit| hit.row).collect();
        let tenth = want.last().unwrap().raw;
        let found = search(part, graph, query, 10, effort, None).unwrap();
        let good = found.iter().filter(|hit| rows.contains(&hit.row) || (hit.raw - tenth).abs() <= 1e-6);
        good.count() as f64 / want.len() as f64
    };
    queries.iter().map(share).sum::<f64>() / queries.len() as f64
}

/// Queries near some of `vectors`.
fn queries(metric: Metric, vectors: &[Vec<f32>], random: &mut Random) -> Vec<Query> {
    let query = |_| {
        let at = random.below(vectors.len());
        Query::new(metric, vectors[at].len() as u32, &random.near(&vectors[at], 0.3)).unwrap()
    };
    (0..200).map(query).collect()
}

/// No more links than there may be, none twice, none to the row itself; every row can be reached.
fn assert_sound(graph: &Graph, rows: u32) {
    assert_eq!((graph.rows(), graph.reachable()), (rows, rows));
    for row in 0..rows {
        let links = graph.links.of(row);
        let distinct: HashSet<u32> = links.iter().copied().collect();
        assert!(links.len() == distinct.len() && !distinct.contains(&row), "{row}: {links:?}");
        assert!(distinct.iter().all(|&to| to < rows));
    }
}

#[test]
fn a_grown_graph_finds_as_much_as_one_from_nothing() {
    let mut random = Random::new(31);
    let clustered = random.clustered(4000, 24, 40);
    let spread: Vec<Vec<f32>> = (0..4000).map(|_| random.vector(24)).collect();
    let (mut equal, mut nearly) = (clustered.clone(), clustered.clone());
    for row in 0..800 {
        equal[row * 5] = clustered[row % 60].clone();
        nearly[row * 5] = random.near(&clustered[row % 60], 1e-5);
    }
    let mut elsewhere = clustered[..3000].to_vec(); // the smaller segment is about something else
    elsewhere.extend(random.clustered(1000, 24, 5).into_iter().map(|v| v.iter().map(|x| x + 3.0).collect()));
    for (name, vectors) in [
        ("clustered", clustered),
        ("spread", spread),
        ("equal", equal),
        ("nearly equal", nearly),
        ("elsewhere", elsewhere),
    ] {
        for metric in METRICS {
            let (large, small) = vectors.split_at(3000);
            let inputs = [
                Input::whole(&small[..400]),
                Input::new(large, random.rows(3000, 0.85)),
                Input::whole(&small[400..]),
            ];
            let merge = Merge::new(metric, &inputs, 1);
            let (grown, fresh) = (merge.grown(), merge.fresh());
            let rows = merge.part.rows();
            assert_sound(&grown, rows);
            assert!(grown.reused > 2000, "{name} {metric:?}: {} rows were reused", grown.reused);
            let queries = queries(metric, &vectors, &mut random);
            let grown = open_graph(&merge.frozen(&grown), rows);
            let fresh = open_graph(&merge.frozen(&fresh), rows);
            // by halves and by whole codes, the same `ef` is not the same
            let alike = grown.calibration().precision == fresh.calibration().precision;
            for ef in [10, 20, 50].into_iter().filter(|_| alike) {
                let of = |graph| recall(&merge.part, graph, &queries, Effort::Ef(ef));
                let (grown, fresh) = (of(&grown), of(&fresh));
                assert!(grown >= fresh - 0.01, "{name} {metric:?} ef {ef}: {grown}, from nothing {fresh}");
            }
            let reached = recall(&merge.part, &grown, &queries, Effort::Recall(0.95));
            assert!(reached >= 0.94, "{name} {metric:?}: {reached} of .95");
        }
    }
}

#[test]
fn many_merges_one_after_the_other_cost_no_recall() {
    let mut random = Random::new(32);
    let vectors = random.clustered(6000, 24, 50);
    let queries = queries(Metric::Cosine, &vectors, &mut random);
    let dir = tempfile::tempdir().unwrap();
    let mut grown = graph(&part(dir.path(), Metric::Cosine, &vectors[..1000]));
    let mut rows = 1000;
    let mut merged = None;
    while rows < 6000 {
        let more = rows + rows / 4;
        let older = Arc::new(open_graph(&frozen(dir.path(), &grown), rows as u32));
        rows = more.min(6000);
        let part = part(dir.path(), Metric::Cosine, &vectors[..rows]);
        let ancestor = Ancestor::new(older);
        let built = build(&part, Builder::Native, PARAMETERS, Some(&ancestor), &AtomicBool::new(false));
        grown = built.unwrap().unwrap();
        assert!(grown.reused > 0);
        merged = Some(part);
    }
    let part = merged.unwrap();
    assert_sound(&grown, 6000);
    let fresh = open_graph(&frozen(dir.path(), &graph(&part)), 6000);
    let grown = open_graph(&frozen(dir.path(), &grown), 6000);
    for ef in [10, 20, 50] {
        let of = |graph| recall(&part, graph, &queries, Effort::Ef(ef));
        let (grown, fresh) = (of(&grown), of(&fresh));
        assert!(grown >= fresh - 0.01, "ef {ef}: {grown}, from nothing {fresh}");
    }
}

#[test]
fn the_ancestor_follows_its_rows_from_merge_to_merge() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random::new(33).clustered(10, 8, 2);
    let file = frozen(dir.path(), &graph(&part(dir.path(), Metric::L2, &vectors)));
    let mut kept = RowSet::full(10);
    kept.and_not(&RowSet::from_bitmap(&[2, 3].into_iter().collect(), 10));
    let first = Ancestor::new(Arc::new(open_graph(&file, 10))).moved(&kept, 5); // rows 5..13 of, say, 15
    let mut kept = RowSet::full(15);
    kept.and_not(&RowSet::from_bitmap(&[0, 5, 14].into_iter().collect(), 15));
    let second = first.moved(&kept, 100);
    let places: Vec<(u32, u32)> = second.placed().collect();
    assert_eq!(places, [(1, 105 - 1), (4, 106 - 1), (5, 106), (6, 107), (7, 108), (8, 109), (9, 110)]);
    assert_eq!((first.rows(), second.rows()), (8, 7));
}

#[test]
fn a_graph_that_is_too_small_or_has_too_many_holes_is_not_reused() {
    let mut random = Random::new(34);
    let vectors = random.clustered(2000, 8, 9);
    let mut of = |large: usize, alive: f64| {
        let (a, b) = vectors.split_at(large);
        let alive = random.rows(large as u32, alive);
        Merge::new(Metric::L2, &[Input::new(a, alive), Input::whole(b)], 0)
    };
    for (large, alive, reused) in [(1500, 1.0, true), (900, 1.0, false), (1900, 0.6, false)] {
        let merge = of(large, alive);
        let grown = merge.grown();
        assert_eq!(grown.reused > 0, reused, "{large} {alive}");
        if !reused {
            assert!(merge.bytes(&grown) == merge.bytes(&merge.fresh()), "{large} {alive}");
        }
    }
    let merge = of(1500, 1.0);
    assert_eq!(merge.built(Builder::Native, GraphParameters { m: 12, ..PARAMETERS }).reused, 0);
    assert_eq!(merge.built(Builder::HnswRs, PARAMETERS).reused, 0);
}

#[test]
fn growing_is_the_same_on_any_number_of_threads() {
    let mut random = Random::new(36);
    let vectors = random.clustered(3000, 20, 9);
    let (large, small) = vectors.split_at(2400);
    let inputs = [Input::new(large, random.rows(2400, 0.9)), Input::whole(small)];
    let merge = Merge::new(Metric::Dot, &inputs, 0);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        merge.bytes(&pool.install(|| merge.grown()))
    };
    assert!(with(1) == with(3));
}

#[test]
fn a_cancelled_merge_gives_no_graph() {
    let vectors = Random::new(37).clustered(1000, 8, 5);
    let (large, small) = vectors.split_at(999);
    let merge = Merge::new(Metric::L2, &[Input::whole(large), Input::whole(small)], 0);
    let cancel = AtomicBool::new(true);
    let built = build(&merge.part, Builder::Native, PARAMETERS, Some(&merge.ancestor), &cancel);
    assert!(built.unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Any sizes, deletions and duplicates, within an input and between inputs.
    #[test]
    fn every_row_of_a_merge_is_linked_and_found(
        seed in any::<u64>(),
        sizes in prop::collection::vec(0usize..500, 1..4),
        alive in prop::sample::select(vec![1.0, 0.95, 0.8, 0.5]),
        copies in prop::sample::select(vec![0usize, 5, 60]),
        metric in prop::sample::select(METRICS.to_vec()),
    ) {
        let mut random = Random::new(seed);
        let few: Vec<Vec<f32>> = (0..3).map(|_| random.vector(12)).collect();
        let inputs: Vec<Input> = sizes
            .iter()
            .map(|&size| {
                let mut vectors = random.clustered(size, 12, 6);
                for vector in &mut vectors {
                    if random.below(100) < copies {
                        *vector = few[random.below(3)].clone();
                    }
                }
                Input::new(&vectors, random.rows(size as u32, alive))
            })
            .collect();
        let largest = (0..inputs.len()).max_by_key(|&at| inputs[at].alive.len()).unwrap();
        if inputs[largest].vectors.is_empty() || inputs[largest].alive.is_empty() {
            return Ok(());
        }
        let merge = Merge::new(metric, &inputs, largest);
        let rows = merge.part.rows();
        let grown = merge.grown();
        assert_sound(&grown, rows);
        prop_assert_eq!(grown.reused > 0, merge.ancestor.is_worth_it(rows));
        let grown = open_graph(&merge.frozen(&grown), rows);
        prop_assert_eq!(grown.reachable().unwrap(), rows);
        let queries: Vec<Query> =
            (0..100).map(|_| Query::new(metric, 12, &random.vector(12)).unwrap()).collect();
        let found = recall(&merge.part, &grown, &queries, Effort::Ef(100));
        prop_assert!(found >= 0.95, "{found}");
    }
}

/// It is found when the graph is opened, or when it is reused.
#[test]
fn damage_of_the_older_graph_never_shows() {
    let mut random = Random::new(38);
    let vectors = random.clustered(1000, 8, 5);
    let (large, small) = vectors.split_at(800);
    let merge = Merge::new(Metric::L2, &[Input::whole(large), Input::whole(small)], 0);
    let (grown, fresh) = (merge.grown(), merge.bytes(&merge.fresh()));
    assert_eq!(grown.reused, 800);
    let grown = merge.bytes(&grown);
    let path = merge.dir.path().join("older/rows.graph");
    let good = std::fs::read(&path).unwrap();
    let mut noticed = 0;
    for _ in 0..60 {
        let mut bad = good.clone();
        bad[random.below(good.len())] ^= 1 << random.below(8);
        let path = merge.dir.path().join("bad.graph");
        std::fs::write(&path, &bad).unwrap();
        let opened = PartFile::open(&path, PartKind::Graph).and_then(|file| GraphPart::open(file, 800));
        let Ok(older) = opened else { continue };
        let ancestor = Ancestor::new(Arc::new(older));
        let built = build(&merge.part, Builder::Native, PARAMETERS, Some(&ancestor), &AtomicBool::new(false));
        let built = built.unwrap().unwrap();
        let reused = built.reused > 0;
        noticed += usize::from(!reused);
        assert!(merge.bytes(&built) == if reused { grown.as_slice() } else { fresh.as_slice() });
    }
    assert!(noticed > 10, "{noticed}");
}
