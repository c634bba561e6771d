//! The `graph` part: a graph frozen into a mapped file.
//!
//! One array with `width` row numbers per row, ended early by `u32::MAX`; then the rows a search may start
//! from, and these rows packed into panels (see [`Panels`](super::Panels)). Where there are rows that are equal to
//! others, a bit for each row says which: they link only to each other, and first to the one that is linked like any
//! other row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::beam::MAX_ROWS;
use super::built::Graph;
use super::calibration::{Calibration, Effort, Precision};
use super::links::{Links, NONE};
use super::scratch::ScratchPool;
use crate::rows::RowSet;
use crate::store::{PartFile, PartWriter, Result, Section, StoreError};
use crate::vector::distance::{self, LANES};

const SECTION_HEADER: u32 = 1;
const SECTION_LINKS: u32 = 2;
const SECTION_ENTRY_ROWS: u32 = 3;
const SECTION_ENTRY_PANELS: u32 = 4;
const SECTION_RECALLS: u32 = 5;
const SECTION_COPIES: u32 = 6;

const WORD: usize = size_of::<u32>();
/// More than any builder makes.
const MAX_WIDTH: u32 = 2048;
/// More candidates than a walk is measured with.
const MAX_EF: u32 = 1 << 16;
/// More than any builder takes.
const MAX_ENTRIES: u32 = 1 << 16;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    rows: U32,
    dimensions: U32,
    width: U32,
    entries: U32,
    /// What walks read of a code: 1 the upper half, 2 all of it.
    precision: U32,
    /// How many pairs of `ef` and recall there are.
    recalls: U32,
}

impl Graph {
    /// Writes a `graph` part, fsyncs it and returns its length in bytes.
    pub fn write(&self, mut writer: PartWriter) -> Result<u64> {
        let header = Header {
            rows: self.rows().into(),
            dimensions: self.dimensions.into(),
            width: (self.links.width() as u32).into(),
            entries: (self.entry_rows.len() as u32).into(),
            precision: match self.calibration.precision {
                Precision::Halves => 1,
                Precision::Whole => 2,
            }
            .into(),
            recalls: (self.calibration.recalls.len() as u32).into(),
        };
        writer.section(SECTION_HEADER, header.as_bytes())?;
        writer.section(SECTION_LINKS, self.links.flat().as_bytes())?;
        writer.section(SECTION_ENTRY_ROWS, self.entry_rows.as_bytes())?;
        writer.section(SECTION_ENTRY_PANELS, self.entries.words().as_bytes())?;
        if !self.copies.is_empty() {
            writer.section(SECTION_COPIES, self.copies.words().as_bytes())?;
        }
        writer.begin(SECTION_RECALLS)?;
        for &(ef, recall) in &self.calibration.recalls {
            writer.write(&ef.to_le_bytes())?;
            writer.write(&recall.to_le_bytes())?;
        }
        writer.finish()
    }
}

/// An open `graph` part.
#[derive(Debug)]
pub struct GraphPart {
    rows: u32,
    dimensions: u32,
    width: usize,
    links: Section,
    copies: Option<Section>,
    entry_rows: Section,
    entry_panels: Section,
    calibration: Calibration,
    /// All links were found undamaged and to lead to rows of the graph.
    links_checked: AtomicBool,
    pub(super) scratch: ScratchPool,
}

/// The links of all rows of a graph, for reading here and there.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkLists<'a> {
    all: &'a [u32],
    width: usize,
    /// A bit for each row that is a copy of another one; no words where there are none.
    copies: &'a [u64],
    /// Where they must be checked before they are read.
    unchecked: Option<&'a GraphPart>,
}

impl<'a> LinkLists<'a> {
    /// The links of a graph that was just built.
    pub fn of_graph(links: &'a Links, copies: &'a RowSet) -> LinkLists<'a> {
        LinkLists { all: links.flat(), width: links.width(), copies: copies.words(), unchecked: None }
    }

    /// The rows that `row` (below the graph's rows) links to, each of them below the graph's rows.
    #[inline]
    pub fn of(&self, row: u32) -> Result<&'a [u32]> {
        let words = row as usize * self.width..(row as usize + 1) * self.width;
        if let Some(graph) = self.unchecked {
            graph.links.check(words.start * WORD..words.end * WORD)?;
        }
        let list = &self.all[words];
        // a damaged list that has others behind it is cut somewhere, or refused below
        let list = &list[..list.partition_point(|&to| to != NONE)];
        if let Some(graph) = self.unchecked
            && list.iter().any(|&to| to >= graph.rows)
        {
            return Err(graph.corrupt("a link leads outside the graph"));
        }
        Ok(list)
    }

    /// Whether `row` is equal to another one and hangs below it.
    #[inline]
    pub fn is_copy(&self, row: u32) -> bool {
        self.copies.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// The row that `row`, whose links were read, is a copy of: itself, if it is none.
    #[inline]
    pub fn original(&self, row: u32) -> u32 {
        if self.is_copy(row) { self.all[row as usize * self.width] } else { row }
    }

    /// Whether `row` is a copy of `original`. Not where its list is damaged: who follows it is told.
    #[inline]
    pub fn is_copy_of(&self, row: u32, original: u32) -> bool {
        self.is_copy(row) && self.of(row).is_ok_and(|links| links.first() == Some(&original))
    }

    /// The list of `row`, only to be prefetched.
    #[inline]
    pub fn hint(&self, row: u32) -> &'a [u8] {
        let words = row as usize * self.width..(row as usize + 1) * self.width;
        bytemuck::cast_slice(self.all.get(words).unwrap_or_default())
    }
}

impl GraphPart {
    /// Opens the graph of a segment of `rows` rows and validates the lengths of its sections. The links
    /// are checked as they are walked.
    pub fn open(file: Arc<PartFile>, rows: u32) -> Result<GraphPart> {
        let bad = |what: &str| StoreError::corrupt(file.path(), what);
        let section = file.section(SECTION_HEADER)?;
        let header = Header::ref_from_bytes(section.all()?)
            .map_err(|_| bad("the header of the graph has a wrong length"))?;
        let (dimensions, width, entries) =
            (header.dimensions.get(), header.width.get(), header.entries.get());
        if header.rows.get() != rows || rows >= MAX_ROWS {
            return Err(bad("it is the graph of another number of rows"));
        }
        if !(2..=MAX_WIDTH).contains(&width) {
            return Err(bad("the number of links is out of range"));
        }
        if entries > MAX_ENTRIES || (entries == 0) != (rows == 0) || dimensions == 0 {
            return Err(bad("the header of the graph is wrong"));
        }
        let precision = match header.precision.get() {
            1 => Precision::Halves,
            2 => Precision::Whole,
            _ => return Err(bad("the header of the graph is wrong")),
        };
        let recalls = file.section(SECTION_RECALLS)?;
        let recalls = recalls.all()?;
        if recalls.is_empty() || recalls.len() as u64 != u64::from(header.recalls.get()) * 2 * WORD as u64 {
            return Err(bad("a section of the graph has a wrong length"));
        }
        let pair = |pair: &[u8]| {
            let word = |at: usize| [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            (u32::from_le_bytes(word(0)), f32::from_le_bytes(word(WORD)))
        };
        let recalls: Vec<(u32, f32)> = recalls.chunks_exact(2 * WORD).map(pair).collect();
        if !recalls.iter().all(|&(ef, recall)| (1..=MAX_EF).contains(&ef) && (0.0..=1.0).contains(&recall)) {
            return Err(bad("the recall of the graph is out of range"));
        }
        let (links, copies) = (file.section(SECTION_LINKS)?, file.optional_section(SECTION_COPIES));
        if copies.as_ref().is_some_and(|bits| bits.len() != rows.div_ceil(64) as usize * size_of::<u64>()) {
            return Err(bad("a section of the graph has a wrong length"));
        }
        let (entry_rows, entry_panels) =
            (file.section(SECTION_ENTRY_ROWS)?, file.section(SECTION_ENTRY_PANELS)?);
        let graph = GraphPart {
            rows,
            dimensions,
            width: width as usize,
            links,
            copies,
            entry_rows,
            entry_panels,
            calibration: Calibration { precision, recalls },
            links_checked: AtomicBool::new(false),
            scratch: ScratchPool::default(),
        };
        let panel_words = distance::panel_words(graph.dimensions as usize) as u64;
        let panels = u64::from(entries).div_ceil(LANES as u64) * panel_words;
        let lengths = [
            (&graph.links, u64::from(rows) * u64::from(width)),
            (&graph.entry_rows, u64::from(entries)),
            (&graph.entry_panels, panels),
        ];
        if lengths.iter().any(|(section, words)| section.len() as u64 != words * WORD as u64) {
            return Err(bad("a section of the graph has a wrong length"));
        }
        if graph.entries()?.0.iter().any(|&row| row >= rows) {
            return Err(bad("an entry lies outside the graph"));
        }
        Ok(graph)
    }

    /// How many rows it links.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Length of the vectors it was built over.
    pub fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// The most links of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.links.part().file_len()
    }

    /// How much of the nearest rows walks find.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How many candidates a walk keeps.
    pub fn ef(&self, effort: Effort) -> usize {
        match effort {
            Effort::Ef(ef) => ef,
            Effort::Recall(target) => self.calibration.ef(target),
        }
    }

    /// How many rows a search can reach from the first entry: all of them, if the part is what was built.
    pub fn reachable(&self) -> Result<u32> {
        let lists = self.lists()?;
        let mut seen = RowSet::empty(self.rows);
        let mut stack: Vec<u32> = self.entries()?.0.iter().copied().take(1).collect();
        stack.iter().for_each(|&row| seen.insert(row));
        while let Some(row) = stack.pop() {
            for &to in lists.of(row)? {
                if !seen.contains(to) {
                    seen.insert(to);
                    stack.push(to);
                }
            }
        }
        Ok(seen.len())
    }

    /// Checks the links of all rows; walks need not do it from then on.
    pub fn check_links(&self) -> Result<()> {
        self.links.all()?;
        let lists = self.lists()?;
        (0..self.rows).try_for_each(|row| lists.of(row).map(drop))?;
        self.links_checked.store(true, Ordering::Relaxed); // the bytes never change
        Ok(())
    }

    /// Whether [`check_links`](Self::check_links) found all well.
    pub fn is_checked(&self) -> bool {
        self.links_checked.load(Ordering::Relaxed)
    }

    /// The links of all rows.
    pub(super) fn lists(&self) -> Result<LinkLists<'_>> {
        let unchecked = (!self.is_checked()).then_some(self);
        let copies = self.copies.as_ref().map(|bits| self.words(bits, 0..bits.len())).transpose()?;
        let (all, copies) = (self.links.cast()?, copies.unwrap_or_default());
        Ok(LinkLists { all, width: self.width, copies, unchecked })
    }

    /// The rows that a search may start from, and the panels they are packed into.
    pub(super) fn entries(&self) -> Result<(&[u32], &[i32])> {
        let rows: &[u32] = self.words(&self.entry_rows, 0..self.entry_rows.len())?;
        let panels: &[i32] = self.words(&self.entry_panels, 0..self.entry_panels.len())?;
        Ok((rows, panels))
    }

    /// Damage in this part.
    #[cold]
    pub(super) fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(self.links.part().path(), what)
    }

    #[inline]
    fn words<'a, T: bytemuck::AnyBitPattern>(
        &self,
        section: &'a Section,
        bytes: std::ops::Range<usize>,
    ) -> Result<&'a [T]> {
        bytemuck::try_cast_slice(section.bytes(bytes)?)
            .map_err(|_| self.corrupt("a section of the graph is misaligned"))
    }
}
