//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::{Result, StoreError};

/// Holds the exclusive lock of a data directory until it is dropped (or the process dies).
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Name of the lock file inside the data directory.
    pub const FILE: &'static str = "LOCK";

    /// Takes the lock of `dir`, or says [`StoreError::Locked`] at once.
    pub fn take(dir: &Path) -> Result<DirLock> {
        let path = dir.join(Self::FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
        }
    }
}
