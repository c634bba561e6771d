//! Rows in every type they can be stored in.

use proptest::prelude::*;

use super::fixture::{METRICS, Random, STORAGES, frozen, graph, open, open_graph, part, part_as, write_as};
use super::*;
use crate::store::{OsDisk, PartFile, PartKind, PartWriter, StoreError};

/// The score that users see, in f64.
fn score(metric: Metric, row: &[f32], query: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    match metric {
        Metric::Cosine => dot(row, query) / dot(query, query).sqrt(),
        Metric::Dot => dot(row, query),
        Metric::L2 => row.iter().zip(query).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt(),
    }
}

/// How far a stored value may be from the one that was sent, in a row with this largest value.
fn rounding(storage: Storage, largest: f32) -> f32 {
    match storage {
        Storage::Float32 => largest * 1e-7,
        Storage::Float16 => largest / 2048.0,
        Storage::Int8 => largest / 119.0 / 2.0 * 1.01,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn scores_are_those_of_the_stored_values(
        seed in any::<u64>(),
        dimensions in 1usize..200,
        size in prop::sample::select(vec![0.01f32, 1.0, 50.0]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(seed);
        let mut vector = || -> Vec<f32> { random.vector(dimensions).iter().map(|x| x * size + 1e-3).collect() };
        let (vectors, asked): (Vec<_>, _) = ((0..8).map(|_| vector()).collect(), vector());
        for storage in STORAGES {
            for metric in METRICS {
                let part = part_as(storage, dir.path(), metric, &vectors);
                let query = Query::new(metric, dimensions as u32, &asked).unwrap();
                let raws = score_rows(&part, &query, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
                for ((row, raw), sent) in (0..).zip(raws).zip(&vectors) {
                    let stored = part.values(row).unwrap();
                    prop_assert_eq!(stored.len(), dimensions);
                    let want = score(metric, &stored, &asked);
                    let room = 1e-5 * (1.0 + f64::from(size).powi(2)) * dimensions as f64;
                    prop_assert!((f64::from(raw) - want).abs() <= room, "{storage:?} {metric:?}: {raw} {want}");
                    let length = match metric {
                        Metric::Cosine => score(Metric::Dot, sent, sent).sqrt() as f32,
                        Metric::Dot | Metric::L2 => 1.0,
                    };
                    let largest = sent.iter().fold(0.0f32, |most, x| most.max(x.abs())) / length;
                    // cosine brings the codes of a row to length 1, which moves its values a little more
                    let room = rounding(storage, largest) + if metric == Metric::Cosine { 0.02 * largest } else { 0.0 };
                    for (stored, sent) in stored.iter().zip(sent) {
                        prop_assert!((stored - sent / length).abs() <= room + 1e-7, "{storage:?} {stored} {sent}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_storage_is_scanned_walked_and_filtered_with_the_recall_of_its_own_exact_pass() {
    let mut random = Random::new(21);
    let vectors = random.clustered(5000, 40, 40);
    for storage in STORAGES {
        for metric in METRICS {
            let dir = tempfile::tempdir().unwrap();
            let part = part_as(storage, dir.path(), metric, &vectors);
            let built = graph(&part);
            assert_eq!(built.reachable(), 5000);
            let graph = open_graph(&frozen(dir.path(), &built), 5000);
            let allowed = random.rows(5000, 0.3);
            let (mut scanned, mut walked, mut filtered) = (0, 0, 0);
            for _ in 0..40 {
                let row = random.below(5000);
                let query = Query::new(metric, 40, &random.near(&vectors[row], 0.3)).unwrap();
                let hits = |found: Vec<Scored>, want: &[Scored]| {
                    found.iter().filter(|hit| want.contains(hit)).count()
                };
                let want = exact(&part, &query, 10, None).unwrap();
                scanned += hits(scan(&part, &query, 10, Effort::Ef(1), None).unwrap(), &want);
                walked +=
                    hits(graph::search(&part, &graph, &query, 10, Effort::Ef(80), None).unwrap(), &want);
                let want = exact(&part, &query, 10, Some(&allowed)).unwrap();
                let found = graph::search(&part, &graph, &query, 10, Effort::Ef(80), Some(&allowed)).unwrap();
                filtered += hits(found, &want);
            }
            assert!(scanned >= 398, "{storage:?} {metric:?}: {scanned} of 400");
            assert!(walked >= 380, "{storage:?} {metric:?}: {walked} of 400");
            assert!(filtered >= 380, "{storage:?} {metric:?}: {filtered} of 400");
        }
    }
}

/// What rounding the rows costs: neighbours by stored rows beside neighbours by what was sent.
#[test]
fn rounded_rows_have_nearly_the_same_neighbours() {
    let mut random = Random::new(22);
    let vectors = random.clustered(2000, 128, 20);
    let dir = tempfile::tempdir().unwrap();
    let sent = part(dir.path(), Metric::Cosine, &vectors);
    for (storage, least, room) in [(Storage::Float16, 198, 2e-4), (Storage::Int8, 185, 5e-3)] {
        let dir = tempfile::tempdir().unwrap();
        let stored = part_as(storage, dir.path(), Metric::Cosine, &vectors);
        let mut found = 0;
        for row in (0..2000).step_by(100) {
            let query = Query::new(Metric::Cosine, 128, &random.near(&vectors[row], 0.3)).unwrap();
            let want = exact(&sent, &query, 10, None).unwrap();
            let got = exact(&stored, &query, 10, None).unwrap();
            found += got.iter().filter(|hit| want.iter().any(|want| want.row == hit.row)).count();
            assert!((got[0].raw - want[0].raw).abs() < room, "{storage:?}: {got:?} {want:?}");
        }
        assert!(found >= least, "{storage:?}: {found} of 200");
    }
}

#[test]
fn a_vector_is_most_similar_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random::new(23).clustered(200, 70, 5);
    for storage in STORAGES {
        let part = part_as(storage, dir.path(), Metric::Cosine, &vectors);
        for (row, vector) in (0..).zip(&vectors) {
            let query = Query::new(Metric::Cosine, 70, vector).unwrap();
            let first = exact(&part, &query, 1, None).unwrap()[0];
            assert_eq!(first.row, row);
            assert!(first.raw > 0.9998, "{storage:?} {first:?}");
        }
    }
}

#[test]
fn merged_rows_are_bit_for_bit_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random::new(13).clustered(50, 33, 4);
    for storage in STORAGES {
        let source = part_as(storage, dir.path(), Metric::Cosine, &vectors);
        assert_eq!(source.storage(), storage);
        assert_eq!(source.original_bytes(), 50 * storage.row_bytes(33) as u64);
        let path = dir.path().join("merged");
        let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
        let mut writer = VectorWriter::new(writer, Metric::Cosine, storage, 33).unwrap();
        (0..50).rev().for_each(|row| writer.push_from(&source, row).unwrap());
        writer.finish().unwrap();
        let merged = open(&path);
        for row in 0..50 {
            assert_eq!(merged.row(row).unwrap(), source.row(49 - row).unwrap());
            assert_eq!(merged.codes(row).unwrap(), source.codes(49 - row).unwrap());
        }
        for other in STORAGES.into_iter().filter(|&other| other != storage) {
            let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
            let mut writer = VectorWriter::new(writer, Metric::Cosine, other, 33).unwrap();
            writer.push_from(&source, 0).unwrap_err();
        }
    }
}

#[test]
fn values_that_half_precision_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let push = |metric, storage, value: f32| {
        let writer = PartWriter::create(&OsDisk, &dir.path().join("x"), PartKind::Vectors).unwrap();
        let pushed = VectorWriter::new(writer, metric, storage, 2).unwrap().push(&[1.0, value]);
        assert_eq!(pushed.is_ok(), check(metric, storage, &[1.0, value]).is_ok());
        pushed
    };
    for metric in [Metric::Dot, Metric::L2] {
        push(metric, Storage::Float16, -65504.0).unwrap();
        let error = push(metric, Storage::Float16, -65520.0).unwrap_err();
        assert_eq!(error.code, Code::InvalidVector);
        assert!(error.message.contains("number 1 is -65520"), "{}", error.message);
        push(metric, Storage::Float32, 1e18).unwrap();
        push(metric, Storage::Int8, 1e18).unwrap();
    }
    push(Metric::Cosine, Storage::Float16, 1e18).unwrap();
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_file_or_is_not_touched() {
    for storage in STORAGES {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(24);
        let vectors = random.clustered(600, 8, 5);
        let path = write_as(storage, dir.path(), Metric::Dot, &vectors, 8);
        let query = Query::new(Metric::Dot, 8, &vectors[3]).unwrap();
        let search = || -> store::Result<Vec<Scored>> {
            let part = VectorPart::open(PartFile::open(&path, PartKind::Vectors)?)?;
            scan(&part, &query, 10, Effort::Ef(1), None)?;
            exact(&part, &query, 10, None)
        };
        let want = search().unwrap();
        let good = std::fs::read(&path).unwrap();
        for _ in 0..200 {
            let mut bad = good.clone();
            bad[random.below(good.len())] ^= 1 << random.below(8);
            std::fs::write(&path, &bad).unwrap();
            match search() {
                Ok(hits) => assert_eq!(hits, want),
                Err(error) => assert_eq!(error.path(), path),
            }
        }
    }
}

/// Headers and lengths that do not fit each other, under right checksums.
#[test]
fn a_header_that_contradicts_its_sections_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1.vectors");
    let open = |storage: u32, rows: usize, sketches: Option<[usize; 2]>| {
        let mut writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
        let header = [2u32, 4, 1 | storage << 16, 64];
        writer.section(1, bytemuck::cast_slice(&header)).unwrap();
        writer.section(2, &vec![0; rows]).unwrap();
        writer.section(3, &[136; 128]).unwrap();
        writer.section(4, &[0; 24]).unwrap();
        for (section, len) in [7, 8].into_iter().zip(sketches.into_iter().flatten()) {
            writer.section(section, &vec![0; len]).unwrap();
        }
        writer.finish().unwrap();
        VectorPart::open(PartFile::open(&path, PartKind::Vectors).unwrap())
    };
    // 21 values of errors, 4 of the centre, 4 axes in half precision, 4 quantisers; 5 codes a row
    let right = [4 * (21 + 4 + 8 + 4 * 32), 64 * 3];
    for (number, storage, bytes) in
        [(0, Storage::Float32, 32), (1, Storage::Float16, 16), (2, Storage::Int8, 0)]
    {
        assert_eq!(open(number, bytes, None).unwrap().storage(), storage);
        assert_eq!(open(number, bytes, Some(right)).unwrap().storage(), storage);
        for wrong in [0, 16, 32, 33].into_iter().filter(|&wrong| wrong != bytes) {
            assert!(
                matches!(open(number, wrong, None), Err(StoreError::Corrupt { .. })),
                "{storage:?} {wrong}"
            );
        }
    }
    for wrong in [[right[0] - 4, right[1]], [right[0], right[1] - 1], [right[0], 2 * right[1]]] {
        assert!(matches!(open(0, 32, Some(wrong)), Err(StoreError::Corrupt { .. })), "{wrong:?}");
    }
    let error = open(3, 32, None).unwrap_err();
    assert!(error.to_string().contains("the type of its rows is not known"), "{error}");
}

/// The bytes of `float16` and `int8` on disk, which later versions read.
#[test]
fn the_format_stays() {
    let dir = tempfile::tempdir().unwrap();
    let sections = |storage| {
        let path = write_as(storage, dir.path(), Metric::L2, &[vec![1.0, -0.25, 0.75]], 3);
        let part = PartFile::open(&path, PartKind::Vectors).unwrap();
        [1, 2, 3, 4].map(|section| part.section(section).unwrap().all().unwrap().to_vec())
    };
    let are = |constants: &[u8], want: [f32; 3]| {
        let constants: Vec<f32> = constants.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        assert_eq!(constants.len(), 3);
        for (is, want) in constants.iter().zip(want) {
            assert!((is / want - 1.0).abs() < 1e-6, "{constants:?}");
        }
    };

    let [header, rows, codes, constants] = sections(Storage::Float16);
    assert_eq!(header, [1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 64, 0, 0, 0]);
    assert_eq!(rows, [0x00, 0x3C, 0x00, 0xB4, 0x00, 0x3A]);
    // 119, -30 and 89 steps, plus 136: FF, 6A and E1; 88 is padding
    assert_eq!((&codes[..4], &codes[32..36]), (&[0x8F, 0x86, 0x8E, 0x88][..], &[0x8F, 0x8A, 0x81, 0x88][..]));
    // over 119 + .25·30 + .75·89, and 112 + .25·32 + .75·96 for the upper halves
    are(&constants, [1.625 / 193.25, 1.625 / 192.0, 1.625]);

    let [header, rows, int8, constants] = sections(Storage::Int8);
    assert_eq!(header, [1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 2, 0, 64, 0, 0, 0]);
    assert_eq!((rows, int8), (vec![], codes));
    // 119² + 30² + 89², 119·112 + 30·32 + 89·96
    let scale = 1.0 / 119.0f32;
    let high_scale = scale * 22982.0 / 22832.0;
    let length = f64::from(scale) * 22982f64.sqrt();
    are(&constants, [scale, high_scale, (length * length) as f32]);
}
