//! The only place that maps memory.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use super::{Result, StoreError};

/// A read-only map of an immutable file. May be empty.
pub(super) struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Maps the whole of `file`.
    #[expect(unsafe_code, reason = "the crate's one memory map; see SAFETY")]
    pub(super) fn open(path: &Path, file: &File) -> Result<Map> {
        let len = file.metadata().map_err(StoreError::io("stat", path))?.len();
        if len == 0 {
            return Ok(Map(None)); // mapping zero bytes is an error on some systems
        }
        // SAFETY: gleaner never changes or truncates a part after it was finished (it only unlinks it,
        // which leaves maps intact), and the data directory is locked against
        // other gleaner processes. What is left is another program writing to our files: the bytes
        // are only ever read as plain integers and floats whose every bit pattern is valid, so a
        // change gives wrong numbers, which the block checksums are there to find, and a truncation
        // gives SIGBUS, which no process that maps files can rule out.
        let map = unsafe { memmap2::MmapOptions::new().map(file) };
        Ok(Map(Some(map.map_err(StoreError::io("map", path))?)))
    }

    /// Tells the system that `range` is read here and there: it then reads no more than it is asked for.
    /// A hint, as the next one: where the system does not take it, reading is only slower.
    pub(super) fn expect_random_reads(&self, range: Range<usize>) {
        self.advise(memmap2::Advice::Random, range);
    }

    /// Tells the system that all of `range` is going to be read: it begins to.
    pub(super) fn expect_reading_all(&self, range: Range<usize>) {
        self.advise(memmap2::Advice::WillNeed, range);
    }

    fn advise(&self, advice: memmap2::Advice, range: Range<usize>) {
        if let Some(map) = &self.0
            && !range.is_empty()
            && let Err(error) = map.advise_range(advice, range.start, range.len())
        {
            tracing::debug!(%error, "a hint about reads of a map was not taken");
        }
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}
