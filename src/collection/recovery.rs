//! The start of an engine: brings the files of a data directory in line with what the catalog names.
//!
//! The catalog is the only truth: a file it does not name was being written, or had been replaced, when
//! the process ended. Such files are removed; batches it names are indexed again.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::collection::catalog::{CollectionState, State};
use crate::collection::{failed, inbox};
use crate::ingest::job::Job;
use crate::segment::{part_kinds, part_path};
use crate::store::{Disk, Result, StoreError};

/// The folder that holds a folder for each collection.
pub fn collections_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("collections")
}

/// The folder of the embedding cache. It can be removed while no gleaner runs.
pub fn cache_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("embedding-cache")
}

/// What the collection's jobs keep of the documents that failed, by first version.
pub fn failed_batches<'a>(
    jobs: &'a BTreeMap<String, Job>,
    collection: &'a str,
) -> impl Iterator<Item = u64> + 'a {
    jobs.values().filter(move |job| job.collection == collection).filter_map(|job| job.failed_batch)
}

/// The files of a collection's folder that the catalog names.
pub fn named_files(dir: &Path, state: &CollectionState, jobs: &BTreeMap<String, Job>) -> Vec<PathBuf> {
    let failed = failed_batches(jobs, &state.record.name).map(|batch| failed::path(dir, batch));
    let parts = state
        .segments
        .iter()
        .flat_map(|record| part_kinds(record).into_iter().map(|kind| part_path(dir, record.id, kind)));
    let batches = state.batches.iter().map(|batch| inbox::path(dir, batch.first_version));
    parts.chain(batches).chain(failed).collect()
}

/// The files and folders under a data directory's collections that the catalog does not name.
pub fn orphans(data_dir: &Path, state: &State) -> Result<Vec<PathBuf>> {
    let root = collections_dir(data_dir);
    let mut orphans = Vec::new();
    for name in names(&root)? {
        let dir = root.join(&name);
        let id = name.to_str().and_then(|name| name.parse::<u64>().ok());
        let Some(collection) = id.and_then(|id| state.collections.get(&id)) else {
            orphans.push(dir);
            continue;
        };
        let named: HashSet<PathBuf> = named_files(&dir, collection, &state.jobs).into_iter().collect();
        orphans
            .extend(names(&dir)?.into_iter().map(|name| dir.join(name)).filter(|path| !named.contains(path)));
    }
    orphans.sort();
    Ok(orphans)
}

/// Removes the orphans and makes the folders that are missing.
pub fn recover(disk: &dyn Disk, data_dir: &Path, state: &State) -> Result<()> {
    let root = collections_dir(data_dir);
    disk.create_dir(&root)?;
    disk.sync_dir(data_dir)?;
    for path in orphans(data_dir, state)? {
        tracing::info!(path = %path.display(), "removing what a previous run left unfinished");
        if path.is_dir() {
            disk.remove_dir(&path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    for id in state.collections.keys() {
        disk.create_dir(&root.join(id.to_string()))?;
    }
    disk.sync_dir(&root)
}

/// The highest id that any file or record of the data directory has.
pub fn last_id(state: &State) -> u64 {
    let segments = state.collections.values().flat_map(|collection| &collection.segments);
    let collections = state.collections.keys().copied();
    collections.chain(segments.map(|segment| segment.id)).max().unwrap_or(0)
}

fn names(dir: &Path) -> Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("list", dir))?,
    };
    entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(StoreError::io("list", dir))).collect()
}
