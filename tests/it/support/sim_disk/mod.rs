//! A disk that loses power.
//!
//! [`SimDisk`] passes every operation on to a real directory, so that files can be read and mapped as
//! always, and keeps beside it what a power loss would leave: a file's content as of its last sync, a
//! directory's names as of the last sync of that directory. [`SimDisk::materialise`] writes that into
//! another directory, where recovery can be tried.

mod state;

use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use gleaner::store::disk::DiskFile;
use gleaner::store::{Disk, OsDisk, Result, StoreError};
use redb::{BackendError, StorageBackend};

use self::state::{Change, NodeId, State};

/// A handle to the disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What is counted, and what the power can go at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything that changes the disk: writes, names and syncs.
    Change,
    /// The syncs of files, directories and databases.
    Sync,
}

/// What becomes of changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// Any name and any sector may have reached the disk all the same; the seed picks which.
    Torn(u64),
}

impl SimDisk {
    /// The disk under `root`. What is there already is durable.
    pub fn new(root: &Path) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::open(root))) }
    }

    /// How many steps of a sort were taken so far.
    pub fn steps(&self, step: Step) -> u64 {
        self.state().steps(step)
    }

    /// The power goes when `count` steps of that sort have been taken: the next one fails, and so does
    /// every later operation.
    pub fn power_off_after(&self, step: Step, count: u64) {
        self.state().off_at = Some((step, count));
    }

    /// The sync after `count` syncs fails, and what it was to make durable is not; all others work.
    pub fn fail_once_after(&self, count: u64) {
        self.state().fails_at = Some(count);
    }

    /// Whether that sync has failed.
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.state().alive().is_err()
    }

    /// Writes what a power loss at this moment leaves into the directory `into`.
    pub fn materialise(&self, into: &Path, unsynced: Unsynced) {
        self.state().materialise(into, unsynced);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn step(&self, step: Step, action: &'static str, path: &Path) -> Result<()> {
        self.state().step(step).map_err(StoreError::io(action, path))
    }
}

/// Loses the power at every step: runs `work` on an empty disk to the end, then again and again with
/// one step more each time, and shows `check` what the loss left and what `work` returned.
pub fn each_power_loss<T>(
    step: Step,
    unsynced: impl Fn(u64) -> Unsynced,
    work: impl Fn(&SimDisk, &Path) -> T,
    check: impl Fn(&Path, T),
) {
    let run = |off_after: Option<u64>| {
        let root = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(root.path());
        if let Some(count) = off_after {
            disk.power_off_after(step, count);
        }
        let done = work(&disk, root.path());
        let left = tempfile::tempdir().unwrap();
        disk.materialise(left.path(), unsynced(off_after.unwrap_or(u64::MAX)));
        check(left.path(), done);
        disk.steps(step)
    };
    for count in 0..run(None) {
        run(Some(count));
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.step(Step::Change, "create", path)?;
        let inner = OsDisk.create(path)?;
        let mut state = self.state();
        let node = state.find_or_add_file(path);
        state.change(node, Change::Length(0));
        drop(state);
        Ok(Box::new(SimFile { disk: self.clone(), node, inner, position: 0 }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step(Step::Change, "rename", from)?;
        OsDisk.rename(from, to)?;
        self.state().rename(from, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.step(Step::Change, "remove", path)?;
        OsDisk.remove(path)?;
        self.state().remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.step(Step::Change, "create directory", path)?;
        OsDisk.create_dir(path)?;
        self.state().create_dir(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.step(Step::Change, "remove directory", path)?;
        OsDisk.remove_dir(path)?;
        self.state().remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.step(Step::Sync, "sync directory", path)?;
        let mut state = self.state();
        match state.find(path) {
            Some(node) => state.sync(node),
            None => return OsDisk.sync_dir(path),
        }
        Ok(())
    }

    fn database(&self, path: &Path) -> Result<Box<dyn StorageBackend>> {
        self.step(Step::Change, "open", path)?;
        let inner = OsDisk.database(path)?;
        let node = self.state().find_or_add_file(path);
        Ok(Box::new(SimDatabase { disk: self.clone(), node, inner }))
    }
}

struct SimFile {
    disk: SimDisk,
    node: NodeId,
    inner: Box<dyn DiskFile>,
    position: u64,
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.step(Step::Change)?;
        self.inner.write_all(bytes)?;
        state.change(self.node, Change::Bytes { offset: self.position, bytes: bytes.to_vec() });
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl DiskFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Step::Sync)?;
        state.sync(self.node);
        Ok(())
    }
}

#[derive(Debug)]
struct SimDatabase {
    disk: SimDisk,
    node: NodeId,
    inner: Box<dyn StorageBackend>,
}

type Offset = Bound<u64>;

impl StorageBackend for SimDatabase {
    fn len(&self) -> io::Result<u64> {
        self.disk.state().alive()?;
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.state().alive()?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Step::Change)?;
        self.inner.set_len(len)?;
        state.change(self.node, Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Step::Sync)?;
        state.sync(self.node);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(Step::Change)?;
        self.inner.write(offset, data)?;
        state.change(self.node, Change::Bytes { offset, bytes: data.to_vec() });
        Ok(())
    }

    // Locks are the operating system's: they stay and go with the process, whatever the disk does.

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
