//! Recall and speed of the vector index on vectors from Parquet files, one JSON object a line.
//!
//! `--base` has a column `embedding`; `--queries` has `embedding` and, if they are known, the exact `neighbours` (row
//! numbers of the base, nearest first). `benches/peers/ann.py` runs the same files through other libraries.
//! `--filters` measures searches with filters instead. `--grown-from` makes the graph as after a merge.

mod filters;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, UInt32Type};
use clap::{Parser, ValueEnum};
use gleaner::collection::definition::{Builder, Metric, Storage, VectorDefinition};
use gleaner::store::{OsDisk, PartFile, PartKind, PartWriter};
use gleaner::vector::graph::{self, Ancestor, GraphParameters};
use gleaner::vector::{self, BytesPerVector, Effort, GraphPart, Query, VectorPart, VectorWriter};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const K: usize = 10;
/// Every `ef` is measured for at least this long.
const AT_LEAST: Duration = Duration::from_millis(1500);

#[derive(Parser)]
struct Arguments {
    /// Parquet file of the vectors to be searched.
    #[arg(long)]
    base: PathBuf,
    /// Parquet file of the queries.
    #[arg(long)]
    queries: PathBuf,
    #[arg(long, value_enum, default_value = "cosine")]
    metric: MetricName,
    /// How the vectors are stored by which hits are scored. Known neighbours are scored by them, too: a hit counts
    /// that is as near as they make the tenth.
    #[arg(long, value_enum, default_value = "float32")]
    storage: StorageName,
    #[arg(long, value_enum, default_value = "native")]
    builder: BuilderName,
    /// Threads of the build; a search runs on one.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Half the most links of a row.
    #[arg(long)]
    m: Option<u32>,
    #[arg(long)]
    ef_construction: Option<u32>,
    /// The values of `ef` to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640])]
    ef: Vec<usize>,
    /// Measure searches with filters.
    #[arg(long)]
    filters: bool,
    /// Make the graph from one over this share of the rows, the first ones, as after a merge; the time of that one
    /// is not counted.
    #[arg(long)]
    grown_from: Option<f64>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MetricName {
    Cosine,
    Dot,
    L2,
}

#[derive(Clone, Copy, ValueEnum)]
enum StorageName {
    Float32,
    Float16,
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
enum BuilderName {
    Native,
    #[value(name = "hnsw_rs")]
    HnswRs,
}

/// The lists of a column, one after the other, and the length of each.
fn lists<T: arrow::array::ArrowPrimitiveType>(path: &Path, column: &str) -> Option<(Vec<T::Native>, usize)> {
    let open = || ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    open().schema().column_with_name(column)?;
    let (mut values, mut len) = (Vec::new(), 0);
    for batch in open().build().unwrap() {
        let batch = batch.unwrap();
        let lists: &ArrayRef = batch.column_by_name(column).unwrap();
        let item = Field::new("item", T::DATA_TYPE, true);
        let lists = cast(lists, &DataType::List(item.into())).unwrap();
        for list in lists.as_list::<i32>().iter() {
            let list = list.expect("a list in every row");
            len = list.len();
            values.extend_from_slice(list.as_primitive::<T>().values());
        }
    }
    Some((values, len))
}

fn main() {
    let arguments = Arguments::parse();
    let metric = match arguments.metric {
        MetricName::Cosine => Metric::Cosine,
        MetricName::Dot => Metric::Dot,
        MetricName::L2 => Metric::L2,
    };
    let storage = match arguments.storage {
        StorageName::Float32 => Storage::Float32,
        StorageName::Float16 => Storage::Float16,
        StorageName::Int8 => Storage::Int8,
    };
    let (builder, name) = match arguments.builder {
        BuilderName::Native => (Builder::Native, "native"),
        BuilderName::HnswRs => (Builder::HnswRs, "hnsw_rs"),
    };
    let defaults = VectorDefinition::default();
    let parameters = GraphParameters {
        m: arguments.m.unwrap_or(defaults.m),
        ef_construction: arguments.ef_construction.unwrap_or(match builder {
            Builder::Native => defaults.ef_construction,
            Builder::HnswRs => 200,
        }),
    };

    let dir = tempfile::tempdir().unwrap();
    let (base, dimensions) =
        lists::<Float32Type>(&arguments.base, "embedding").expect("a column `embedding`");
    let (vectors, _) = lists::<Float32Type>(&arguments.queries, "embedding").expect("a column `embedding`");
    // preparing a query is part of the search for it
    let prepare = |vector: &[f32]| Query::new(metric, dimensions as u32, vector).unwrap();
    let vectors: Vec<&[f32]> = vectors.chunks_exact(dimensions).collect();
    let threads = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build().unwrap();
    let build = |ancestor: Option<&Ancestor>, dir: &Path| {
        let part = open_rows(dir);
        let build = || graph::build(&part, builder, parameters, ancestor, &AtomicBool::new(false));
        let graph = threads.install(build).unwrap().expect("not cancelled");
        let writer = PartWriter::create(&OsDisk, &graph_path(dir), PartKind::Graph).unwrap();
        graph.write(writer).unwrap();
        graph.reused
    };
    let ancestor = arguments.grown_from.map(|share| {
        let dir = tempfile::tempdir().unwrap();
        let rows = (share * (base.len() / dimensions) as f64) as usize;
        threads.install(|| write_rows(dir.path(), metric, storage, &base[..rows * dimensions], dimensions));
        build(None, dir.path());
        let file = PartFile::open(&graph_path(dir.path()), PartKind::Graph).unwrap();
        Ancestor::new(GraphPart::open(file, rows as u32).unwrap().into())
    });
    let (begun, used) = (Instant::now(), cpu_seconds());
    threads.install(|| write_rows(dir.path(), metric, storage, &base, dimensions));
    let write_seconds = begun.elapsed().as_secs_f64();
    let reused = build(ancestor.as_ref(), dir.path());
    let build_seconds = begun.elapsed().as_secs_f64();
    let build_cpu_seconds = cpu_seconds().zip(used).map(|(now, used)| now - used);
    drop(ancestor);
    let base = arguments.filters.then_some(base);
    let begun = Instant::now();
    let part = open_rows(dir.path());
    let graph =
        GraphPart::open(PartFile::open(&graph_path(dir.path()), PartKind::Graph).unwrap(), part.rows())
            .unwrap();
    let target = Effort::Recall(defaults.recall_target);
    vector::recall(&part, Some(&graph), &prepare(vectors[0]), K, target, false, None).unwrap();
    let first_query_ms = begun.elapsed().as_secs_f64() * 1e3;
    // as the engine does in the background
    part.check_codes().unwrap();
    graph.check_links().unwrap();
    let (rows, originals) = (u64::from(part.rows()), part.original_bytes());
    let bytes = BytesPerVector::new(rows, originals, part.file_bytes(), graph.file_bytes()).expect("rows");
    let bytes_per_vector = bytes.in_memory;

    if let Some(base) = base {
        threads.install(|| filters::measure(&part, &graph, metric, &base, &vectors, arguments.json));
        return;
    }
    let known = lists::<UInt32Type>(&arguments.queries, "neighbours");
    let worst: Vec<f32> = vectors
        .iter()
        .map(|vector| prepare(vector))
        .enumerate()
        .map(|(at, query)| match &known {
            Some((rows, len)) => {
                let scores = vector::score_rows(&part, &query, &rows[at * len..at * len + K]).unwrap();
                scores[K - 1]
            }
            None => vector::exact(&part, &query, K, None).unwrap()[K - 1].raw,
        })
        .collect();

    if !arguments.json {
        println!(
            "{name}, {storage}: {build_seconds:.2} s to build, {write_seconds:.2} of them to write rows, codes and \
             sketches; bytes a vector: {bytes_per_vector} codes, sketches and graph, {} originals",
            bytes.originals
        );
        if let Some(seconds) = build_cpu_seconds {
            println!("{seconds:.2} s of processor time to build; {reused} rows kept links");
        }
        println!("{:>6} {:>8} {:>9} {:>8} {:>8}", "ef", "recall", "qps", "p50 µs", "p99 µs");
    }
    // `ann.py` takes this as the sign that all is built
    for target in [0.9, 0.95, 0.99] {
        eprintln!("recall target {target}: ef {}", graph.ef(Effort::Recall(target)));
    }
    for ef in arguments.ef {
        let run = |vector: &[f32]| {
            vector::recall(&part, Some(&graph), &prepare(vector), K, Effort::Ef(ef), false, None).unwrap()
        };
        let mut found = 0;
        for (vector, worst) in vectors.iter().zip(&worst) {
            found += run(vector).iter().filter(|hit| good(metric, hit.raw, *worst)).count();
        }
        let recall = found as f64 / (vectors.len() * K) as f64;
        let mut times = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < AT_LEAST {
            for vector in &vectors {
                let begun = Instant::now();
                std::hint::black_box(run(vector));
                times.push(begun.elapsed().as_nanos() as f64 / 1000.0);
            }
        }
        let qps = times.len() as f64 / begun.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let percentile = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let (p50, p99) = (percentile(0.5), percentile(0.99));
        if arguments.json {
            let line = serde_json::json!({
                "builder": name,
                "storage": storage,
                "build_seconds": build_seconds,
                "build_cpu_seconds": build_cpu_seconds,
                "write_seconds": write_seconds,
                "reused_rows": reused,
                "threads": arguments.threads,
                "rows": part.rows(),
                "dim": dimensions,
                "bytes_per_vector": bytes_per_vector,
                "original_bytes_per_vector": bytes.originals,
                "first_query_ms": first_query_ms,
                "ef": ef,
                "recall@10": recall,
                "qps": qps,
                "p50_us": p50,
                "p99_us": p99,
            });
            println!("{line}");
        } else {
            println!("{ef:>6} {recall:>8.4} {qps:>9.0} {p50:>8.1} {p99:>8.1}");
        }
    }
}

/// Writes the vectors as a part.
fn write_rows(dir: &Path, metric: Metric, storage: Storage, values: &[f32], dimensions: usize) {
    let writer = PartWriter::create(&OsDisk, &rows_path(dir), PartKind::Vectors).unwrap();
    let mut writer = VectorWriter::new(writer, metric, storage, dimensions as u32).unwrap();
    values.chunks_exact(dimensions).for_each(|vector| writer.push(vector).unwrap());
    writer.finish().unwrap();
}

fn open_rows(dir: &Path) -> VectorPart {
    VectorPart::open(PartFile::open(&rows_path(dir), PartKind::Vectors).unwrap()).unwrap()
}

fn rows_path(dir: &Path) -> PathBuf {
    dir.join("bench.vectors")
}

fn graph_path(dir: &Path) -> PathBuf {
    dir.join("bench.graph")
}

/// Processor time of this process so far; where the system tells it as Linux does.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: Vec<f64> = after_name.split(' ').skip(12).take(2).flat_map(str::parse).collect();
    Some(ticks.iter().sum::<f64>() / 100.0)
}

/// Whether a hit is as good as the worst of the true neighbours: equally good rows count.
fn good(metric: Metric, raw: f32, worst: f32) -> bool {
    match metric {
        Metric::L2 => raw <= worst * (1.0 + 1e-6) + 1e-9,
        Metric::Cosine | Metric::Dot => raw >= worst - worst.abs() * 1e-6 - 1e-9,
    }
}
