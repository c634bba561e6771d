//! Readers: files and folders in, documents out. Each document comes with the place it was read from, so
//! that a failure can name file and line (or row).
//!
//! [`walk`] finds the files; [`text`], [`jsonl`] and [`parquet`] read one kind each.

pub mod jsonl;
pub mod parquet;
pub mod text;
pub mod walk;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::Document;

pub use parquet::Columns;
pub use walk::{Format, Source, Walk, walk};

/// Where a document was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub path: Arc<PathBuf>,
    /// The line or row in it, from 1; absent where the file is one document.
    pub position: Option<u64>,
}

impl Origin {
    fn file(path: &Path) -> Origin {
        Origin { path: Arc::new(path.to_owned()), position: None }
    }

    /// The same file at another line or row.
    fn at(&self, position: u64) -> Origin {
        Origin { path: Arc::clone(&self.path), position: Some(position) }
    }

    /// An id for a document that has none: the same file gives the same ids when it is imported again.
    fn made_up_id(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.position.map_or_else(|| name.to_string(), |position| format!("{name}#{position}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.position.map_or(Ok(()), |position| write!(f, ":{position}"))
    }
}

/// Something that could not be read as a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct ReadError {
    /// Where.
    pub origin: Origin,
    /// Why.
    pub reason: String,
}

impl ReadError {
    fn new(origin: Origin, reason: impl Into<String>) -> ReadError {
        ReadError { origin, reason: reason.into() }
    }
}

/// A document, where it was read, and how far the file is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The document; always with an id.
    pub document: Document,
    /// Where it was read.
    pub origin: Origin,
    /// Bytes of the file behind us, this row included.
    pub bytes_read: u64,
}

/// The documents of one file, in its order. After an error that concerns the whole file it ends.
pub type Rows = Box<dyn Iterator<Item = Result<Row, ReadError>> + Send>;

/// The documents of `source`; `columns` say what a Parquet file's columns mean.
pub fn read(source: &Source, columns: &Columns) -> Rows {
    match source.format {
        Format::Text => Box::new(text::read(source).transpose().into_iter()),
        Format::Jsonl => match jsonl::JsonlReader::open(&source.path) {
            Ok(reader) => Box::new(reader),
            Err(error) => Box::new(std::iter::once(Err(error))),
        },
        Format::Parquet => match parquet::ParquetReader::open(&source.path, columns) {
            Ok(reader) => Box::new(reader),
            Err(error) => Box::new(std::iter::once(Err(error))),
        },
    }
}
