//! The dense leg: kernels, scans and walks of the graph over generated vectors.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gleaner::collection::definition::{Builder, Metric};
use gleaner::rows::RowSet;
use gleaner::store::{OsDisk, PartFile, PartKind, PartWriter};
use gleaner::vector::graph::{self, GraphParameters};
use gleaner::vector::{self, Effort, GraphPart, Query, VectorPart, VectorWriter, distance};

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

fn write_part(dir: &tempfile::TempDir, vectors: &[Vec<f32>]) -> VectorPart {
    let path = dir.path().join("bench.vectors");
    let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
    let mut writer = VectorWriter::new(writer, Metric::Cosine, DIMENSIONS as u32).unwrap();
    vectors.iter().for_each(|vector| writer.push(vector).unwrap());
    writer.finish().unwrap();
    VectorPart::open(PartFile::open(&path, PartKind::Vectors).unwrap()).unwrap()
}

fn query(vector: &[f32]) -> Query {
    Query::new(Metric::Cosine, DIMENSIONS as u32, vector).unwrap()
}

fn kernels(criterion: &mut Criterion) {
    let mut random = Random(1);
    let (a, b) = (random.vector(), random.vector());
    let codes: Vec<u8> = a.iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
    let signed: Vec<i8> = b.iter().map(|x| (x * 127.0) as i8).collect();
    let mut group = criterion.benchmark_group(format!("kernels/{}", distance::kernels()));
    group.bench_function("dot", |bench| bench.iter(|| distance::dot(black_box(&a), black_box(&b))));
    group.bench_function("l2_squared", |bench| {
        bench.iter(|| distance::l2_squared(black_box(&a), black_box(&b)));
    });
    group.bench_function("dot_codes", |bench| {
        bench.iter(|| distance::dot_codes(black_box(&codes), black_box(&signed)));
    });
    group.finish();
}

fn scans(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random(2).clustered(SCANNED_ROWS);
    let part = write_part(&dir, &vectors);
    let query = query(&vectors[17]);
    let mut tenth = RowSet::empty(SCANNED_ROWS as u32);
    (0..SCANNED_ROWS as u32).step_by(10).for_each(|row| tenth.insert(row));
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(SCANNED_ROWS as u64));
    group.bench_function("codes", |bench| bench.iter(|| vector::scan(&part, &query, 10, None).unwrap()));
    group.bench_function("exact", |bench| bench.iter(|| vector::exact(&part, &query, 10, None).unwrap()));
    group.bench_function("codes of every tenth row", |bench| {
        bench.iter(|| vector::scan(&part, &query, 10, Some(&tenth)).unwrap());
    });
    group.finish();
}

fn walks(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Random(3).clustered(GRAPH_ROWS);
    let part = write_part(&dir, &vectors);
    let parameters = GraphParameters { m: 16, ef_construction: 100 };
    let built = graph::build(&part, Builder::HnswRs, parameters, &AtomicBool::new(false)).unwrap().unwrap();
    let path = dir.path().join("bench.graph");
    built.write(PartWriter::create(&OsDisk, &path, PartKind::Graph).unwrap()).unwrap();
    let graph = GraphPart::open(PartFile::open(&path, PartKind::Graph).unwrap(), part.rows()).unwrap();
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

criterion_group!(benches, kernels, scans, walks);
criterion_main!(benches);
