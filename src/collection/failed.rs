//! What failed in a job: each document with its reason, kept whole so that it can be listed and tried again.
//!
//! One checksummed file a job that has failures, written before the job ends and named by it in the catalog.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::collection::inbox::{self, AcceptedDocument};
use crate::document::ItemResult;
use crate::store::{Disk, PartKind, Result};

/// A document that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub result: ItemResult,
    /// As it was accepted; absent where that could not be read any more.
    pub document: Option<AcceptedDocument>,
}

/// File of what failed in the batch that began with `first_version`.
pub fn path(dir: &Path, first_version: u64) -> PathBuf {
    dir.join(format!("{first_version}.{}", PartKind::Failed.name()))
}

/// Writes what failed in a batch, whose documents are still in the inbox, and fsyncs it (file and folder).
pub fn keep(disk: &dyn Disk, dir: &Path, first_version: u64, failures: &[ItemResult]) -> Result<()> {
    // where the batch is damaged, that is why its documents failed
    let documents = inbox::read(dir, first_version).unwrap_or_default();
    let mut by_index: std::collections::HashMap<usize, AcceptedDocument> =
        documents.into_iter().map(|document| (document.index, document)).collect();
    let mut failed: Vec<Failed> = failures
        .iter()
        .map(|result| Failed { document: by_index.remove(&result.index), result: result.clone() })
        .collect();
    failed.sort_by_key(|failed| failed.result.index);
    inbox::write_lines(disk, dir, &path(dir, first_version), PartKind::Failed, &failed).map(drop)
}

/// Reads why documents of a batch failed, in the order of the request.
pub fn read_results(dir: &Path, first_version: u64) -> Result<Vec<ItemResult>> {
    #[derive(Deserialize)]
    struct OnlyResult {
        result: ItemResult,
    }
    let failed: Vec<OnlyResult> = inbox::read_lines(&path(dir, first_version), PartKind::Failed)?;
    Ok(failed.into_iter().map(|failed| failed.result).collect())
}

/// Reads what failed in a batch, in the order of the request.
pub fn read(dir: &Path, first_version: u64) -> Result<Vec<Failed>> {
    inbox::read_lines(&path(dir, first_version), PartKind::Failed)
}
