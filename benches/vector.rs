//! The dense leg: kernels, scans and walks of the graph over generated vectors.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gleaner::collection::definition::{Metric, Storage, VectorDefinition};
use gleaner::rows::RowSet;
use gleaner::store::{OsDisk, PartFile, PartKind, PartWriter};
use gleaner::vector::distance::{self, BLOCK, LANES, PANEL_HEADER, TILE_ROWS, Tables, TileRow};
use gleaner::vector::graph::{self, GraphParameters};
use gleaner::vector::{self, CodeQuery, Effort, GraphPart, Query, VectorPart, VectorWriter};
use half::f16;

const DIMENSIONS: usize = 256;
const SCANNED_ROWS: usize = 100_000;
const GRAPH_ROWS: usize = 20_000;

/// In -1..1, from a xorshift generator: the same vectors in every run.
struct Random(u64);

impl Random {
    fn signed(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSIONS).map(|_| self.signed()).collect()
    }

    /// Vectors around a hundred centres, as the topics of texts are.
    fn clustered(&mut self, rows: usize) -> Vec<Vec<f32>> {
        let centres: Vec<Vec<f32>> = (0..100).map(|_| self.vector()).collect();
        (0..rows).map(|row| centres[row % 100].iter().map(|x| x + self.signed()).collect()).collect()
    }
}

fn write_part(dir: &tempfile::TempDir, storage: Storage, vectors: &[Vec<f32>]) -> VectorPart {
    let path = dir.path().join("bench.vectors");
    let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
    let mut writer = VectorWriter::new(writer, Metric::Cosine, storage, DIMENSIONS as u32).unwrap();
    vectors.iter().for_each(|vector| writer.push(vector).unwrap());
    writer.finish().unwrap();
    VectorPart::open(PartFile::open(&path, PartKind::Vectors).unwrap()).unwrap()
}

fn build_graph(dir: &tempfile::TempDir, part: &VectorPart) -> GraphPart {
    let VectorDefinition { builder, m, ef_construction, .. } = VectorDefinition::default();
    let parameters = GraphParameters { m, ef_construction };
    let built = graph::build(part, builder, parameters, None, &AtomicBool::new(false)).unwrap().unwrap();
    let path = dir.path().join("bench.graph");
    built.write(PartWriter::create(&OsDisk, &path, PartKind::Graph).unwrap()).unwrap();
    GraphPart::open(PartFile::open(&path, PartKind::Graph).unwrap(), part.rows()).unwrap()
}

fn query(vector: &[f32]) -> Query {
    Query::new(Metric::Cosine, DIMENSIONS as u32, vector).unwrap()
}

/// Every family this processor has, the plain loops (`scalar`) among them, at lengths that models have.
fn kernels(criterion: &mut Criterion) {
    for dimensions in [100usize, 256, 384, 768, 1536] {
        let mut random = Random(1);
        let mut vector = || -> Vec<f32> { (0..dimensions).map(|_| random.signed()).collect() };
        let (a, b) = (vector(), vector());
        let halves: Vec<u16> = b.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        let stride = dimensions.next_multiple_of(64);
        let mut padded = a.clone();
        padded.resize(stride, 0.0);
        let codes: Vec<u8> = padded.iter().map(|x| (x * 119.0 + 136.0) as u8).collect();
        let signed: Vec<i8> = b.iter().map(|x| (x * 127.0) as i8).collect();
        let query = CodeQuery::new(&signed);
        let rows: Vec<u8> = codes.repeat(16);
        let numbers: Vec<u32> = (0..16).collect();
        let words = dimensions.div_ceil(4);
        let tile_row =
            |_| TileRow { codes: &codes[..words * 4], scale: -0.01, base: 1.0, extension: 0.0, below: 1.0 };
        let tile = distance::tile(&std::array::from_fn::<u32, TILE_ROWS, _>(|row| row as u32), tile_row);
        // scale, base, extension; then biases and codes
        let mut panel = [0.01f32, 1.0, 0.0].map(|x| [x.to_bits() as i32; LANES]).concat();
        panel.extend((0..LANES * (PANEL_HEADER - 3 + words)).map(|at| (at * 40_503) as i32));
        for family in distance::families() {
            let mut group = criterion.benchmark_group(format!("kernels/{}", family.name()));
            group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
            let mut bench = |kernel: &str, run: &mut dyn FnMut()| {
                group.bench_function(BenchmarkId::new(kernel, dimensions), |bench| bench.iter(&mut *run));
            };
            bench("dot", &mut || {
                black_box(family.dot(black_box(&a), black_box(&b)));
            });
            bench("l2_squared", &mut || {
                black_box(family.l2_squared(black_box(&a), black_box(&b)));
            });
            bench("dot_f16", &mut || {
                black_box(family.dot_f16(black_box(&a), black_box(&halves)));
            });
            bench("l2_squared_f16", &mut || {
                black_box(family.l2_squared_f16(black_box(&a), black_box(&halves)));
            });
            bench("dot_int8", &mut || {
                black_box(family.dot_int8(black_box(&padded), black_box(&codes)));
            });
            bench("l2_squared_int8", &mut || {
                black_box(family.l2_squared_int8(black_box(&padded), black_box(&codes), 0.01));
            });
            bench("dot_codes", &mut || {
                black_box(family.dot_codes(black_box(&codes[..dimensions]), black_box(&signed)));
            });
            bench("dot_both", &mut || {
                black_box(family.dot_both(black_box(&codes), black_box(&query)));
            });
            let mut products = [0; 16];
            bench("dot_rows, 16 rows", &mut || {
                family.dot_rows(black_box(&rows), &numbers, black_box(&query), &mut products);
            });
            bench("dot_rows_whole, 16 rows", &mut || {
                family.dot_rows_whole(black_box(&rows), &numbers, black_box(&query), &mut products);
            });
            let mut distances = [[0.0; LANES]; TILE_ROWS];
            bench("near, 8 x 16 rows", &mut || {
                black_box(family.near(black_box(&tile), black_box(&panel), &mut distances));
            });
            bench("near_one, 16 rows", &mut || {
                black_box(family.near_one(&tile[0], black_box(&panel), &mut distances[0]));
            });
            let mut packed = vec![0; LANES * words];
            bench("pack, 16 rows", &mut || {
                family.pack(black_box(&[&codes[..words * 4]; LANES]), &mut packed);
            });
            group.finish();
        }
    }
    for family in distance::families() {
        let mut group = criterion.benchmark_group(format!("kernels/{}", family.name()));
        // those of 256 dimensions, so many blocks that they are in the second-level cache
        let (codes, blocks) = (48, 256);
        let tables =
            Tables::new((0..codes).map(|table| std::array::from_fn(|code| table ^ code as u8)).collect());
        let sketches: Vec<u8> =
            (0..blocks * tables.block_bytes()).map(|at| ((at * 40_503) >> 8) as u8).collect();
        let (allowed, mut of_rows, mut most) =
            (vec![u64::MAX; blocks], vec![[0; BLOCK]; blocks], vec![0; blocks]);
        group.throughput(Throughput::Elements(blocks as u64));
        group.bench_function("look_up, 256 blocks of 48 codes", |bench| {
            bench.iter(|| family.look_up(black_box(&sketches), &tables, &allowed, &mut of_rows, &mut most));
        });
        group.bench_function("within, 256 blocks", |bench| {
            bench.iter(|| {
                of_rows
                    .iter()
                    .map(|sums| family.within(black_box(sums), 1200..1300).count_ones())
                    .sum::<u32>()
            });
        });
        group.finish();
    }
}

fn queries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("query");
    for len in [128, 256, 784, 1536] {
        let mut random = Random(5);
        let vector: Vec<f32> = (0..len).map(|_| random.signed()).collect();
        for metric in [Metric::Cosine, Metric::L2] {
            group.bench_function(BenchmarkId::new(format!("{metric:?}"), len), |bench| {
                bench.iter(|| Query::new(metric, len as u32, black_box(&vector)).unwrap());
            });
        }
    }
    group.finish();
}

fn scans(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random(2).clustered(SCANNED_ROWS);
    let part = write_part(&dir, Storage::Float32, &vectors);
    let query = query(&vectors[17]);
    let mut tenth = RowSet::empty(SCANNED_ROWS as u32);
    (0..SCANNED_ROWS as u32).step_by(10).for_each(|row| tenth.insert(row));
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(SCANNED_ROWS as u64));
    group.bench_function("sketches and codes", |bench| {
        bench.iter(|| vector::scan(&part, &query, 10, Effort::Ef(1), None).unwrap())
    });
    for storage in [Storage::Float32, Storage::Float16, Storage::Int8] {
        let part = write_part(&dir, storage, &vectors);
        group.bench_function(format!("exact, {storage}"), |bench| {
            bench.iter(|| vector::exact(&part, &query, 10, None).unwrap());
        });
    }
    group.bench_function("sketches and codes of every tenth row", |bench| {
        bench.iter(|| vector::scan(&part, &query, 10, Effort::Ef(1), Some(&tenth)).unwrap());
    });
    group.finish();
}

fn walks(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random(3).clustered(GRAPH_ROWS);
    let part = write_part(&dir, Storage::Float32, &vectors);
    let graph = build_graph(&dir, &part);
    let queries: Vec<Query> = vectors.iter().step_by(97).map(|vector| query(vector)).collect();
    let mut group = criterion.benchmark_group("graph");
    for ef in [40, 160] {
        let mut next = queries.iter().cycle();
        group.bench_function(format!("ef {ef}"), |bench| {
            bench.iter(|| {
                let query = next.next().unwrap();
                graph::search(&part, &graph, query, 10, Effort::Ef(ef), None).unwrap()
            });
        });
    }
    group.finish();
}

/// Searches with filters that let through a share of the rows: at random, those nearest to the query (`correlated`), or
/// those farthest from it (`anti-correlated`). Beside them, the search without a filter and the exact pass.
fn filters(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(4);
    let vectors = random.clustered(GRAPH_ROWS);
    let part = write_part(&dir, Storage::Float32, &vectors);
    let graph = build_graph(&dir, &part);
    let (rows, effort) = (part.rows(), Effort::Recall(0.95));
    let queries: Vec<Query> = vectors.iter().step_by(997).map(|vector| query(vector)).collect();
    let nearest_first: Vec<Vec<u32>> = queries
        .iter()
        .map(|query| vector::exact(&part, query, GRAPH_ROWS, None).unwrap())
        .map(|hits| hits.iter().map(|hit| hit.row).collect())
        .collect();
    let mut shuffled: Vec<u32> = (0..rows).collect();
    shuffled.sort_by_cached_key(|_| random.signed().to_bits());
    let mut group = criterion.benchmark_group("filters");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let mut bench = |name: String, search: &dyn Fn(usize)| {
        let mut next = (0..queries.len()).cycle();
        group.bench_function(name, |bench| bench.iter(|| next.next().map(search)));
    };
    bench("none".into(), &|at| {
        black_box(vector::recall(&part, Some(&graph), &queries[at], 10, effort, false, None).unwrap());
    });
    for share in [0.5, 0.1, 0.01, 0.001] {
        let allowed = (share * f64::from(rows)) as usize;
        let set = |of: &[u32]| {
            let mut set = RowSet::empty(rows);
            of.iter().for_each(|&row| set.insert(row));
            set
        };
        let of_each = |choose: &dyn Fn(&[u32]) -> RowSet| -> Vec<RowSet> {
            nearest_first.iter().map(|rows| choose(rows)).collect()
        };
        for (kind, filters) in [
            ("random", of_each(&|_| set(&shuffled[..allowed]))),
            ("correlated", of_each(&|nearest| set(&nearest[..allowed]))),
            ("anti-correlated", of_each(&|nearest| set(&nearest[GRAPH_ROWS - allowed..]))),
        ] {
            bench(format!("{kind}, {share}"), &|at| {
                let filter = Some(&filters[at]);
                black_box(
                    vector::recall(&part, Some(&graph), &queries[at], 10, effort, false, filter).unwrap(),
                );
            });
            bench(format!("{kind}, {share}, exact"), &|at| {
                black_box(vector::exact(&part, &queries[at], 10, Some(&filters[at])).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, kernels, queries, scans, walks, filters);
criterion_main!(benches);
