//! Accepted batches that are not indexed yet: one checksummed file each, named by the catalog.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::store::{Disk, PartFile, PartKind, PartWriter, Result, StoreError};

const LINES: u32 = 0;

/// A document with the place it has in the order of acceptance and in its request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AcceptedDocument {
    /// Acceptance order within the collection.
    pub version: u64,
    /// Position in its request.
    pub index: usize,
    /// Its id, made by gleaner where the client gave none.
    pub id: String,
    /// The rest.
    pub document: Document,
}

/// File of the batch that begins with `first_version`.
pub fn path(dir: &Path, first_version: u64) -> PathBuf {
    dir.join(format!("{first_version}.{}", PartKind::Inbox.name()))
}

/// Writes a batch and fsyncs it (file and folder). Returns its bytes. A batch that cannot be written leaves no
/// file.
pub fn write(disk: &dyn Disk, dir: &Path, first_version: u64, documents: &[AcceptedDocument]) -> Result<u64> {
    write_lines(disk, dir, &path(dir, first_version), PartKind::Inbox, documents)
}

/// Writes a file of JSON Lines the same way.
pub(super) fn write_lines<T: Serialize>(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    kind: PartKind,
    lines: &[T],
) -> Result<u64> {
    let write = || {
        let mut part = PartWriter::create(disk, path, kind)?;
        part.begin(LINES)?;
        for line in lines {
            let mut line = serde_json::to_vec(line)
                .map_err(|error| StoreError::io("write", path)(std::io::Error::other(error)))?;
            line.push(b'\n');
            part.write(&line)?;
        }
        let bytes = part.finish()?;
        disk.sync_dir(dir)?;
        Ok(bytes)
    };
    write().inspect_err(|_| {
        if let Err(error) = disk.remove(path) {
            tracing::warn!(%error, "a left-over file could not be removed; the next start tries again");
        }
    })
}

/// Reads a batch.
pub fn read(dir: &Path, first_version: u64) -> Result<Vec<AcceptedDocument>> {
    read_lines(&path(dir, first_version), PartKind::Inbox)
}

/// Reads the ids of a batch's documents, in the order of their versions.
pub fn read_ids(dir: &Path, first_version: u64) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: String,
    }
    let documents: Vec<OnlyId> = read_lines(&path(dir, first_version), PartKind::Inbox)?;
    Ok(documents.into_iter().map(|document| document.id).collect())
}

/// Reads a file of JSON Lines.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path, kind: PartKind) -> Result<Vec<T>> {
    let section = PartFile::open(path, kind)?.section(LINES)?;
    serde_json::Deserializer::from_slice(section.all()?)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::corrupt(path, error.to_string()))
}
