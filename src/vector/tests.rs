//! The dense leg as a whole, against a plain search in f64.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use super::fixture::{BUILDERS, METRICS, Random, built_by, frozen, graph, open, open_graph, part, write};
use super::*;
use crate::collection::definition::Builder;
use crate::error::Code;
use crate::store::{OsDisk, PartFile, PartKind, PartWriter, StoreError};

/// Raw scores of all vectors in f64, best first.
fn oracle(metric: Metric, vectors: &[Vec<f32>], query: &[f32]) -> Vec<(u32, f64)> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let score = |vector: &Vec<f32>| match metric {
        Metric::Cosine => dot(vector, query) / (dot(vector, vector) * dot(query, query)).sqrt(),
        Metric::Dot => dot(vector, query),
        Metric::L2 => vector.iter().zip(query).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt(),
    };
    let mut scores: Vec<(u32, f64)> = (0..).zip(vectors.iter().map(score)).collect();
    let sign = if metric == Metric::L2 { 1.0 } else { -1.0 };
    scores.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)).then(a.0.cmp(&b.0)));
    scores
}

/// The share of `want`'s first `k` that is in `got`; a row as good as the k-th counts (duplicates).
fn recall_at(k: usize, got: &[Scored], want: &[Scored]) -> f64 {
    let want = &want[..k.min(want.len())];
    let rows: HashSet<u32> = want.iter().map(|hit| hit.row).collect();
    let last = want.last().unwrap().raw;
    let found = got.iter().take(k).filter(|hit| rows.contains(&hit.row) || (hit.raw - last).abs() <= 1e-6);
    found.count() as f64 / want.len() as f64
}

#[test]
fn exact_and_scan_agree_with_a_plain_search() {
    for (dimensions, rows) in [(1, 50), (3, 200), (384, 700), (1, 5000), (3, 5000), (50, 5000), (257, 5000)] {
        for metric in METRICS {
            let dir = tempfile::tempdir().unwrap();
            let mut random = Random::new(dimensions as u64);
            let vectors = random.clustered(rows, dimensions, 10);
            let part = part(dir.path(), metric, &vectors);
            let mut recall = 0.0;
            for _ in 0..20 {
                let vector = random.vector(dimensions);
                let query = Query::new(metric, dimensions as u32, &vector).unwrap();
                let want = oracle(metric, &vectors, &vector);
                let exact = exact(&part, &query, 10, None).unwrap();
                assert_eq!(exact.len(), 10);
                let room = 1e-4 * (1.0 + want[0].1.abs());
                for (got, (_, raw)) in exact.iter().zip(&want) {
                    assert!(
                        (f64::from(got.raw) - raw).abs() < room,
                        "{metric:?} {dimensions}: {got:?} {raw}"
                    );
                    let of_row = want.iter().find(|(row, _)| *row == got.row).unwrap().1;
                    assert!((f64::from(got.raw) - of_row).abs() < room);
                }
                let scanned = scan(&part, &query, 10, Effort::Ef(1), None).unwrap();
                if dimensions > 1 {
                    assert_eq!(scanned[0], exact[0], "{metric:?} {dimensions}");
                }
                recall += recall_at(10, &scanned, &exact);
                let rows: Vec<u32> = exact.iter().map(|hit| hit.row).collect();
                let raws: Vec<f32> = exact.iter().map(|hit| hit.raw).collect();
                assert_eq!(score_rows(&part, &query, &rows).unwrap(), raws);
            }
            assert!(recall / 20.0 >= 0.99, "{metric:?} {dimensions}: {}", recall / 20.0);
        }
    }
}

#[test]
fn a_scan_finds_no_row_twice_however_many_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(66);
    for (rows, dimensions) in [(70, 16), (300, 61), (1000, 64), (5000, 100)] {
        for metric in METRICS {
            let vectors = random.clustered(rows, dimensions, 20);
            let part = part(dir.path(), metric, &vectors);
            for k in [1, 10, 40, 100, 400] {
                let near = random.below(rows);
                let vector = random.near(&vectors[near], 0.5);
                let query = Query::new(metric, dimensions as u32, &vector).unwrap();
                let found = scan(&part, &query, k, Effort::Recall(1.0), None).unwrap();
                let different: HashSet<u32> = found.iter().map(|hit| hit.row).collect();
                assert_eq!(different.len(), k.min(rows), "{metric:?}, k {k} of {rows}");
                let recall = recall_at(k, &found, &exact(&part, &query, k, None).unwrap());
                assert!(recall >= 0.95, "{metric:?}, k {k} of {rows}: {recall}");
            }
        }
    }
}

#[test]
fn equal_scores_come_in_row_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(4);
    let (a, b) = (random.vector(16), random.vector(16));
    let vectors: Vec<Vec<f32>> =
        (0..5000).map(|row| if row % 3 == 0 { a.clone() } else { b.clone() }).collect();
    for (metric, rows) in METRICS.into_iter().flat_map(|metric| [(metric, 40), (metric, 5000)]) {
        let part = part(dir.path(), metric, &vectors[..rows]);
        let query = Query::new(metric, 16, &random.near(&a, 0.01)).unwrap();
        for found in
            [exact(&part, &query, 8, None).unwrap(), scan(&part, &query, 8, Effort::Ef(1), None).unwrap()]
        {
            let rows: Vec<u32> = found.iter().map(|hit| hit.row).collect();
            assert_eq!(rows, (0..8).map(|i| i * 3).collect::<Vec<u32>>(), "{metric:?}");
        }
    }
}

#[test]
fn only_allowed_rows_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    let vectors = random.clustered(5000, 24, 20);
    let part = part(dir.path(), Metric::Cosine, &vectors);
    let graph = open_graph(&frozen(dir.path(), &graph(&part)), 5000);
    for share in [0.9, 0.3, 0.02, 0.01, 0.0] {
        let allowed = random.rows(5000, share);
        let query = Query::new(Metric::Cosine, 24, &random.vector(24)).unwrap();
        let want = exact(&part, &query, 20, Some(&allowed)).unwrap();
        assert_eq!(want.len(), 20.min(allowed.len() as usize));
        for found in [
            scan(&part, &query, 20, Effort::Ef(1), Some(&allowed)).unwrap(),
            graph::search(&part, &graph, &query, 20, Effort::Ef(40), Some(&allowed)).unwrap(),
            recall(&part, Some(&graph), &query, 20, Effort::Ef(40), false, Some(&allowed)).unwrap(),
        ] {
            assert_eq!(found.len(), want.len());
            assert!(found.iter().all(|hit| allowed.contains(hit.row)));
        }
    }
}

#[test]
fn the_graph_finds_the_neighbours_with_and_without_filters() {
    for metric in METRICS {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(6);
        let vectors = random.clustered(5000, 48, 60);
        let part = part(dir.path(), metric, &vectors);
        for builder in BUILDERS {
            let built = built_by(builder, &part);
            assert_eq!(built.reachable(), 5000);
            let graph = open_graph(&frozen(dir.path(), &built), 5000);
            for share in [1.0, 0.5, 0.1, 0.01, 0.001] {
                let allowed = (share < 1.0).then(|| random.rows(5000, share));
                let (mut walked, mut planned) = (0.0, 0.0);
                for _ in 0..50 {
                    let row = random.below(5000);
                    let query = Query::new(metric, 48, &random.near(&vectors[row], 0.3)).unwrap();
                    let want = exact(&part, &query, 10, allowed.as_ref()).unwrap();
                    let found =
                        graph::search(&part, &graph, &query, 10, Effort::Ef(80), allowed.as_ref()).unwrap();
                    walked += recall_at(10, &found, &want) / 50.0;
                    let found =
                        recall(&part, Some(&graph), &query, 10, Effort::Ef(80), false, allowed.as_ref())
                            .unwrap();
                    planned += recall_at(10, &found, &want) / 50.0;
                }
                assert!(
                    walked >= 0.95 && planned >= 0.95,
                    "{builder:?} {metric:?} {share}: {walked} {planned}"
                );
            }
        }
    }
}

/// A filter that lets through only what is far from the query.
#[test]
fn a_filter_against_the_query_costs_no_recall() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    let vectors = random.clustered(4000, 32, 8);
    let part = part(dir.path(), Metric::L2, &vectors);
    let graph = open_graph(&frozen(dir.path(), &graph(&part)), 4000);
    let mut found = 0.0;
    for _ in 0..20 {
        let query = Query::new(Metric::L2, 32, &vectors[random.below(4000)]).unwrap();
        let mut allowed = RowSet::full(4000);
        let near = exact(&part, &query, 2500, None).unwrap();
        let mut away = RowSet::empty(4000);
        near.iter().for_each(|hit| away.insert(hit.row));
        allowed.and_not(&away);
        let want = exact(&part, &query, 10, Some(&allowed)).unwrap();
        found += recall_at(
            10,
            &graph::search(&part, &graph, &query, 10, Effort::Ef(80), Some(&allowed)).unwrap(),
            &want,
        );
    }
    assert!(found / 20.0 >= 0.95, "{}", found / 20.0);
}

#[test]
fn every_row_is_reachable_and_duplicates_are_found() {
    let mut random = Random::new(8);
    let spread: Vec<Vec<f32>> = (0..1500).map(|_| random.vector(16)).collect();
    let centres: Vec<Vec<f32>> = (0..7).map(|_| random.vector(16)).collect();
    let clustered: Vec<Vec<f32>> = (0..1500).map(|row| random.near(&centres[row % 7], 0.2)).collect();
    let few = [random.vector(16), random.vector(16), random.vector(16)];
    let mut exact_duplicates = spread.clone();
    let mut near_duplicates = spread.clone();
    for row in 0..300 {
        exact_duplicates[row * 5] = few[row % 3].clone();
        near_duplicates[row * 5] = random.near(&few[row % 3], 1e-6);
    }
    let all_equal = vec![few[0].clone(); 1500];
    for (name, vectors) in [
        ("spread", &spread),
        ("clustered", &clustered),
        ("exact duplicates", &exact_duplicates),
        ("near duplicates", &near_duplicates),
        ("all equal", &all_equal),
    ] {
        for metric in METRICS {
            let dir = tempfile::tempdir().unwrap();
            let part = part(dir.path(), metric, vectors);
            for builder in BUILDERS {
                let built = built_by(builder, &part);
                assert_eq!(built.reachable(), part.rows(), "{builder:?} {name} {metric:?}");
                let graph = open_graph(&frozen(dir.path(), &built), part.rows());
                let mut recall = 0.0;
                for probe in 0..20 {
                    let query = Query::new(metric, 16, &vectors[probe * 25]).unwrap();
                    let want = exact(&part, &query, 10, None).unwrap();
                    let found = graph::search(&part, &graph, &query, 10, Effort::Ef(100), None).unwrap();
                    recall += recall_at(10, &found, &want) / 20.0;
                }
                assert!(recall >= 0.95, "{builder:?} {name} {metric:?}: {recall}");
            }
        }
    }
}

#[test]
fn rows_are_found_beside_many_copies_of_another() {
    let mut random = Random::new(18);
    let mut vectors = random.clustered(2000, 16, 30);
    let copied = vectors[1000].clone();
    vectors.extend(vec![copied.clone(); 2000]);
    for metric in METRICS {
        let dir = tempfile::tempdir().unwrap();
        let part = part(dir.path(), metric, &vectors);
        for builder in BUILDERS {
            let graph = open_graph(&frozen(dir.path(), &built_by(builder, &part)), part.rows());
            let mut recall = 0.0;
            for _ in 0..100 {
                let query = Query::new(metric, 16, &random.near(&copied, 1.0)).unwrap();
                let want = exact(&part, &query, 10, None).unwrap();
                let found = graph::search(&part, &graph, &query, 10, Effort::Ef(40), None).unwrap();
                recall += recall_at(10, &found, &want) / 100.0;
            }
            assert!(recall >= 0.985, "{builder:?} {metric:?}: {recall}");
        }
    }
}

#[test]
fn copies_are_found_where_those_before_them_are_left_out() {
    const ROWS: u32 = 20_000;
    let mut random = Random::new(19);
    let mut vectors = random.clustered(ROWS as usize, 16, 300);
    let copied = vectors[100].clone();
    vectors.extend(vec![copied.clone(); 1000]);
    for metric in METRICS {
        let dir = tempfile::tempdir().unwrap();
        let part = part(dir.path(), metric, &vectors);
        let graph = open_graph(&frozen(dir.path(), &graph(&part)), part.rows());
        for left_out in [30, 900, 970] {
            let mut allowed = RowSet::full(part.rows());
            let first = [100].into_iter().chain(ROWS..ROWS + left_out).collect();
            allowed.and_not(&RowSet::from_bitmap(&first, part.rows()));
            let copies = |hits: Vec<Scored>| hits.iter().filter(|hit| hit.row >= ROWS).count();
            let (mut wanted, mut found) = (0, 0);
            for _ in 0..300 {
                let query = Query::new(metric, 16, &random.near(&copied, 1.2)).unwrap();
                wanted += copies(exact(&part, &query, 10, Some(&allowed)).unwrap());
                let hits = graph::search(&part, &graph, &query, 10, Effort::Ef(30), Some(&allowed)).unwrap();
                found += copies(hits);
            }
            assert!(found >= wanted, "{metric:?}, {left_out} left out: {found} of {wanted}");
        }
    }
}

#[test]
fn empty_parts_and_single_rows_are_searched() {
    let dir = tempfile::tempdir().unwrap();
    for vectors in [vec![], vec![vec![0.5; 8]]] {
        for metric in METRICS {
            let part = part(dir.path(), metric, &vectors);
            let built = graph(&part);
            let graph = open_graph(&frozen(dir.path(), &built), part.rows());
            let query = Query::new(metric, 8, &[1.0; 8]).unwrap();
            let want: Vec<u32> = (0..vectors.len() as u32).collect();
            for found in [
                scan(&part, &query, 5, Effort::Ef(1), None).unwrap(),
                exact(&part, &query, 5, None).unwrap(),
                graph::search(&part, &graph, &query, 5, Effort::Ef(10), None).unwrap(),
            ] {
                assert_eq!(found.iter().map(|hit| hit.row).collect::<Vec<_>>(), want);
            }
            assert_eq!(graph::search(&part, &graph, &query, 0, Effort::Ef(10), None).unwrap(), []);
        }
    }
}

#[test]
fn a_cancelled_build_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let part = part(dir.path(), Metric::L2, &Random::new(9).clustered(2500, 8, 3));
    let parameters = graph::GraphParameters { m: 8, ef_construction: 20 };
    let built = graph::build(&part, Builder::HnswRs, parameters, None, &AtomicBool::new(true)).unwrap();
    assert!(built.is_none());
}

/// Damage that the checksums do not show (they were computed over it) is still an error or a worse
/// answer, never a panic.
#[test]
fn wrong_links_under_right_checksums_are_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(10);
    let vectors = random.clustered(1200, 8, 5);
    let part = part(dir.path(), Metric::L2, &vectors);
    let built = graph(&part);
    let query = Query::new(Metric::L2, 8, &vectors[3]).unwrap();
    let mut named = 0;
    for trial in 0..200 {
        let mut bad = built.clone();
        let wrong = [1200, 5_000_000, u32::MAX - 1, 0, 1199][trial % 5];
        if trial % 3 == 0 {
            let entry = random.below(bad.entry_rows.len());
            bad.entry_rows[entry] = wrong;
        } else {
            for node in 0..bad.rows() {
                let mut links = bad.links.of(node).to_vec();
                let at = random.below(links.len().max(1));
                if let Some(link) = links.get_mut(at) {
                    *link = wrong;
                }
                bad.links.set(node, links);
            }
        }
        let file = PartFile::open(&frozen(dir.path(), &bad), PartKind::Graph).unwrap();
        let searched = GraphPart::open(file, 1200)
            .and_then(|graph| graph::search(&part, &graph, &query, 10, Effort::Ef(50), None));
        match searched {
            Ok(found) => assert!(found.iter().all(|hit| hit.row < 1200)),
            Err(StoreError::Corrupt { path, .. }) => {
                assert!(path.ends_with("rows.graph"));
                named += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn a_flipped_byte_of_either_file_is_an_error_that_names_it_or_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(11);
    let vectors = random.clustered(600, 8, 5);
    let rows = write(dir.path(), Metric::Cosine, &vectors, 8);
    let part = open(&rows);
    let links = frozen(dir.path(), &graph(&part));
    let query = Query::new(Metric::Cosine, 8, &vectors[3]).unwrap();
    let search = || -> store::Result<Vec<Scored>> {
        let part = VectorPart::open(PartFile::open(&rows, PartKind::Vectors)?)?;
        let graph = GraphPart::open(PartFile::open(&links, PartKind::Graph)?, 600)?;
        graph::search(&part, &graph, &query, 10, Effort::Ef(50), None)
    };
    let want = search().unwrap();
    for path in [&rows, &links] {
        let good = std::fs::read(path).unwrap();
        let mut found = 0;
        for _ in 0..300 {
            let mut bad = good.clone();
            bad[random.below(good.len())] ^= 1 << random.below(8);
            std::fs::write(path, &bad).unwrap();
            match search() {
                Ok(hits) => assert_eq!(hits, want),
                Err(error) => {
                    assert_eq!(error.path(), path);
                    found += 1;
                }
            }
        }
        assert!(found > 200, "{found} of {}", path.display());
        std::fs::write(path, &good).unwrap();
    }
}

#[test]
fn a_graph_of_other_rows_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(12);
    let small = part(dir.path(), Metric::L2, &random.clustered(10, 8, 2));
    let path = frozen(dir.path(), &graph(&small));
    let file = PartFile::open(&path, PartKind::Graph).unwrap();
    assert!(matches!(GraphPart::open(file, 11), Err(StoreError::Corrupt { .. })));

    let longer = part(dir.path(), Metric::L2, &random.clustered(10, 9, 2));
    let query = Query::new(Metric::L2, 9, &random.vector(9)).unwrap();
    let error = graph::search(&longer, &open_graph(&path, 10), &query, 3, Effort::Ef(10), None).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn the_same_rows_make_the_same_graph_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let part = part(dir.path(), Metric::Dot, &Random::new(14).clustered(3000, 20, 9));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        std::fs::read(frozen(dir.path(), &pool.install(|| graph(&part)))).unwrap()
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn vectors_without_a_meaning_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (metric, vector) in [
        (Metric::Cosine, vec![0.0, 0.0]),
        (Metric::Cosine, vec![f32::NAN, 1.0]),
        (Metric::Cosine, vec![f32::INFINITY, 1.0]),
        (Metric::Cosine, vec![1.0]),
        (Metric::Dot, vec![f32::NAN, 1.0]),
        (Metric::L2, vec![3e38, 3e38]),
        (Metric::L2, vec![1.0, 1.0, 1.0]),
    ] {
        let error = Query::new(metric, 2, &vector).unwrap_err();
        assert_eq!(error.code, Code::InvalidVector);
        let writer = PartWriter::create(&OsDisk, &dir.path().join("x"), PartKind::Vectors).unwrap();
        let error =
            VectorWriter::new(writer, metric, Storage::Float32, 2).unwrap().push(&vector).unwrap_err();
        assert_eq!(error.code, Code::InvalidVector, "{metric:?} {vector:?}");
    }
}

#[test]
fn tiny_and_huge_values_keep_scores_finite() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(3);
    for metric in METRICS {
        let extremes = [vec![1e-45f32, 0.0], vec![1e-30, -1e-30], vec![4e18, 4e18], vec![-4e18, 4e18]];
        // enough rows for sketches, with and without such that are too large for them
        let ordinary: Vec<Vec<f32>> = (0..5000).map(|_| random.vector(2)).collect();
        let small = [&extremes[..2], &ordinary].concat();
        let all = [&extremes[..], &ordinary].concat();
        for vectors in [&extremes[..], &small, &all] {
            let part = part(dir.path(), metric, vectors);
            for vector in &extremes {
                let query = Query::new(metric, 2, vector).unwrap();
                for found in [
                    scan(&part, &query, 4, Effort::Ef(1), None).unwrap(),
                    exact(&part, &query, 4, None).unwrap(),
                ] {
                    assert_eq!(found.len(), 4);
                    assert!(found.iter().all(|hit| hit.raw.is_finite()), "{metric:?} {found:?}");
                }
            }
        }
    }
}

/// All that rows differ by is lost in rounding their codes.
#[test]
fn a_scan_finds_neighbours_that_codes_do_not_tell_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(5);
    for metric in [Metric::Dot, Metric::L2] {
        let vectors: Vec<_> = (0..5000).map(|_| random.near(&[100.0; 48], 0.05)).collect();
        let part = part(dir.path(), metric, &vectors);
        for vector in &vectors[..20] {
            let query = Query::new(metric, 48, vector).unwrap();
            let found = scan(&part, &query, 10, Effort::Ef(1), None).unwrap();
            assert_eq!(found, exact(&part, &query, 10, None).unwrap(), "{metric:?}");
        }
    }
}

#[test]
fn a_graph_in_which_no_walk_finds_neighbours_is_not_walked() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(6);
    let vectors: Vec<_> = (0..3000).map(|_| random.near(&[100.0; 48], 0.05)).collect();
    let part = part(dir.path(), Metric::L2, &vectors);
    let graph = open_graph(&frozen(dir.path(), &graph(&part)), 3000);
    assert!(!graph.calibration().finds_neighbours(), "{:?}", graph.calibration());
    for vector in &vectors[..20] {
        let query = Query::new(Metric::L2, 48, vector).unwrap();
        let want = exact(&part, &query, 10, None).unwrap();
        for effort in [Effort::Ef(10), Effort::Recall(0.95)] {
            assert_eq!(recall(&part, Some(&graph), &query, 10, effort, false, None).unwrap(), want);
        }
    }
}

/// Beside such a row, nothing is left of the distances by which rows are linked.
#[test]
fn one_row_very_much_longer_than_the_others_hides_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    let mut vectors = random.clustered(3000, 24, 30);
    vectors.push(random.vector(24).iter().map(|x| x * 1e4).collect());
    let part = part(dir.path(), Metric::Dot, &vectors);
    let graph = open_graph(&frozen(dir.path(), &graph(&part)), 3001);
    let mut found = 0.0;
    for _ in 0..50 {
        let query = Query::new(Metric::Dot, 24, &random.vector(24)).unwrap();
        let want = exact(&part, &query, 10, None).unwrap();
        let got = recall(&part, Some(&graph), &query, 10, Effort::Ef(20), false, None).unwrap();
        found += recall_at(10, &got, &want) / 50.0;
    }
    assert!(found >= 0.99, "{found}");
}

#[test]
fn normalized_scores_lie_between_0_and_1() {
    assert_eq!(normalized(Metric::Cosine, 1.0, 0.2), 1.0);
    assert_eq!(normalized(Metric::Cosine, 0.2, 0.2), 0.0);
    assert_eq!(normalized(Metric::Cosine, -1.0, 0.2), 0.0);
    assert!((normalized(Metric::Cosine, 0.6, 0.2) - 0.5).abs() < 1e-6);
    assert_eq!(normalized(Metric::Dot, 40.0, 0.0), 1.0);
    assert_eq!(normalized(Metric::L2, 0.0, 0.0), 1.0);
    assert_eq!(normalized(Metric::L2, 3.0, 0.0), 0.25);
    assert_eq!(normalized(Metric::Cosine, 0.5, 1.0), 0.0);
}
