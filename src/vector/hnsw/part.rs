//! The `graph` part: a graph frozen into a mapped file.
//!
//! The bottom layer is one array with `2m` row numbers per row, ended early by `u32::MAX`. Each upper
//! layer is the sorted rows in it, then `m` links per node, as positions among those rows.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::links::{Graph, NONE};
use super::visited::VisitedPool;
use crate::store::{PartFile, PartWriter, Result, Section, StoreError};

const SECTION_HEADER: u32 = 1;
const SECTION_COUNTS: u32 = 2;
const SECTION_BOTTOM: u32 = 3;
const SECTION_UPPER: u32 = 4;

const WORD: usize = size_of::<u32>();
/// More than any builder makes.
const MAX_M: u32 = 1024;
const MAX_LAYERS: usize = 64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    rows: U32,
    m: U32,
}

/// Writes `graph` and fsyncs; returns the length of the file in bytes.
pub(super) fn write(graph: &Graph, mut writer: PartWriter) -> Result<u64> {
    let header = Header { rows: graph.rows().into(), m: graph.m.into() };
    let upper = graph.layers.get(1..).unwrap_or_default();
    let counts: Vec<u32> = upper.iter().map(|layer| layer.rows.len() as u32).collect();
    writer.section(SECTION_HEADER, header.as_bytes())?;
    writer.section(SECTION_COUNTS, counts.as_bytes())?;
    writer.begin(SECTION_BOTTOM)?;
    if let Some(bottom) = graph.layers.first() {
        writer.write(bottom.links.flat().as_bytes())?;
    }
    writer.begin(SECTION_UPPER)?;
    for layer in upper {
        writer.write(layer.rows.as_bytes())?;
        writer.write(layer.links.flat().as_bytes())?;
    }
    writer.finish()
}

/// Where an upper layer lies in its section, in words.
#[derive(Debug)]
struct UpperLayer {
    rows: Range<usize>,
    links: usize,
}

/// An open `graph` part.
#[derive(Debug)]
pub struct GraphPart {
    rows: u32,
    m: usize,
    bottom: Section,
    upper: Section,
    layers: Vec<UpperLayer>,
    pub(super) visited: VisitedPool,
}

impl GraphPart {
    /// Opens the graph of a segment of `rows` rows and validates the lengths of its sections. The links
    /// are checked as they are walked.
    pub fn open(file: Arc<PartFile>, rows: u32) -> Result<GraphPart> {
        let bad = |what: &str| StoreError::corrupt(file.path(), what);
        let section = file.section(SECTION_HEADER)?;
        let header = Header::ref_from_bytes(section.all()?)
            .map_err(|_| bad("the header of the graph has a wrong length"))?;
        let m = header.m.get();
        if header.rows.get() != rows {
            return Err(bad("it is the graph of another number of rows"));
        }
        if !(2..=MAX_M).contains(&m) {
            return Err(bad("the number of links is out of range"));
        }
        let m = m as usize;
        let (bottom, upper) = (file.section(SECTION_BOTTOM)?, file.section(SECTION_UPPER)?);
        if bottom.len() as u64 != u64::from(rows) * (2 * m * WORD) as u64 {
            return Err(bad("the bottom layer has a wrong length"));
        }
        let counts = file.section(SECTION_COUNTS)?;
        counts.all()?;
        let counts: &[u32] = counts.cast()?;
        if counts.len() > MAX_LAYERS {
            return Err(bad("the graph has too many layers"));
        }
        let mut layers = Vec::with_capacity(counts.len());
        let mut at = 0;
        for &count in counts {
            if count == 0 || count > rows {
                return Err(bad("a layer of the graph has a wrong number of rows"));
            }
            let links = at + count as usize;
            layers.push(UpperLayer { rows: at..links, links });
            at = links + count as usize * m;
        }
        if upper.len() != at * WORD {
            return Err(bad("the upper layers have a wrong length"));
        }
        Ok(GraphPart { rows, m, bottom, upper, layers, visited: VisitedPool::default() })
    }

    /// How many rows it links.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// How many rows a search can reach from the entry point over the bottom layer: all of them, if the part
    /// is what was built.
    pub fn reachable(&self) -> Result<u32> {
        let entry = match self.upper_layers() {
            0 => 0,
            top => self.upper_rows(top)?.first().copied().unwrap_or(0),
        };
        let mut seen = crate::segment::RowSet::empty(self.rows);
        let mut stack = vec![entry];
        seen.insert(entry);
        while let Some(row) = stack.pop() {
            for &to in self.bottom_links(row)? {
                if !seen.contains(to) {
                    seen.insert(to);
                    stack.push(to);
                }
            }
        }
        Ok(seen.len())
    }

    /// How many layers lie above the bottom layer.
    pub(super) fn upper_layers(&self) -> usize {
        self.layers.len()
    }

    /// The row numbers `row` links to in the bottom layer, each below [`rows`](Self::rows).
    #[inline]
    pub(super) fn bottom_links(&self, row: u32) -> Result<&[u32]> {
        let width = 2 * self.m;
        self.links(&self.bottom, row as usize * width, width, self.rows)
    }

    /// The rows of upper layer `layer` (1 is the lowest), ascending.
    pub(super) fn upper_rows(&self, layer: usize) -> Result<&[u32]> {
        let words = self.layers[layer - 1].rows.clone();
        words_of(&self.upper, words)
    }

    /// The positions that the node at `position` of upper layer `layer` links to.
    pub(super) fn upper_links(&self, layer: usize, position: u32) -> Result<&[u32]> {
        let UpperLayer { rows, links } = &self.layers[layer - 1];
        self.links(&self.upper, links + position as usize * self.m, self.m, rows.len() as u32)
    }

    /// Damage in this part.
    #[cold]
    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(self.bottom.part().path(), what)
    }

    #[inline]
    fn links<'a>(&'a self, section: &'a Section, at: usize, width: usize, nodes: u32) -> Result<&'a [u32]> {
        let list = words_of(section, at..at + width)?;
        let list = &list[..list.iter().position(|&to| to == NONE).unwrap_or(width)];
        if list.iter().any(|&to| to >= nodes) {
            return Err(self.corrupt("a link leads outside the graph"));
        }
        Ok(list)
    }
}

#[inline]
fn words_of(section: &Section, words: Range<usize>) -> Result<&[u32]> {
    let bytes = section.bytes(words.start * WORD..words.end * WORD)?;
    bytemuck::try_cast_slice(bytes)
        .map_err(|_| StoreError::corrupt(section.part().path(), "a section of the graph is misaligned"))
}
