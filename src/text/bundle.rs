//! The files of a single-segment tantivy index as one part, and the read-only directory over it.
//!
//! ```text
//! section 0   files u32, rows u32, tokens u64, then per file: name 48 bytes, offset u64, length u64
//! section 1   the files one after the other, each at a multiple of 64
//! section 2   the number of tokens of each row, u32
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, MmapDirectory, OwnedBytes, RamDirectory, WatchCallback,
    WatchHandle, WritePtr,
};
use tantivy::{HasLen, Index};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::{indexing, opening};
use crate::Result;
use crate::store::{PartFile, PartWriter, Section, StoreError};

const TABLE: u32 = 0;
const FILES: u32 = 1;
const LENGTHS: u32 = 2;
const ALIGN: usize = 64;
const META: &str = "meta.json";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    files: U32,
    rows: U32,
    /// Sum of section 2.
    tokens: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    /// UTF-8, zero-padded.
    name: [u8; 48],
    offset: U64,
    len: U64,
}

/// Writes `index`, which was built in `directory`, and the token count of each of its rows.
pub(super) fn write(
    index: &Index,
    directory: &RamDirectory,
    lengths: &[u32],
    mut writer: PartWriter,
) -> Result<u64> {
    let mut names = vec![PathBuf::from(META)];
    names.extend(index.load_metas().map_err(indexing)?.list_segment_files());
    names.sort();
    let mut entries = Vec::new();
    let mut contents = Vec::new();
    let mut offset = 0;
    for name in names {
        let content = match directory.open_read(&name) {
            Ok(file) => file.read_bytes().map_err(|error| indexing(error.into()))?,
            Err(OpenReadError::FileDoesNotExist(_)) => continue,
            Err(error) => return Err(indexing(error.into())),
        };
        let mut entry =
            Entry { name: [0; 48], offset: (offset as u64).into(), len: (content.len() as u64).into() };
        let bytes = name.as_os_str().as_encoded_bytes();
        let Some(place) = entry.name.get_mut(..bytes.len()) else {
            return Err(crate::Error::internal(format!("the file name {} is too long", name.display())));
        };
        place.copy_from_slice(bytes);
        offset += content.len().next_multiple_of(ALIGN);
        entries.push(entry);
        contents.push(content);
    }
    let header = Header {
        files: (entries.len() as u32).into(),
        rows: (lengths.len() as u32).into(),
        tokens: lengths.iter().map(|&len| u64::from(len)).sum::<u64>().into(),
    };
    writer.begin(TABLE)?;
    writer.write(header.as_bytes())?;
    writer.write(entries.as_bytes())?;
    writer.begin(FILES)?;
    for content in contents {
        writer.write(&content)?;
        writer.write(&[0; ALIGN][..content.len().next_multiple_of(ALIGN) - content.len()])?;
    }
    let lengths: Vec<U32> = lengths.iter().map(|&len| len.into()).collect();
    writer.section(LENGTHS, lengths.as_bytes())?;
    Ok(writer.finish()?)
}

/// An open bundle: tantivy's view of the part. Blocks are checked as tantivy touches them.
#[derive(Clone)]
pub(super) struct Bundle {
    files: Arc<HashMap<PathBuf, Range<usize>>>,
    content: Content,
    lengths: Section,
    rows: u32,
    tokens: u64,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bundle").field(self.content.section.part()).finish()
    }
}

/// The section with the files twice: as ours, which checks blocks, and as bytes that tantivy may own.
#[derive(Clone)]
struct Content {
    section: Section,
    map: OwnedBytes,
}

impl Bundle {
    pub(super) fn open(part: &Arc<PartFile>) -> Result<Bundle> {
        let bad = |what: &str| StoreError::corrupt(part.path(), what);
        let table = part.section(TABLE)?;
        let table = table.all()?;
        let (header, rest) =
            Header::ref_from_prefix(table).map_err(|_| bad("the table of files is cut short"))?;
        let entries =
            <[Entry]>::ref_from_bytes(rest).map_err(|_| bad("the table of files has a wrong length"))?;
        if entries.len() != header.files.get() as usize {
            return Err(bad("the table of files has a wrong length").into());
        }
        let section = part.section(FILES)?;
        let mut files = HashMap::with_capacity(entries.len());
        for entry in entries {
            let end = entry.offset.get().checked_add(entry.len.get());
            if end.is_none_or(|end| end > section.len() as u64) {
                return Err(bad("a file lies outside its section").into());
            }
            let start = entry.offset.get() as usize;
            let used = entry.name.iter().position(|&byte| byte == 0).unwrap_or(entry.name.len());
            let name =
                std::str::from_utf8(&entry.name[..used]).map_err(|_| bad("a file name is not UTF-8"))?;
            files.insert(PathBuf::from(name), start..start + entry.len.get() as usize);
        }
        let lengths = part.section(LENGTHS)?;
        if lengths.len() != header.rows.get() as usize * 4 {
            return Err(bad("the number of token counts does not match the number of rows").into());
        }
        let map = owned_bytes(&section)?;
        Ok(Bundle {
            files: Arc::new(files),
            content: Content { section, map },
            lengths,
            rows: header.rows.get(),
            tokens: header.tokens.get(),
        })
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// The number of tokens of all rows.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The number of tokens of each row.
    pub(super) fn lengths(&self) -> Result<Vec<u32>> {
        let bytes = self.lengths.all()?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn file(&self, path: &Path) -> Result<File, OpenReadError> {
        let range = self.files.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_owned()))?;
        Ok(File { content: self.content.clone(), range: range.clone() })
    }
}

/// The bytes of `section` as tantivy's shared bytes. Only tantivy's own directory can make those over
/// a map (the trait they ask for is an unsafe one), so the part is mapped a second time through it;
/// this opens no other file and starts no thread.
fn owned_bytes(section: &Section) -> Result<OwnedBytes> {
    let part = section.part();
    let path = part.path();
    let changed = || StoreError::corrupt(path, "the file changed while it was being opened");
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(changed().into()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let map = MmapDirectory::open(parent)
        .map_err(tantivy::TantivyError::from)
        .and_then(|directory| Ok(directory.open_read(Path::new(name))?.read_bytes()?))
        .map_err(opening(path))?;
    if map.len() as u64 != part.file_len() {
        return Err(changed().into());
    }
    Ok(map.slice(section.offset()..section.offset() + section.len()))
}

/// One file of a bundle.
struct File {
    content: Content,
    range: Range<usize>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("range", &self.range).finish()
    }
}

impl HasLen for File {
    fn len(&self) -> usize {
        self.range.len()
    }
}

impl FileHandle for File {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.range.len() {
            let path = self.content.section.part().path();
            return Err(io::Error::other(StoreError::corrupt(path, "an offset points outside its file")));
        }
        let range = self.range.start + range.start..self.range.start + range.end;
        self.content.section.check(range.clone()).map_err(io::Error::other)?;
        Ok(self.content.map.slice(range))
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a text part is never written to")
}

impl Directory for Bundle {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.file(path)?))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let file = self.file(path)?;
        let bytes = file.read_bytes(0..file.len());
        bytes
            .map(|bytes| bytes.to_vec())
            .map_err(|error| OpenReadError::IoError { io_error: Arc::new(error), filepath: path.to_owned() })
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    // nothing writes, so there is nobody to lock out
    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
