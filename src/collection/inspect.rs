//! What a data directory holds, file by file, without serving it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::collection::catalog::{BatchRecord, SegmentRecord};
use crate::collection::definition::Storage;
use crate::collection::{catalog, recovery};
use crate::error::{Error, Result};
use crate::segment::{part_kinds, part_path};
use crate::store::lock::DirLock;
use crate::store::{OsDisk, PartKind};
use crate::vector::BytesPerVector;

/// What a data directory holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its collections, by id.
    pub collections: Vec<CollectionInspection>,
    /// Jobs that have not ended.
    pub open_jobs: usize,
    /// Bytes of the catalog.
    pub catalog_bytes: u64,
}

/// What a collection holds.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionInspection {
    /// Its id and the name of its folder.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Id of the embedding model, if it has one.
    pub model: Option<String>,
    /// Length of its vectors, if it has any.
    pub dimensions: Option<u32>,
    /// How its vectors are stored.
    pub storage: Storage,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentInspection>,
    /// Batches that are not indexed yet.
    pub inbox: Vec<BatchRecord>,
    /// Deletes that outlive older writes on their way.
    pub tombstones: usize,
}

/// What a segment holds.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentInspection {
    /// As the catalog has it.
    #[serde(flatten)]
    pub record: SegmentRecord,
    /// Rows of deleted documents.
    pub deleted_rows: u64,
    /// Bytes of each part.
    pub parts: Vec<(&'static str, u64)>,
    /// What a vector takes; absent in a lexical collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_vector: Option<BytesPerVector>,
}

/// Reads what a data directory holds.
pub fn inspect(data_dir: &Path) -> Result<Inspection> {
    let catalog_file = data_dir.join(catalog::FILE);
    if !catalog_file.exists() {
        let message = format!("{} holds no gleaner data (no {})", data_dir.display(), catalog::FILE);
        return Err(Error::invalid("data_dir", message));
    }
    let _lock = DirLock::take(data_dir)?;
    let state = catalog::read(Arc::new(OsDisk), data_dir)?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let collections = state.collections.iter().map(|(&id, collection)| {
        let dir = recovery::collections_dir(data_dir).join(id.to_string());
        let segments = collection.segments.iter().map(|record| {
            let parts: Vec<_> = part_kinds(record)
                .into_iter()
                .map(|kind| (kind.name(), size(&part_path(&dir, record.id, kind))))
                .collect();
            let part =
                |kind: PartKind| parts.iter().find(|(name, _)| *name == kind.name()).map(|&(_, bytes)| bytes);
            let bytes_per_vector = part(PartKind::Vectors).zip(collection.record.dimensions);
            let bytes_per_vector = bytes_per_vector.and_then(|(vectors, dimensions)| {
                let rows = u64::from(record.rows);
                let row = collection.record.definition.vector.storage.row_bytes(dimensions as usize);
                BytesPerVector::new(rows, rows * row as u64, vectors, part(PartKind::Graph).unwrap_or(0))
            });
            SegmentInspection {
                deleted_rows: collection.deletes.get(&record.id).map_or(0, |rows| rows.len()),
                bytes_per_vector,
                record: record.clone(),
                parts,
            }
        });
        CollectionInspection {
            id,
            name: collection.record.name.clone(),
            model: collection.record.model.clone(),
            dimensions: collection.record.dimensions,
            storage: collection.record.definition.vector.storage,
            segments: segments.collect(),
            inbox: collection.batches.clone(),
            tombstones: collection.tombstones.len(),
        }
    });
    Ok(Inspection {
        collections: collections.collect(),
        open_jobs: state.jobs.values().filter(|job| !job.state.ended()).count(),
        catalog_bytes: size(&catalog_file),
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "catalog: {} bytes, {} open jobs", self.catalog_bytes, self.open_jobs)?;
        for collection in &self.collections {
            let model = collection.model.as_deref().unwrap_or("no model");
            let dimensions = collection.dimensions.map_or("no vectors".into(), |d| format!("{d} dimensions"));
            writeln!(f, "\n{} (folder {}): {model}, {dimensions}", collection.name, collection.id)?;
            for segment in &collection.segments {
                let record = &segment.record;
                write!(
                    f,
                    "  segment {}: {} documents, {} rows, {} deleted;",
                    record.id, record.documents, record.rows, segment.deleted_rows
                )?;
                for (name, bytes) in &segment.parts {
                    write!(f, " {name} {bytes}")?;
                }
                writeln!(f, " bytes")?;
                if let Some(bytes) = segment.bytes_per_vector {
                    let BytesPerVector { originals, codes, graph, in_memory } = bytes;
                    let storage = collection.storage;
                    writeln!(
                        f,
                        "    a vector: {originals} bytes as {storage}, {codes} as code, {graph} of graph; \
                         {in_memory} to be in memory"
                    )?;
                }
            }
            for batch in &collection.inbox {
                writeln!(
                    f,
                    "  inbox {}: {} documents, {} bytes",
                    batch.first_version, batch.documents, batch.bytes
                )?;
            }
            if collection.tombstones > 0 {
                writeln!(f, "  {} tombstones", collection.tombstones)?;
            }
        }
        Ok(())
    }
}
