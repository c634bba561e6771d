//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of the disk or of what is on it. Every variant names the file.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused an operation.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`, `sync`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The bytes are not what was written. Restore the file or re-import its documents.
    #[error("{} is damaged{}: {what}", path.display(), block.map(|b| format!(" in block {b}")).unwrap_or_default())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// The damaged block (of [`crate::store::part::BLOCK`] bytes), where it is known.
        block: Option<u64>,
        /// What does not fit.
        what: String,
    },
    /// The file was written by a newer gleaner: upgrade gleaner.
    #[error("{} has format version {found}, and this gleaner reads up to {supported}: use a newer gleaner", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version it says.
        found: u32,
        /// The newest version this build reads.
        supported: u32,
    },
    /// Another process holds the data directory.
    #[error("{} is in use by another gleaner process: stop it, or use another data directory", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
}

impl StoreError {
    /// A closure that wraps an [`io::Error`], for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source: Arc::new(source) }
    }

    /// Damage found in `path`.
    pub fn corrupt(path: &Path, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: path.to_owned(), block: None, what: what.into() }
    }

    /// The file or directory the error is about.
    pub fn path(&self) -> &Path {
        match self {
            StoreError::Io { path, .. }
            | StoreError::Corrupt { path, .. }
            | StoreError::NewerFormat { path, .. }
            | StoreError::Locked { path } => path,
        }
    }
}
