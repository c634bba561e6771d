//! The `source` part: each document once, with random access, and the table of its chunks.
//!
//! The documents lie one after the other in one logical stream that is cut into blocks of
//! [`STREAM_BLOCK`] bytes, each compressed by itself: reading a chunk of a 10 MB document decompresses the
//! blocks under that chunk only. A document's chunks are contiguous rows, and its ids are sorted for look-up
//! and for listing. `indexes/README.md` has the byte map.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use crate::chunk::Chunk;
use crate::document::Metadata;
use crate::store::{PartFile, PartWriter, Result, Section, StoreError};

/// Bytes of the document stream that are compressed together.
pub const STREAM_BLOCK: usize = 16 * 1024;
const ZSTD_LEVEL: i32 = 3;
/// A chunk without headings.
const NO_HEADINGS: u32 = u32::MAX;

mod section {
    pub const HEADER: u32 = 0;
    pub const DOCUMENTS: u32 = 1;
    pub const CHUNKS: u32 = 2;
    pub const HEADINGS: u32 = 3;
    pub const ID_BYTES: u32 = 4;
    pub const ID_ORDER: u32 = 5;
    pub const BLOCK_ENDS: u32 = 6;
    pub const BLOCKS: u32 = 7;
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    rows: u32,
    documents: u32,
    stream_len: u64,
}

/// A document's place in the segment.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct DocumentEntry {
    /// Acceptance order within the collection.
    pub version: u64,
    /// Where its record begins in the stream: `head_len` bytes of JSON, then the text.
    stream_offset: u64,
    head_len: u32,
    /// Length of its text in bytes.
    pub text_len: u32,
    /// Its first chunk.
    pub first_row: u32,
    /// How many chunks it has.
    pub rows: u32,
    id_offset: u32,
    id_len: u32,
}

impl DocumentEntry {
    /// The rows of its chunks.
    pub fn row_range(&self) -> Range<u32> {
        self.first_row..self.first_row + self.rows
    }
}

/// A chunk's place in its document.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ChunkEntry {
    /// Ordinal of its document in the segment.
    pub document: u32,
    /// First byte in the document's text.
    pub byte_start: u32,
    /// Byte after the last.
    pub byte_end: u32,
    /// First character in the document's text.
    pub char_start: u32,
    /// Character after the last.
    pub char_end: u32,
    headings: u32,
}

/// What is stored of a document beside its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// As it was posted.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// Writes a source part, document by document.
#[derive(Debug)]
pub struct SourceWriter {
    part: PartWriter,
    stream: Vec<u8>,
    stream_len: u64,
    compressed_len: u64,
    block_ends: Vec<u64>,
    documents: Vec<DocumentEntry>,
    chunks: Vec<ChunkEntry>,
    ids: Vec<u8>,
    headings: Vec<u8>,
    heading_offsets: HashMap<Vec<String>, u32>,
}

impl SourceWriter {
    /// Begins the part.
    pub fn new(mut part: PartWriter) -> Result<SourceWriter> {
        part.begin(section::BLOCKS)?;
        Ok(SourceWriter {
            part,
            stream: Vec::with_capacity(2 * STREAM_BLOCK),
            stream_len: 0,
            compressed_len: 0,
            block_ends: Vec::new(),
            documents: Vec::new(),
            chunks: Vec::new(),
            ids: Vec::new(),
            headings: Vec::new(),
            heading_offsets: HashMap::new(),
        })
    }

    /// Appends a document; its chunks become the next rows.
    pub fn push(&mut self, id: &str, version: u64, head: &Head, text: &str, chunks: &[Chunk]) -> Result<()> {
        let head = serde_json::to_vec(head).unwrap_or_default(); // strings and JSON values always serialise
        let document = self.documents.len() as u32;
        self.documents.push(DocumentEntry {
            version,
            stream_offset: self.stream_len,
            head_len: head.len() as u32,
            text_len: text.len() as u32,
            first_row: self.chunks.len() as u32,
            rows: chunks.len() as u32,
            id_offset: self.ids.len() as u32,
            id_len: id.len() as u32,
        });
        self.ids.extend_from_slice(id.as_bytes());
        for chunk in chunks {
            let headings = self.heading_offset(&chunk.headings);
            self.chunks.push(ChunkEntry {
                document,
                byte_start: chunk.bytes.start,
                byte_end: chunk.bytes.end,
                char_start: chunk.chars.start,
                char_end: chunk.chars.end,
                headings,
            });
        }
        self.append(&head)?;
        self.append(text.as_bytes())
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Writes the tables and fsyncs the file. Returns its length in bytes.
    pub fn finish(mut self) -> Result<u64> {
        if !self.stream.is_empty() {
            let rest = std::mem::take(&mut self.stream);
            self.compress(&rest)?;
        }
        let id = |document: &DocumentEntry| {
            &self.ids[document.id_offset as usize..(document.id_offset + document.id_len) as usize]
        };
        let mut order: Vec<u32> = (0..self.documents.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| id(&self.documents[a as usize]).cmp(id(&self.documents[b as usize])));
        let header = Header {
            rows: self.chunks.len() as u32,
            documents: self.documents.len() as u32,
            stream_len: self.stream_len,
        };
        self.part.section(section::BLOCK_ENDS, bytemuck::cast_slice(&self.block_ends))?;
        self.part.section(section::DOCUMENTS, bytemuck::cast_slice(&self.documents))?;
        self.part.section(section::CHUNKS, bytemuck::cast_slice(&self.chunks))?;
        self.part.section(section::HEADINGS, &self.headings)?;
        self.part.section(section::ID_BYTES, &self.ids)?;
        self.part.section(section::ID_ORDER, bytemuck::cast_slice(&order))?;
        self.part.section(section::HEADER, bytemuck::bytes_of(&header))?;
        self.part.finish()
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.stream_len += bytes.len() as u64;
        while self.stream.len() + bytes.len() >= STREAM_BLOCK {
            let (now, later) = bytes.split_at(STREAM_BLOCK - self.stream.len());
            self.stream.extend_from_slice(now);
            let block = std::mem::take(&mut self.stream);
            self.compress(&block)?;
            self.stream = block;
            self.stream.clear();
            bytes = later;
        }
        self.stream.extend_from_slice(bytes);
        Ok(())
    }

    fn compress(&mut self, block: &[u8]) -> Result<()> {
        let bytes = zstd::bulk::compress(block, ZSTD_LEVEL)
            .map_err(StoreError::io("compress", std::path::Path::new("a document block")))?;
        self.compressed_len += bytes.len() as u64;
        self.block_ends.push(self.compressed_len);
        self.part.write(&bytes)
    }

    /// The place of a heading path in the pool; equal paths share one.
    fn heading_offset(&mut self, path: &[String]) -> u32 {
        if path.is_empty() {
            return NO_HEADINGS;
        }
        if let Some(&offset) = self.heading_offsets.get(path) {
            return offset;
        }
        let offset = self.headings.len() as u32;
        let json = serde_json::to_vec(path).unwrap_or_default(); // strings always serialise
        self.headings.extend_from_slice(&(json.len() as u32).to_le_bytes());
        self.headings.extend_from_slice(&json);
        self.heading_offsets.insert(path.to_vec(), offset);
        offset
    }
}

/// An open source part.
#[derive(Clone, Debug)]
pub struct SourcePart {
    file: Arc<PartFile>,
    header: Header,
    documents: Section,
    chunks: Section,
    headings: Section,
    id_bytes: Section,
    id_order: Section,
    block_ends: Section,
    blocks: Section,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {} documents", self.rows, self.documents)
    }
}

impl SourcePart {
    /// Opens the part and checks that its tables have the lengths its header says.
    pub fn open(file: Arc<PartFile>) -> Result<SourcePart> {
        let header_section = file.section(section::HEADER)?;
        let header = *header_section
            .all()?
            .get(..size_of::<Header>())
            .and_then(|bytes| bytemuck::try_from_bytes::<Header>(bytes).ok())
            .ok_or_else(|| StoreError::corrupt(file.path(), "the source header is too short"))?;
        let part = SourcePart {
            header,
            documents: file.section(section::DOCUMENTS)?,
            chunks: file.section(section::CHUNKS)?,
            headings: file.section(section::HEADINGS)?,
            id_bytes: file.section(section::ID_BYTES)?,
            id_order: file.section(section::ID_ORDER)?,
            block_ends: file.section(section::BLOCK_ENDS)?,
            blocks: file.section(section::BLOCKS)?,
            file,
        };
        let blocks = part.header.stream_len.div_ceil(STREAM_BLOCK as u64) as usize;
        let documents = header.documents as usize;
        let lengths = [
            (part.documents.len(), documents * size_of::<DocumentEntry>()),
            (part.chunks.len(), header.rows as usize * size_of::<ChunkEntry>()),
            (part.id_order.len(), documents * 4),
            (part.block_ends.len(), blocks * 8),
        ];
        if lengths.iter().any(|(found, expected)| found != expected) {
            return Err(part.corrupt("a table has another length than the header says"));
        }
        Ok(part)
    }

    /// The file.
    pub fn file(&self) -> &Arc<PartFile> {
        &self.file
    }

    /// Number of chunks.
    pub fn rows(&self) -> u32 {
        self.header.rows
    }

    /// Number of documents.
    pub fn documents(&self) -> u32 {
        self.header.documents
    }

    /// Bytes of all texts and heads before compression.
    pub fn stream_len(&self) -> u64 {
        self.header.stream_len
    }

    /// Entry of document `ordinal`.
    pub fn document(&self, ordinal: u32) -> Result<DocumentEntry> {
        let entry: DocumentEntry = self.entry(&self.documents, ordinal)?;
        let fits = |start: u64, len: u64, end: u64| start.checked_add(len).is_some_and(|sum| sum <= end);
        let record = u64::from(entry.head_len) + u64::from(entry.text_len);
        if !fits(entry.first_row.into(), entry.rows.into(), self.header.rows.into())
            || !fits(entry.stream_offset, record, self.header.stream_len)
        {
            return Err(self.corrupt("a document entry points outside the part"));
        }
        Ok(entry)
    }

    /// Entry of the chunk at `row`.
    pub fn chunk(&self, row: u32) -> Result<ChunkEntry> {
        self.entry(&self.chunks, row)
    }

    /// Id of a document.
    pub fn id(&self, entry: &DocumentEntry) -> Result<&str> {
        let start = entry.id_offset as usize;
        let bytes = self.id_bytes.bytes(start..start + entry.id_len as usize)?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt("an id is not UTF-8"))
    }

    /// Ordinal and entry of the `rank`-th document in the order of the ids.
    pub fn by_id_rank(&self, rank: u32) -> Result<(u32, DocumentEntry)> {
        let ordinal: u32 = self.entry(&self.id_order, rank)?;
        Ok((ordinal, self.document(ordinal)?))
    }

    /// How many documents have an id below `id` (or equal to it, with `inclusive`).
    pub fn id_rank(&self, id: &str, inclusive: bool) -> Result<u32> {
        let (mut low, mut high) = (0, self.header.documents);
        while low < high {
            let middle = low + (high - low) / 2;
            let (_, entry) = self.by_id_rank(middle)?;
            let found = self.id(&entry)?;
            if found < id || (inclusive && found == id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The document of that id, deleted or not. An id occurs at most once in a segment.
    pub fn find(&self, id: &str) -> Result<Option<DocumentEntry>> {
        let rank = self.id_rank(id, false)?;
        if rank == self.header.documents {
            return Ok(None);
        }
        let (_, entry) = self.by_id_rank(rank)?;
        Ok((self.id(&entry)? == id).then_some(entry))
    }

    /// Title, uri and metadata of a document.
    pub fn head(&self, entry: &DocumentEntry) -> Result<Head> {
        let start = entry.stream_offset;
        let bytes = self.stream(start..start + u64::from(entry.head_len))?;
        serde_json::from_slice(&bytes).map_err(|_| self.corrupt("a document's head is not readable"))
    }

    /// The whole text of a document.
    pub fn text(&self, entry: &DocumentEntry) -> Result<String> {
        self.text_range(entry, 0..entry.text_len)
    }

    /// A byte range of a document's text.
    pub fn text_range(&self, entry: &DocumentEntry, range: Range<u32>) -> Result<String> {
        if range.start > range.end || range.end > entry.text_len {
            return Err(self.corrupt("a chunk lies outside its document"));
        }
        let start = entry.stream_offset + u64::from(entry.head_len);
        let bytes = self.stream(start + u64::from(range.start)..start + u64::from(range.end))?;
        String::from_utf8(bytes).map_err(|_| self.corrupt("a text is not UTF-8"))
    }

    /// Heading path of a chunk, outermost first.
    pub fn headings(&self, chunk: &ChunkEntry) -> Result<Vec<String>> {
        if chunk.headings == NO_HEADINGS {
            return Ok(Vec::new());
        }
        let at = chunk.headings as usize;
        let len = self.headings.bytes(at..at + 4)?;
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let json = self.headings.bytes(at + 4..at + 4 + len)?;
        serde_json::from_slice(json).map_err(|_| self.corrupt("a heading path is not readable"))
    }

    /// The chunks of a document as the chunker made them (token counts are not kept).
    pub fn chunks(&self, entry: &DocumentEntry) -> Result<Vec<Chunk>> {
        entry
            .row_range()
            .map(|row| {
                let chunk = self.chunk(row)?;
                Ok(Chunk {
                    bytes: chunk.byte_start..chunk.byte_end,
                    chars: chunk.char_start..chunk.char_end,
                    headings: self.headings(&chunk)?,
                    tokens: 0,
                })
            })
            .collect()
    }

    /// A range of the document stream, decompressed.
    fn stream(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity((range.end - range.start) as usize);
        let block_len = STREAM_BLOCK as u64;
        let mut position = range.start;
        while position < range.end {
            let block = position / block_len;
            let bytes = self.block(block as usize)?;
            let from = (position - block * block_len) as usize;
            let to = ((range.end - block * block_len).min(block_len)) as usize;
            out.extend_from_slice(
                bytes.get(from..to).ok_or_else(|| self.corrupt("a document block is too short"))?,
            );
            position = (block + 1) * block_len;
        }
        Ok(out)
    }

    fn block(&self, block: usize) -> Result<Vec<u8>> {
        let end_of = |block: usize| self.entry::<u64>(&self.block_ends, block as u32);
        let start = if block == 0 { 0 } else { end_of(block - 1)? };
        let bytes = self.blocks.bytes(start as usize..end_of(block)? as usize)?;
        zstd::bulk::decompress(bytes, STREAM_BLOCK)
            .map_err(|_| self.corrupt("a document block cannot be decompressed"))
    }

    fn entry<T: Pod>(&self, section: &Section, index: u32) -> Result<T> {
        let size = size_of::<T>();
        let start = index as usize * size;
        Ok(bytemuck::pod_read_unaligned(section.bytes(start..start + size)?))
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(self.file.path(), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{OsDisk, PartKind};

    fn chunk(bytes: Range<u32>, headings: &[&str]) -> Chunk {
        let headings = headings.iter().map(|h| (*h).to_owned()).collect();
        Chunk { chars: bytes.clone(), bytes, headings, tokens: 1 }
    }

    #[test]
    fn documents_and_chunks_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.source");
        let part = PartWriter::create(&OsDisk, &path, PartKind::Source).unwrap();
        let mut writer = SourceWriter::new(part).unwrap();
        let long = "0123456789".repeat(10_000);
        let texts = [("b", "short"), ("a", long.as_str()), ("", "x"), ("ab", "")];
        for (index, (id, text)) in texts.iter().enumerate() {
            let head = Head { title: Some(format!("title {id}")), ..Head::default() };
            let half = text.len() as u32 / 2;
            let chunks = [chunk(0..half, &["A", "B"]), chunk(half..text.len() as u32, &[])];
            writer.push(id, index as u64 + 10, &head, text, &chunks).unwrap();
        }
        writer.finish().unwrap();

        let part = SourcePart::open(PartFile::open(&path, PartKind::Source).unwrap()).unwrap();
        assert_eq!((part.rows(), part.documents()), (8, 4));
        for (index, (id, text)) in texts.iter().enumerate() {
            let entry = part.find(id).unwrap().unwrap();
            assert_eq!(entry.version, index as u64 + 10);
            assert_eq!(entry.row_range(), index as u32 * 2..index as u32 * 2 + 2);
            assert_eq!(part.id(&entry).unwrap(), *id);
            assert_eq!(part.head(&entry).unwrap().title.unwrap(), format!("title {id}"));
            assert_eq!(part.text(&entry).unwrap(), *text);
            let half = text.len() as u32 / 2;
            assert_eq!(part.text_range(&entry, half..text.len() as u32).unwrap(), text[half as usize..]);
            let chunks = part.chunks(&entry).unwrap();
            assert_eq!(chunks[0].headings, ["A", "B"]);
            assert!(chunks[1].headings.is_empty());
            assert_eq!(part.chunk(entry.first_row).unwrap().document, index as u32);
        }
        assert!(part.find("aa").unwrap().is_none());
        let order: Vec<_> = (0..4).map(|r| part.by_id_rank(r).unwrap().1).collect();
        let ids: Vec<_> = order.iter().map(|e| part.id(e).unwrap()).collect();
        assert_eq!(ids, ["", "a", "ab", "b"]);
        assert_eq!(part.id_rank("a", true).unwrap(), 2);
        assert!(part.document(4).is_err());
    }
}
