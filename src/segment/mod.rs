//! The immutable unit of a collection: n chunks as rows 0..n, held in parts over the same rows.
//!
//! `text` (postings and metadata terms), `source` (the documents), `vectors` and `graph` are files of
//! their own, so that a graph can be added later. [`build`] writes a segment from prepared documents,
//! [`merge`] from other segments; [`Segment`] is an open one.

pub mod build;
pub mod merge;
pub mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collection::catalog::SegmentRecord;
use crate::error::Result;
use crate::store::{PartFile, PartKind, StoreError};
use crate::text::TextPart;
use crate::vector::graph::Ancestor;
use crate::vector::{GraphPart, VectorPart};

pub use source::SourcePart;

/// File of one part of segment `id` in a collection's folder.
pub fn part_path(dir: &Path, id: u64, kind: PartKind) -> PathBuf {
    dir.join(format!("{id}.{}", kind.name()))
}

/// The kinds of part that a record says a segment has.
pub fn part_kinds(record: &SegmentRecord) -> Vec<PartKind> {
    let mut kinds = vec![PartKind::Source, PartKind::Text];
    if record.vectors {
        kinds.push(PartKind::Vectors);
    }
    if record.graph {
        kinds.push(PartKind::Graph);
    }
    kinds
}

/// An open segment. A part that cannot be opened (damage) is kept as its error: who needs that part gets
/// the error, who does not is served.
#[derive(Debug)]
pub struct Segment {
    /// As the catalog has it.
    pub record: SegmentRecord,
    source: Result<SourcePart>,
    text: Result<TextPart>,
    vectors: Option<Result<VectorPart>>,
    graph: Option<Result<Arc<GraphPart>>>,
    ancestor: Option<Ancestor>,
}

impl Segment {
    /// Opens the parts of a segment: maps them and reads their headers.
    pub fn open(dir: &Path, record: SegmentRecord) -> Segment {
        let file = |kind| Ok(PartFile::open(&part_path(dir, record.id, kind), kind)?);
        let rows = record.rows;
        let check = |found: u32, file: &Path| -> Result<()> {
            if found == rows {
                return Ok(());
            }
            Err(StoreError::corrupt(file, format!("it has {found} rows, the catalog says {rows}")).into())
        };
        let source = file(PartKind::Source).and_then(|file| {
            let part = SourcePart::open(file)?;
            check(part.rows(), part.file().path())?;
            Ok(part)
        });
        let text = file(PartKind::Text).and_then(|file| {
            let part = TextPart::open(Arc::clone(&file))?;
            check(part.rows(), file.path())?;
            Ok(part)
        });
        let vectors = record.vectors.then(|| {
            file(PartKind::Vectors).and_then(|file| {
                let part = VectorPart::open(Arc::clone(&file))?;
                check(part.rows(), file.path())?;
                Ok(part)
            })
        });
        let graph = record
            .graph
            .then(|| file(PartKind::Graph).and_then(|file| Ok(Arc::new(GraphPart::open(file, rows)?))));
        let segment = Segment { record, source, text, vectors, graph, ancestor: None };
        for error in segment.damage() {
            tracing::error!(%error, "a part cannot be opened");
        }
        segment
    }

    /// The same segment with what its graph can be made from.
    #[must_use]
    pub fn with_ancestor(self, ancestor: Option<Ancestor>) -> Segment {
        Segment { ancestor, ..self }
    }

    /// What its graph can be made from: the graph of a segment that was merged into it, since it was opened.
    pub fn ancestor(&self) -> Option<&Ancestor> {
        self.ancestor.as_ref()
    }

    /// What the graph of a segment that it is merged into can be made from.
    pub fn to_ancestor(&self) -> Option<Ancestor> {
        match &self.graph {
            Some(graph) => graph.as_ref().ok().map(|graph| Ancestor::new(Arc::clone(graph))),
            None => self.ancestor.clone(),
        }
    }

    /// Rows, deleted ones included.
    pub fn rows(&self) -> u32 {
        self.record.rows
    }

    /// The documents.
    pub fn source(&self) -> Result<&SourcePart> {
        self.source.as_ref().map_err(Clone::clone)
    }

    /// The postings.
    pub fn text(&self) -> Result<&TextPart> {
        self.text.as_ref().map_err(Clone::clone)
    }

    /// The vectors; `None` in a lexical collection.
    pub fn vectors(&self) -> Result<Option<&VectorPart>> {
        self.vectors.as_ref().map(Result::as_ref).transpose().map_err(Clone::clone)
    }

    /// The graph, where it has been built.
    pub fn graph(&self) -> Result<Option<&GraphPart>> {
        match &self.graph {
            None => Ok(None),
            Some(Ok(graph)) => Ok(Some(graph)),
            Some(Err(error)) => Err(error.clone()),
        }
    }

    /// Its rows and the bytes of their originals, of the file that holds them and of the graph, as
    /// [`BytesPerVector::new`](crate::vector::BytesPerVector::new) wants them; `None` where it has no vectors, or
    /// none that can be read.
    pub fn vector_bytes(&self) -> Option<[u64; 4]> {
        let vectors = self.vectors().ok()??;
        let graph = self.graph().ok().flatten().map_or(0, GraphPart::file_bytes);
        Some([self.rows().into(), vectors.original_bytes(), vectors.file_bytes(), graph])
    }

    /// Whether walks of the graph must check what they read: [`check_graph`](Self::check_graph) was not called.
    pub fn graph_is_unchecked(&self) -> bool {
        matches!(&self.graph, Some(Ok(graph)) if !graph.is_checked())
    }

    /// Checks what walks of the graph read, so that they need not do it. It also brings it into memory.
    pub fn check_graph(&self) -> Result<()> {
        if let (Some(vectors), Some(graph)) = (self.vectors()?, self.graph()?) {
            vectors.check_codes()?;
            graph.check_links()?;
        }
        Ok(())
    }

    /// What could not be opened.
    pub fn damage(&self) -> Vec<crate::Error> {
        let errors = [
            self.source.as_ref().err(),
            self.text.as_ref().err(),
            self.vectors.as_ref().and_then(|part| part.as_ref().err()),
            self.graph.as_ref().and_then(|part| part.as_ref().err()),
        ];
        errors.into_iter().flatten().cloned().collect()
    }
}
