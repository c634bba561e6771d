//! The catalog's storage in the form redb takes it.

use std::io;
use std::ops::Bound;

use redb::{BackendError, StorageBackend};

/// Passes what [`Disk::database`](super::Disk::database) returned to
/// [`redb::Builder::create_with_backend`], which takes no boxed trait object. Locks are passed on too:
/// they are what refuses a second process.
#[derive(Debug)]
pub struct DatabaseStorage(pub Box<dyn StorageBackend>);

type Offset = Bound<u64>;

impl StorageBackend for DatabaseStorage {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Offset, end: Offset) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Offset, end: Offset) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
