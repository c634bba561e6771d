//! Bytes on disk: the file operations durability needs, memory maps, and the checksummed container
//! every immutable file of gleaner uses.
//!
//! - [`disk`]: create, fsync, rename, list: the only door to the file system, so that a test can
//!   lose what was not fsynced.
//! - [`part`]: one immutable file of named sections with a checksum per block, checked when a block
//!   is first touched.
//! - [`mmap`]: the only place that maps memory.
//! - [`lock`]: one process per data directory.

mod database;
pub mod disk;
mod error;
pub mod lock;
mod mmap;
pub mod part;

pub use database::DatabaseStorage;
pub use disk::{Disk, OsDisk};
pub use error::StoreError;
pub use part::{PartFile, PartKind, PartWriter, Section};

/// Whether `name` names something in a folder, and cannot lead out of it: letters (a-z, A-Z), digits, `_`, `.` and `-`,
/// not beginning with `.`.
pub fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

/// `Result` with a [`StoreError`].
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
