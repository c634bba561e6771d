//! Data for the tests of the dense leg.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::graph::{self, Graph, GraphParameters, GraphPart};
use super::{VectorPart, VectorWriter};
use crate::collection::definition::{Builder, Metric, Storage};
use crate::rows::RowSet;
use crate::store::{OsDisk, PartFile, PartKind, PartWriter};

pub(super) const BUILDERS: [Builder; 2] = [Builder::Native, Builder::HnswRs];
pub(super) const STORAGES: [Storage; 3] = [Storage::Float32, Storage::Float16, Storage::Int8];
pub(super) const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

/// A small deterministic generator (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    /// In -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.signed()).collect()
    }

    /// `rows` vectors around `clusters` centres.
    pub fn clustered(&mut self, rows: usize, dimensions: usize, clusters: usize) -> Vec<Vec<f32>> {
        let centres: Vec<Vec<f32>> = (0..clusters).map(|_| self.vector(dimensions)).collect();
        (0..rows)
            .map(|_| {
                let centre = self.below(clusters);
                self.near(&centres[centre], 0.5)
            })
            .collect()
    }

    pub fn near(&mut self, vector: &[f32], by: f32) -> Vec<f32> {
        vector.iter().map(|x| x + by * self.signed()).collect()
    }

    pub fn rows(&mut self, rows: u32, share: f64) -> RowSet {
        let mut set = RowSet::empty(rows);
        for row in 0..rows {
            if self.signed() as f64 <= share * 2.0 - 1.0 {
                set.insert(row);
            }
        }
        set
    }
}

pub(super) fn write(dir: &Path, metric: Metric, vectors: &[Vec<f32>], dimensions: usize) -> PathBuf {
    write_as(Storage::Float32, dir, metric, vectors, dimensions)
}

pub(super) fn write_as(
    storage: Storage,
    dir: &Path,
    metric: Metric,
    vectors: &[Vec<f32>],
    dimensions: usize,
) -> PathBuf {
    let path = dir.join("rows.vectors");
    let writer = PartWriter::create(&OsDisk, &path, PartKind::Vectors).unwrap();
    let mut writer = VectorWriter::new(writer, metric, storage, dimensions as u32).unwrap();
    vectors.iter().for_each(|vector| writer.push(vector).unwrap());
    assert_eq!(writer.finish().unwrap(), std::fs::metadata(&path).unwrap().len());
    path
}

pub(super) fn open(path: &Path) -> VectorPart {
    VectorPart::open(PartFile::open(path, PartKind::Vectors).unwrap()).unwrap()
}

pub(super) fn part(dir: &Path, metric: Metric, vectors: &[Vec<f32>]) -> VectorPart {
    open(&write(dir, metric, vectors, vectors.first().map_or(8, Vec::len)))
}

pub(super) fn part_as(storage: Storage, dir: &Path, metric: Metric, vectors: &[Vec<f32>]) -> VectorPart {
    open(&write_as(storage, dir, metric, vectors, vectors.first().map_or(8, Vec::len)))
}

pub(super) fn graph(part: &VectorPart) -> Graph {
    built_by(Builder::Native, part)
}

pub(super) fn built_by(builder: Builder, part: &VectorPart) -> Graph {
    let parameters = GraphParameters { m: 16, ef_construction: 100 };
    graph::build(part, builder, parameters, None, &AtomicBool::new(false)).unwrap().unwrap()
}

pub(super) fn frozen(dir: &Path, graph: &Graph) -> PathBuf {
    let path = dir.join("rows.graph");
    let written = graph.write(PartWriter::create(&OsDisk, &path, PartKind::Graph).unwrap()).unwrap();
    assert_eq!(written, std::fs::metadata(&path).unwrap().len());
    path
}

pub(super) fn open_graph(path: &Path, rows: u32) -> GraphPart {
    GraphPart::open(PartFile::open(path, PartKind::Graph).unwrap(), rows).unwrap()
}
