//! Writes the parts of a new segment from prepared documents.

use std::path::Path;

use crate::chunk::Chunk;
use crate::collection::catalog::SegmentRecord;
use crate::collection::definition::{Definition, VectorDefinition};
use crate::error::Result;
use crate::segment::part_path;
use crate::segment::source::{Head, SourceWriter};
use crate::store::{Disk, PartKind, PartWriter};
use crate::text::{TextBuilder, TextRow};
use crate::vector::VectorWriter;

/// A document that is ready to be written: chunked, embedded, its metadata typed.
#[derive(Clone, Debug)]
pub struct PreparedDocument {
    /// The primary key.
    pub id: String,
    /// Acceptance order within the collection.
    pub version: u64,
    /// Position in its request.
    pub index: usize,
    /// Title, uri and metadata.
    pub head: Head,
    /// The text.
    pub text: String,
    /// At least one.
    pub chunks: Vec<Chunk>,
    /// Metadata as index terms.
    pub terms: Vec<Vec<u8>>,
    /// One vector a chunk, one after the other; empty in a lexical collection.
    pub vectors: Vec<f32>,
}

/// Where and how segments of a collection are written.
#[derive(Clone, Copy, Debug)]
pub struct SegmentPlace<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// The collection's folder.
    pub dir: &'a Path,
    /// The collection's definition.
    pub definition: &'a Definition,
    /// Length of its vectors, if it has any.
    pub dimensions: Option<u32>,
}

impl SegmentPlace<'_> {
    /// Begins the file of a part. Nothing names it yet: it is live once the catalog has its segment.
    pub fn part(&self, id: u64, kind: PartKind) -> Result<PartWriter> {
        Ok(PartWriter::create(self.disk, &part_path(self.dir, id, kind), kind)?)
    }

    /// fsyncs the folder: the names of the files written into it are on disk.
    pub fn sync(&self) -> Result<()> {
        Ok(self.disk.sync_dir(self.dir)?)
    }

    /// Removes what was written of a segment that is not to be.
    pub fn discard(&self, id: u64) {
        for kind in [PartKind::Source, PartKind::Text, PartKind::Vectors, PartKind::Graph] {
            self.discard_part(id, kind);
        }
    }

    /// Removes what was written of a part that is not to be.
    pub fn discard_part(&self, id: u64, kind: PartKind) {
        if let Err(error) = self.disk.remove(&part_path(self.dir, id, kind)) {
            tracing::warn!(%error, "a left-over file could not be removed; the next start tries again");
        }
    }
}

/// Writes segment `id` from documents of distinct ids, in their order, and fsyncs it. The parts are written
/// side by side on the current rayon pool. What was written is removed again where one of them fails.
pub fn build(place: &SegmentPlace<'_>, id: u64, documents: &[&PreparedDocument]) -> Result<SegmentRecord> {
    write_parts(place, id, documents).inspect_err(|_| place.discard(id))
}

fn write_parts(place: &SegmentPlace<'_>, id: u64, documents: &[&PreparedDocument]) -> Result<SegmentRecord> {
    let (text, (source, vectors)) = rayon::join(
        || write_text(place, id, documents),
        || rayon::join(|| write_source(place, id, documents), || write_vectors(place, id, documents)),
    );
    let (text, source, vectors) = (text?, source?, vectors?);
    place.sync()?;
    Ok(SegmentRecord {
        id,
        rows: documents.iter().map(|document| document.chunks.len() as u32).sum(),
        documents: documents.len() as u32,
        max_version: documents.iter().map(|document| document.version).max().unwrap_or(0),
        vectors: vectors.is_some(),
        graph: false,
        bytes: text + source + vectors.unwrap_or(0),
    })
}

fn write_text(place: &SegmentPlace<'_>, id: u64, documents: &[&PreparedDocument]) -> Result<u64> {
    let mut builder = TextBuilder::new(&place.definition.text)?;
    for document in documents {
        for chunk in &document.chunks {
            builder.push(&TextRow {
                title: document.head.title.as_deref(),
                headings: &chunk.headings,
                text: &document.text[chunk.bytes.start as usize..chunk.bytes.end as usize],
                terms: &document.terms,
            })?;
        }
    }
    builder.finish(place.part(id, PartKind::Text)?)
}

fn write_source(place: &SegmentPlace<'_>, id: u64, documents: &[&PreparedDocument]) -> Result<u64> {
    let mut writer = SourceWriter::new(place.part(id, PartKind::Source)?)?;
    for document in documents {
        writer.push(&document.id, document.version, &document.head, &document.text, &document.chunks)?;
    }
    Ok(writer.finish()?)
}

fn write_vectors(place: &SegmentPlace<'_>, id: u64, documents: &[&PreparedDocument]) -> Result<Option<u64>> {
    let Some(dimensions) = place.dimensions else { return Ok(None) };
    let part = place.part(id, PartKind::Vectors)?;
    let VectorDefinition { metric, storage, .. } = place.definition.vector;
    let mut writer = VectorWriter::new(part, metric, storage, dimensions)?;
    for vector in documents.iter().flat_map(|document| document.vectors.chunks_exact(dimensions as usize)) {
        writer.push(vector)?;
    }
    Ok(Some(writer.finish()?))
}
