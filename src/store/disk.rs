//! The file operations durability rests on, behind a trait so that a test can lose what was not
//! fsynced ([`OsDisk`] is the only implementation outside the tests).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::{Result, StoreError};

/// A file being written. Nothing of it is durable before [`DiskFile::sync`].
pub trait DiskFile: Write + Send {
    /// fsync: content and length are on disk when this returns.
    fn sync(&mut self) -> io::Result<()>;
}

/// Creates, persists, renames and removes files. A name (a create, rename or remove) is durable
/// only after [`Disk::sync_dir`] of its directory.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates (or truncates) a file.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Renames within one file system, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file; one that is not there is fine.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes a directory and its parents.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// Removes a directory with what is in it; one that is not there is fine.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// fsync of a directory: its names are on disk when this returns.
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// The storage under the catalog database at `path`.
    fn database(&self, path: &Path) -> Result<Box<dyn redb::StorageBackend>>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = File::create(path).map_err(StoreError::io("create", path))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(StoreError::io("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        unless_missing(fs::remove_file(path)).map_err(StoreError::io("remove", path))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(StoreError::io("create directory", path))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        unless_missing(fs::remove_dir_all(path)).map_err(StoreError::io("remove directory", path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let dir = File::open(path).map_err(StoreError::io("open directory", path))?;
        dir.sync_all().map_err(StoreError::io("sync directory", path))
    }

    fn database(&self, path: &Path) -> Result<Box<dyn redb::StorageBackend>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        let backend = redb::backends::FileBackend::new(file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.to_owned() },
            other => StoreError::io("open", path)(io::Error::other(other.to_string())),
        })?;
        Ok(Box::new(backend))
    }
}
