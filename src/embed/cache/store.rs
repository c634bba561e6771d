//! The vectors on disk: volumes in the order of their age, of which the newest is written and the oldest goes
//! when the bound is reached.
//!
//! The files are disposable: nothing is fsynced (a process that is killed loses nothing, a power cut the last
//! seconds), every read is checked, and whatever does not check is only not there.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Key;
use super::volume::{self, Volume};

/// The bound is shared by this many volumes, so an eighth of the entries goes at a time.
const VOLUMES: u64 = 8;

/// Vectors by key, bounded in bytes.
pub(super) struct Store {
    dir: PathBuf,
    max_bytes: u64,
    volumes: OnceLock<RwLock<VecDeque<Volume>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Set once a write failed, so that one line says so and not a thousand.
    failing: AtomicBool,
}

/// What the store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Vectors that were found.
    pub hits: u64,
    /// Vectors that were looked for in vain.
    pub misses: u64,
    /// Vectors on disk.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Store {
    /// The store in `dir`, of at most `max_bytes` bytes. The folder is read at the first use.
    pub fn new(dir: PathBuf, max_bytes: u64) -> Store {
        let counter = AtomicU64::default;
        let (volumes, failing) = (OnceLock::new(), AtomicBool::new(false));
        Store { dir, max_bytes, volumes, hits: counter(), misses: counter(), failing }
    }

    /// The vectors of `keys`, where they are known, each of `dimensions` values. Reads files: call off the async
    /// threads.
    pub fn get(&self, keys: &[Key], dimensions: usize) -> Vec<Option<Vec<f32>>> {
        let volumes = self.volumes().read();
        let (mut found, mut leaving) = (Vec::with_capacity(keys.len()), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            let hit =
                volumes.iter().rev().find_map(|volume| Some((volume.number, volume.get(key, dimensions)?)));
            if volumes.len() as u64 >= VOLUMES
                && hit.as_ref().map(|hit| hit.0) == volumes.front().map(|v| v.number)
            {
                leaving.push(at);
            }
            found.push(hit.map(|hit| hit.1));
        }
        drop(volumes);
        let hits = found.iter().flatten().count() as u64;
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(keys.len() as u64 - hits, Ordering::Relaxed);
        // what is still in use does not go with the oldest volume
        self.put(leaving.iter().filter_map(|&at| Some((&keys[at], found[at].as_deref()?))));
        found
    }

    /// Keeps vectors: they are with the system (though not on the disk) when this returns. A failure is logged:
    /// it costs no more than embedding them again.
    pub fn put<'a>(&self, entries: impl Iterator<Item = (&'a Key, &'a [f32])>) {
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return;
        }
        let result = self.write(&mut self.volumes().write(), entries);
        match result {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, dir = %self.dir.display(), "the embedding cache could not be written");
            }
            Err(_) => {}
        }
    }

    fn write<'a>(
        &self,
        volumes: &mut VecDeque<Volume>,
        entries: impl Iterator<Item = (&'a Key, &'a [f32])>,
    ) -> io::Result<()> {
        let most = self.max_bytes / VOLUMES;
        let mut entries = entries.peekable();
        while let Some((_, first)) = entries.peek() {
            let bytes = Volume::entry_bytes(first.len());
            let fits = |volume: &Volume| volume.bytes() == 0 || volume.bytes() + bytes <= most;
            if !volumes.back().is_some_and(fits) {
                while volumes.len() as u64 >= VOLUMES
                    && let Some(oldest) = volumes.pop_front()
                {
                    oldest.remove()?;
                }
                std::fs::create_dir_all(&self.dir)?;
                let number = volumes.back().map_or(0, |volume| volume.number + 1);
                volumes.push_back(Volume::open(&self.dir, number)?);
            }
            let Some(volume) = volumes.back_mut() else { break };
            let mut room = most.saturating_sub(volume.bytes()).max(bytes);
            volume.put(std::iter::from_fn(|| {
                let next = entries.next_if(|(_, values)| Volume::entry_bytes(values.len()) <= room)?;
                room -= Volume::entry_bytes(next.1.len());
                Some(next)
            }))?;
        }
        Ok(())
    }

    /// What it holds and did. Before the first use it holds nothing.
    pub fn stats(&self) -> StoreStats {
        let (mut entries, mut bytes) = (0, 0);
        if let Some(volumes) = self.volumes.get() {
            for volume in volumes.read().iter() {
                entries += volume.entries() as u64;
                bytes += volume.bytes();
            }
        }
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        StoreStats { hits, misses, entries, bytes }
    }

    fn volumes(&self) -> &RwLock<VecDeque<Volume>> {
        self.volumes.get_or_init(|| {
            let volumes = open_all(&self.dir, self.max_bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, dir = %self.dir.display(), "the embedding cache begins anew");
                VecDeque::new()
            });
            RwLock::new(volumes)
        })
    }
}

/// Opens the volumes of a folder; removes the oldest where they are too many or too large.
fn open_all(dir: &Path, max_bytes: u64) -> io::Result<VecDeque<Volume>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        other => other?,
    };
    let mut numbers = BTreeSet::new();
    for entry in entries {
        numbers.extend(volume::number_of(&entry?.path()));
    }
    let mut volumes = VecDeque::new();
    let mut bytes = 0;
    for number in numbers.into_iter().rev() {
        if volumes.len() as u64 == VOLUMES || bytes >= max_bytes {
            volume::remove(dir, number)?;
            continue;
        }
        let volume = Volume::open(dir, number)?;
        bytes += volume.bytes();
        volumes.push_front(volume);
    }
    Ok(volumes)
}

#[cfg(test)]
mod tests;
