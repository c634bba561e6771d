//! One immutable file: numbered sections in a checksummed container.
//!
//! ```text
//! header   32 bytes   magic "GLEANERP", format version u32, kind u32, zero padding
//! sections            each starts at a multiple of 64; zero padding between
//! footer              section table, one CRC-32 per 16 KiB block of everything before the footer
//! trailer  32 bytes   counts, length and CRC-32 of the footer, magic "PRENAELG"
//! ```
//! All integers are little-endian; `indexes/README.md` has the byte map. Opening reads the header,
//! footer and trailer only. A block is checked when a reader first touches it, and never again, so a
//! damaged file is found by the search that needs the damaged bytes and costs the others nothing.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::disk::{Disk, DiskFile};
use super::mmap::Map;
use super::{Result, StoreError};

#[cfg(target_endian = "big")]
compile_error!("gleaner maps little-endian files as they are; big-endian machines are not supported");

/// Bytes covered by one checksum.
pub const BLOCK: usize = 16 * 1024;
/// Every section starts at a multiple of this, so that any integer or float type can be read in place.
pub const ALIGN: usize = 64;
/// Bytes written at a time, at multiples of this: Linux then keeps the file in huge pages, with which random
/// access to a map of it is about a fifth faster.
const WRITE: usize = 2 << 20;
/// The container's format version. A reader refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"GLEANERP";
const MAGIC_END: [u8; 8] = *b"PRENAELG";

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PartKind {
    /// Postings and metadata terms: a bundle of tantivy files.
    Text = 1,
    /// The documents and the chunk table.
    Source = 2,
    /// Rows as they are stored, their codes and sketches.
    Vectors = 3,
    /// The graph over the rows.
    Graph = 4,
    /// An accepted batch of documents that is not indexed yet.
    Inbox = 5,
    /// What failed in a job.
    Failed = 6,
}

impl PartKind {
    /// The file extension, and the name in messages.
    pub fn name(self) -> &'static str {
        match self {
            PartKind::Text => "text",
            PartKind::Source => "source",
            PartKind::Vectors => "vectors",
            PartKind::Graph => "graph",
            PartKind::Inbox => "inbox",
            PartKind::Failed => "failed",
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    kind: U32,
    reserved: [u8; 16],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SectionEntry {
    id: U32,
    reserved: U32,
    offset: U64,
    len: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Trailer {
    sections: U32,
    blocks: U32,
    /// Offset of the footer = number of bytes the block checksums cover.
    footer_offset: U64,
    /// CRC-32 of the footer and of this trailer's first 16 bytes.
    footer_crc: U32,
    /// Zero.
    reserved: U32,
    magic: [u8; 8],
}

const HEADER_LEN: usize = size_of::<Header>();
const TRAILER_LEN: usize = size_of::<Trailer>();

/// Writes a part front to back: [`begin`](Self::begin), bytes, …, [`finish`](Self::finish).
pub struct PartWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    position: u64,
    block_crcs: Vec<u32>,
    sections: Vec<SectionEntry>,
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartWriter").field("path", &self.path).field("position", &self.position).finish()
    }
}

impl PartWriter {
    /// Starts the file at `path`. It is part of nothing before the catalog names it.
    pub fn create(disk: &dyn Disk, path: &Path, kind: PartKind) -> Result<PartWriter> {
        let mut writer = PartWriter {
            path: path.to_owned(),
            file: disk.create(path)?,
            buffer: Vec::new(),
            position: 0,
            block_crcs: Vec::new(),
            sections: Vec::new(),
        };
        let header = Header {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            kind: (kind as u32).into(),
            reserved: [0; 16],
        };
        writer.put(header.as_bytes())?;
        Ok(writer)
    }

    /// Ends the current section and begins section `id` at the next aligned offset.
    pub fn begin(&mut self, id: u32) -> Result<()> {
        self.pad(ALIGN)?;
        self.sections.push(SectionEntry {
            id: id.into(),
            reserved: 0.into(),
            offset: self.position.into(),
            len: 0.into(),
        });
        Ok(())
    }

    /// Appends to the current section.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert!(!self.sections.is_empty(), "write before begin");
        self.put(bytes)?;
        if let Some(section) = self.sections.last_mut() {
            section.len = (section.len.get() + bytes.len() as u64).into();
        }
        Ok(())
    }

    /// A whole section at once.
    pub fn section(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        self.begin(id)?;
        self.write(bytes)
    }

    /// Writes the footer and fsyncs the file. Returns its length in bytes.
    pub fn finish(mut self) -> Result<u64> {
        self.pad(ALIGN)?;
        let footer_offset = self.position;
        self.flush()?;
        let mut footer = Vec::new();
        footer.extend_from_slice(self.sections.as_bytes());
        for crc in &self.block_crcs {
            footer.extend_from_slice(&crc.to_le_bytes());
        }
        let mut trailer = Trailer {
            sections: (self.sections.len() as u32).into(),
            blocks: (self.block_crcs.len() as u32).into(),
            footer_offset: footer_offset.into(),
            footer_crc: 0.into(),
            reserved: 0.into(),
            magic: MAGIC_END,
        };
        trailer.footer_crc = footer_crc(&footer, &trailer).into();
        footer.extend_from_slice(trailer.as_bytes());
        self.file.write_all(&footer).map_err(StoreError::io("write", &self.path))?;
        self.file.sync().map_err(StoreError::io("sync", &self.path))?;
        Ok(footer_offset + footer.len() as u64)
    }

    fn pad(&mut self, align: usize) -> Result<()> {
        let over = (self.position % align as u64) as usize;
        if over > 0 {
            self.put(&[0; ALIGN][..align - over])?;
        }
        Ok(())
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(WRITE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == WRITE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Checksums and writes the buffer: whole blocks, but for the last of the file.
    fn flush(&mut self) -> Result<()> {
        for block in self.buffer.chunks(BLOCK) {
            self.block_crcs.push(crc32fast::hash(block));
        }
        self.file.write_all(&self.buffer).map_err(StoreError::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }
}

fn footer_crc(footer: &[u8], trailer: &Trailer) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(footer);
    hasher.update(&trailer.as_bytes()[..16]);
    hasher.finalize()
}

/// An open part. Cheap to share; the map lives as long as any [`Section`] of it.
pub struct PartFile {
    path: PathBuf,
    map: Map,
    sections: Vec<SectionEntry>,
    block_crcs: Range<usize>,
    covered: usize,
    /// One bit a block: set once its checksum was found right.
    checked: Box<[AtomicU64]>,
}

impl fmt::Debug for PartFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartFile").field("path", &self.path).field("len", &self.map.len()).finish()
    }
}

impl PartFile {
    /// Opens and validates header, footer and trailer; reads nothing else.
    pub fn open(path: &Path, kind: PartKind) -> Result<Arc<PartFile>> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        let map = Map::open(path, &file)?;
        let bad = |what: &str| StoreError::corrupt(path, what);

        let header = map.get(..HEADER_LEN).ok_or_else(|| bad("the file is shorter than its header"))?;
        let header = Header::ref_from_bytes(header).map_err(|_| bad("the header is not readable"))?;
        if header.magic != MAGIC {
            return Err(bad("it does not begin with a gleaner header"));
        }
        if header.version.get() > FORMAT_VERSION {
            return Err(StoreError::NewerFormat {
                path: path.to_owned(),
                found: header.version.get(),
                supported: FORMAT_VERSION,
            });
        }
        if header.kind.get() != kind as u32 {
            return Err(bad(&format!("it is not a {} part", kind.name())));
        }

        let trailer_at = map
            .len()
            .checked_sub(TRAILER_LEN)
            .filter(|&at| at >= HEADER_LEN)
            .ok_or_else(|| bad("the file ends too early"))?;
        let trailer =
            Trailer::ref_from_bytes(&map[trailer_at..]).map_err(|_| bad("the trailer is not readable"))?;
        if trailer.magic != MAGIC_END || trailer.reserved.get() != 0 {
            return Err(bad("it does not end with a gleaner trailer (it was cut short)"));
        }
        let covered = usize::try_from(trailer.footer_offset.get())
            .ok()
            .filter(|&offset| (HEADER_LEN..=trailer_at).contains(&offset))
            .ok_or_else(|| bad("the trailer points outside the file"))?;
        let footer = &map[covered..trailer_at];
        let table_len = trailer.sections.get() as usize * size_of::<SectionEntry>();
        let blocks = trailer.blocks.get() as usize;
        if blocks != covered.div_ceil(BLOCK) || table_len.checked_add(blocks * 4) != Some(footer.len()) {
            return Err(bad("the footer has a wrong length"));
        }
        if trailer.footer_crc.get() != footer_crc(footer, trailer) {
            return Err(bad("the footer's checksum does not match"));
        }
        let sections = <[SectionEntry]>::ref_from_bytes(&footer[..table_len])
            .map_err(|_| bad("the section table is not readable"))?
            .to_vec();
        for section in &sections {
            let end = section.offset.get().checked_add(section.len.get());
            if section.offset.get() % ALIGN as u64 != 0 || end.is_none_or(|end| end > covered as u64) {
                return Err(bad("a section lies outside the file"));
            }
        }
        let checked = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let block_crcs = covered + table_len..trailer_at;
        Ok(Arc::new(PartFile { path: path.to_owned(), map, sections, block_crcs, covered, checked }))
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Section `id`; [`StoreError::Corrupt`] where the file has none.
    pub fn section(self: &Arc<Self>, id: u32) -> Result<Section> {
        self.optional_section(id)
            .ok_or_else(|| StoreError::corrupt(&self.path, format!("section {id} is missing")))
    }

    /// Section `id`, if the file has one.
    pub fn optional_section(self: &Arc<Self>, id: u32) -> Option<Section> {
        let entry = self.sections.iter().find(|entry| entry.id.get() == id)?;
        let start = entry.offset.get() as usize;
        Some(Section { part: Arc::clone(self), start, len: entry.len.get() as usize, at_random: false })
    }

    /// Checks every block, whether it was checked before or not. Returns the number of the first
    /// damaged block as [`StoreError::Corrupt`].
    pub fn verify(&self) -> Result<()> {
        (0..self.covered.div_ceil(BLOCK)).try_for_each(|block| self.check_block(block))
    }

    /// Makes sure that the blocks under `range` (offsets in the file) are undamaged. `at_random`: the system does
    /// not read ahead here, so it is asked for a block at once and not page by page.
    #[inline]
    fn check(&self, range: Range<usize>, at_random: bool) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        for block in range.start / BLOCK..=(range.end - 1) / BLOCK {
            // Relaxed: the bit guards no other write; the file's bytes never change.
            if self.checked[block / 64].load(Ordering::Relaxed) & (1 << (block % 64)) == 0 {
                if at_random {
                    self.map.expect_reading_all(block * BLOCK..self.covered.min((block + 1) * BLOCK));
                }
                self.check_block(block)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn check_block(&self, block: usize) -> Result<()> {
        let start = block * BLOCK;
        let end = self.covered.min(start + BLOCK);
        let at = self.block_crcs.start + block * 4;
        let stored = u32::from_le_bytes([self.map[at], self.map[at + 1], self.map[at + 2], self.map[at + 3]]);
        if crc32fast::hash(&self.map[start..end]) != stored {
            return Err(StoreError::Corrupt {
                path: self.path.clone(),
                block: Some(block as u64),
                what: format!("the checksum of bytes {start}..{end} does not match"),
            });
        }
        self.checked[block / 64].fetch_or(1 << (block % 64), Ordering::Relaxed);
        Ok(())
    }
}

/// A section of an open part: bytes that are checked when they are first read.
#[derive(Clone, Debug)]
pub struct Section {
    part: Arc<PartFile>,
    start: usize,
    len: usize,
    at_random: bool,
}

impl Section {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins in the part's file.
    pub fn offset(&self) -> usize {
        self.start
    }

    /// The part it belongs to.
    pub fn part(&self) -> &Arc<PartFile> {
        &self.part
    }

    /// The bytes of `range`, checked. A range outside the section is [`StoreError::Corrupt`]: it came
    /// from the file.
    #[inline]
    pub fn bytes(&self, range: Range<usize>) -> Result<&[u8]> {
        if range.start > range.end || range.end > self.len {
            return Err(self.outside());
        }
        let range = self.start + range.start..self.start + range.end;
        self.part.check(range.clone(), self.at_random)?;
        Ok(&self.part.map[range])
    }

    /// All bytes, checked.
    pub fn all(&self) -> Result<&[u8]> {
        self.bytes(0..self.len)
    }

    /// The section as a slice of `T`, with nothing checked yet: for hot loops that call
    /// [`check`](Self::check) for what they read, or after [`all`](Self::all).
    /// [`StoreError::Corrupt`] where the length is no multiple of `T`'s size.
    pub fn cast<T: bytemuck::AnyBitPattern>(&self) -> Result<&[T]> {
        bytemuck::try_cast_slice(&self.part.map[self.start..self.start + self.len]).map_err(|error| {
            StoreError::corrupt(&self.part.path, format!("a section has a wrong length: {error}"))
        })
    }

    /// Makes sure that the bytes of `range` are undamaged.
    #[inline]
    pub fn check(&self, range: Range<usize>) -> Result<()> {
        self.bytes(range).map(drop)
    }

    /// Tells the system that the section is read here and there, so that it does not read around what it is asked
    /// for: no more than the blocks that are checked.
    pub fn expect_random_reads(&mut self) {
        self.at_random = true;
        self.part.map.expect_random_reads(self.start..self.start + self.len);
    }

    /// Tells the system that all of the section is going to be read.
    pub fn expect_reading_all(&self) {
        self.part.map.expect_reading_all(self.start..self.start + self.len);
    }

    #[cold]
    fn outside(&self) -> StoreError {
        StoreError::corrupt(&self.part.path, "an offset points outside its section")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OsDisk;

    fn sample(dir: &Path, len: usize) -> PathBuf {
        let path = dir.join("sample.source");
        let mut writer = PartWriter::create(&OsDisk, &path, PartKind::Source).unwrap();
        writer.section(7, b"seven").unwrap();
        writer.begin(8).unwrap();
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        for piece in bytes.chunks(1000) {
            writer.write(piece).unwrap();
        }
        let written = writer.finish().unwrap();
        assert_eq!(written, std::fs::metadata(&path).unwrap().len());
        path
    }

    #[test]
    fn sections_read_back_at_any_length() {
        let dir = tempfile::tempdir().unwrap();
        for len in [0, 1, 63, 64, BLOCK - 1, BLOCK, 16 * BLOCK, 20 * BLOCK + 5] {
            let path = sample(dir.path(), len);
            let part = PartFile::open(&path, PartKind::Source).unwrap();
            assert_eq!(part.section(7).unwrap().all().unwrap(), b"seven");
            let section = part.section(8).unwrap();
            assert_eq!(section.len(), len);
            assert!(section.all().unwrap().iter().enumerate().all(|(i, &b)| b == (i % 251) as u8));
            assert!(section.bytes(len..len + 1).is_err());
            assert!(part.section(9).is_err());
            part.verify().unwrap();
        }
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path(), 300);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let found = match PartFile::open(&path, PartKind::Source) {
                Ok(part) => part.verify().is_err(),
                Err(_) => true,
            };
            assert!(found, "byte {at} of {}", good.len());
        }
    }

    #[test]
    fn damage_is_named_by_the_read_that_touches_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path(), 4 * BLOCK);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2 * BLOCK + 10] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let part = PartFile::open(&path, PartKind::Source).unwrap();
        let section = part.section(8).unwrap();
        section.bytes(0..100).unwrap();
        let error = section.bytes(2 * BLOCK - 200..2 * BLOCK).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { block: Some(2), .. }), "{error}");
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path(), 10);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 9;
        std::fs::write(&path, &bytes).unwrap();
        let error = PartFile::open(&path, PartKind::Source).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 9, .. }), "{error}");
        assert!(error.to_string().contains("use a newer gleaner"));
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path(), 100);
        let good = std::fs::read(&path).unwrap();
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(PartFile::open(&path, PartKind::Source).is_err(), "{len} bytes");
        }
    }
}
