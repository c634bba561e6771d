//! The `vectors` part: the rows, and 8-bit codes and sketches of the same rows.
//!
//! The codes ([`super::codes`]) pick candidates; the rows, in the type that the collection's [`Storage`] says, score
//! them. For `int8` the codes are the rows: nothing else is stored.
//!
//! Codes, sketches and the graph are what searches read all over; they are meant to be in memory. Of the rows a search reads
//! only those it scores, a few dozen, so they may stay on disk: nothing reads them when a part is opened or its codes
//! are checked, and the system is told that they are read at random, so that it reads the blocks asked for and no
//! others around them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::{Quantiser, RowConstants, code_stride};
use super::distance::{self, BLOCK};
use super::row::{Row, Rows, to_halves};
use super::sketch::{self, Model, block_bytes};
use super::unit_or_finite;
use crate::collection::definition::{Metric, Storage};
use crate::error::{Code, Error};
use crate::store::{PartFile, PartWriter, Result, Section, StoreError};

/// The most dimensions a vector can have: products of codes stay in 32 bits.
pub const MAX_DIMENSIONS: u32 = 65_536;

const SECTION_HEADER: u32 = 1;
const SECTION_ROWS: u32 = 2;
const SECTION_CODES: u32 = 3;
const SECTION_CONSTANTS: u32 = 4;
const SECTION_MODEL: u32 = 7;
const SECTION_SKETCHES: u32 = 8;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    rows: U32,
    dimensions: U32,
    /// 1 cosine, 2 dot, 3 l2.
    metric: U16,
    /// 0 float32, 1 float16, 2 int8.
    storage: U16,
    /// Bytes from one row's codes to the next's.
    code_stride: U32,
}

/// Writes a `vectors` part row by row. The rows go straight to the file; the codes wait in memory (one byte a
/// dimension) until [`finish`](Self::finish).
#[derive(Debug)]
pub struct VectorWriter {
    writer: PartWriter,
    metric: Metric,
    storage: Storage,
    dimensions: usize,
    codes: Vec<u8>,
    constants: Vec<RowConstants>,
    row: Vec<f32>,
    quantiser: Quantiser,
}

impl VectorWriter {
    /// Starts a part. `invalid_definition` for 0 or more than [`MAX_DIMENSIONS`] dimensions.
    pub fn new(
        mut writer: PartWriter,
        metric: Metric,
        storage: Storage,
        dimensions: u32,
    ) -> crate::Result<VectorWriter> {
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            let message = format!("vectors have 1 to {MAX_DIMENSIONS} dimensions, not {dimensions}");
            return Err(Error::new(Code::InvalidDefinition, message));
        }
        writer.begin(SECTION_ROWS)?;
        Ok(VectorWriter {
            writer,
            metric,
            storage,
            dimensions: dimensions as usize,
            codes: Vec::new(),
            constants: Vec::new(),
            row: Vec::new(),
            quantiser: Quantiser::default(),
        })
    }

    /// Appends a row (for cosine: normalised). `invalid_vector` where its length is wrong, a value is
    /// not finite or too large, or (cosine) it has no direction.
    pub fn push(&mut self, vector: &[f32]) -> crate::Result<()> {
        if vector.len() != self.dimensions {
            let message = format!("the vector has {} dimensions, not {}", vector.len(), self.dimensions);
            return Err(Error::new(Code::InvalidVector, message));
        }
        self.row.clear();
        self.row.extend_from_slice(vector);
        let norm_squared = unit_or_finite(self.metric, &mut self.row)?;
        let constants = match self.storage {
            Storage::Float32 => {
                self.writer.write(self.row.as_bytes())?;
                self.quantiser.append(&self.row, norm_squared, &mut self.codes)
            }
            Storage::Float16 => {
                self.writer.write(to_halves(&self.row)?.as_bytes())?;
                self.quantiser.append(&self.row, norm_squared, &mut self.codes)
            }
            Storage::Int8 => self.quantiser.append_as_row(self.metric, &self.row, &mut self.codes),
        };
        self.constants.push(constants);
        Ok(())
    }

    /// Appends a row of another part bit for bit: values, codes and constants. `internal` where the
    /// parts differ in metric, storage or dimensions.
    pub fn push_from(&mut self, part: &VectorPart, row: u32) -> crate::Result<()> {
        let theirs = (part.metric, part.storage, part.dimensions);
        if theirs != (self.metric, self.storage, self.dimensions) {
            return Err(Error::internal(
                "rows of parts with different metrics, storage or dimensions cannot be merged",
            ));
        }
        match part.row(row)? {
            Row::Float32(values) => self.writer.write(values.as_bytes())?,
            Row::Float16(values) => self.writer.write(values.as_bytes())?,
            Row::Int8(..) => {} // its codes are what follows
        }
        let (codes, constants) = part.codes(row)?;
        self.codes.extend_from_slice(codes);
        self.constants.push(constants);
        Ok(())
    }

    /// How many rows were pushed.
    pub fn rows(&self) -> u32 {
        self.constants.len() as u32
    }

    /// Sketches the rows, writes codes, sketches and header, fsyncs; returns the length of the file in bytes.
    pub fn finish(mut self) -> Result<u64> {
        let header = Header {
            rows: self.rows().into(),
            dimensions: (self.dimensions as u32).into(),
            metric: metric_number(self.metric).into(),
            storage: storage_number(self.storage).into(),
            code_stride: (code_stride(self.dimensions) as u32).into(),
        };
        self.writer.section(SECTION_CODES, &self.codes)?;
        self.writer.section(SECTION_CONSTANTS, bytemuck::cast_slice(&self.constants))?;
        let sketched = sketch::sketch(self.metric, self.dimensions, &self.codes, &self.constants);
        if let Some((model, sketches)) = sketched {
            self.writer.section(SECTION_MODEL, bytemuck::cast_slice(&model))?;
            self.writer.section(SECTION_SKETCHES, &sketches)?;
        }
        self.writer.section(SECTION_HEADER, header.as_bytes())?;
        self.writer.finish()
    }
}

fn metric_number(metric: Metric) -> u16 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::L2 => 3,
    }
}

fn storage_number(storage: Storage) -> u16 {
    match storage {
        Storage::Float32 => 0,
        Storage::Float16 => 1,
        Storage::Int8 => 2,
    }
}

/// An open `vectors` part.
#[derive(Clone, Debug)]
pub struct VectorPart {
    rows: u32,
    dimensions: usize,
    metric: Metric,
    storage: Storage,
    stride: usize,
    values: Section,
    codes: Section,
    constants: Section,
    sketches: Option<Sketches>,
    /// All codes and constants were found undamaged.
    codes_checked: Arc<AtomicBool>,
}

/// The sketches of a part's rows, where it has any: few rows have none.
#[derive(Clone, Debug)]
struct Sketches {
    model: Section,
    blocks: Section,
}

/// The codes of all rows of a part, for reading here and there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes<'a> {
    /// One row after the other.
    pub all: &'a [u8],
    stride: usize,
    /// Of each row.
    pub constants: &'a [RowConstants],
    /// Where they must be checked before they are read.
    unchecked: Option<&'a VectorPart>,
}

impl<'a> Codes<'a> {
    /// The codes of a row below the part's rows.
    #[inline]
    pub fn row(&self, row: u32) -> &'a [u8] {
        &self.all[row as usize * self.stride..(row as usize + 1) * self.stride]
    }

    /// Asks the processor for the first `bytes` of the codes of these rows, and for their constants.
    #[inline]
    pub fn prefetch(&self, rows: &[u32], bytes: usize) {
        for &row in rows {
            distance::prefetch(&self.row(row)[..bytes]);
            distance::prefetch(bytemuck::bytes_of(&self.constants[row as usize]));
        }
    }

    /// Makes sure that these rows are undamaged.
    #[inline]
    pub fn check(&self, rows: &[u32]) -> Result<()> {
        match self.unchecked {
            None => Ok(()),
            Some(part) => rows.iter().try_for_each(|&row| part.codes(row).map(drop)),
        }
    }
}

impl VectorPart {
    /// Opens a part and validates its header and the lengths of its sections; reads no row.
    pub fn open(file: Arc<PartFile>) -> Result<VectorPart> {
        let bad = |what: &str| StoreError::corrupt(file.path(), what);
        let section = file.section(SECTION_HEADER)?;
        let header = Header::ref_from_bytes(section.all()?)
            .map_err(|_| bad("the header of the vectors has a wrong length"))?;
        let metric = [Metric::Cosine, Metric::Dot, Metric::L2]
            .into_iter()
            .find(|&metric| metric_number(metric) == header.metric.get())
            .ok_or_else(|| bad("the metric is not known"))?;
        let storage = [Storage::Float32, Storage::Float16, Storage::Int8]
            .into_iter()
            .find(|&storage| storage_number(storage) == header.storage.get())
            .ok_or_else(|| bad("the type of its rows is not known"))?;
        let dimensions = header.dimensions.get();
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(bad("the number of dimensions is out of range"));
        }
        let (rows, dimensions) = (header.rows.get(), dimensions as usize);
        let stride = code_stride(dimensions);
        if header.code_stride.get() as usize != stride {
            return Err(bad("the stride of the codes is wrong"));
        }
        let mut part = VectorPart {
            rows,
            dimensions,
            metric,
            storage,
            stride,
            values: file.section(SECTION_ROWS)?,
            codes: file.section(SECTION_CODES)?,
            constants: file.section(SECTION_CONSTANTS)?,
            sketches: file
                .optional_section(SECTION_MODEL)
                .zip(file.optional_section(SECTION_SKETCHES))
                .map(|(model, blocks)| Sketches { model, blocks }),
            codes_checked: Arc::default(),
        };
        let lengths = [
            (&part.values, storage.row_bytes(dimensions)),
            (&part.codes, stride),
            (&part.constants, size_of::<RowConstants>()),
        ];
        if lengths.iter().any(|(section, row)| section.len() as u64 != u64::from(rows) * *row as u64) {
            return Err(bad("a section of the vectors has a wrong length"));
        }
        let blocks = (rows as usize).div_ceil(BLOCK);
        let fit = |sketches: &Sketches| {
            sketches.model.len() == Model::len(dimensions) * size_of::<f32>()
                && sketches.blocks.len() as u64 == blocks as u64 * block_bytes(dimensions) as u64
        };
        if !part.sketches.as_ref().is_none_or(fit) {
            return Err(bad("the sketches of the vectors have a wrong length"));
        }
        part.values.expect_random_reads();
        Ok(part)
    }

    /// How many rows it has.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Length of a vector.
    pub fn dimensions(&self) -> u32 {
        self.dimensions as u32
    }

    /// The metric it was written for; rows are normalised for cosine.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// How the rows are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// A row as it is stored, checked.
    #[inline]
    pub fn row(&self, row: u32) -> Result<Row<'_>> {
        let values = || {
            let len = self.storage.row_bytes(self.dimensions);
            self.values.bytes(row as usize * len..(row as usize + 1) * len)
        };
        Ok(match self.storage {
            Storage::Float32 => Row::Float32(cast(&self.values, values()?)?),
            Storage::Float16 => Row::Float16(cast(&self.values, values()?)?),
            Storage::Int8 => {
                let (codes, constants) = self.codes(row)?;
                Row::Int8(codes, constants.scale)
            }
        })
    }

    /// Asks the processor for a row below the part's rows, as far as it does not go on by itself.
    #[inline]
    pub(super) fn prefetch(&self, row: u32) {
        /// From here on, the processor has seen where it goes.
        const ASKED: usize = 1024;
        let len = self.storage.row_bytes(self.dimensions);
        if let Ok(values) = self.values.cast::<u8>() {
            distance::prefetch(&values[row as usize * len..][..len.min(ASKED)]);
        }
    }

    /// The values of a row, checked.
    pub(super) fn values(&self, row: u32) -> Result<Cow<'_, [f32]>> {
        Ok(self.row(row)?.values(self.dimensions))
    }

    /// Bytes that are read to score a row.
    pub(super) fn row_bytes(&self) -> usize {
        match self.storage {
            Storage::Float32 | Storage::Float16 => self.storage.row_bytes(self.dimensions),
            Storage::Int8 => self.stride,
        }
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.values.part().file_len()
    }

    /// Bytes that the rows take beside their codes.
    pub fn original_bytes(&self) -> u64 {
        self.values.len() as u64
    }

    /// A row's codes and constants, checked.
    #[inline]
    pub(super) fn codes(&self, row: u32) -> Result<(&[u8], RowConstants)> {
        let row = row as usize;
        let codes = self.codes.bytes(row * self.stride..(row + 1) * self.stride)?;
        let len = size_of::<RowConstants>();
        let constants: &[RowConstants] =
            cast(&self.constants, self.constants.bytes(row * len..(row + 1) * len)?)?;
        Ok((codes, constants[0]))
    }

    /// How the rows are sketched, checked, if they are.
    pub(super) fn sketch_model(&self) -> Result<Option<Model<'_>>> {
        let Some(Sketches { model, .. }) = &self.sketches else { return Ok(None) };
        Ok(Some(Model::new(self.dimensions, cast(model, model.all()?)?)))
    }

    /// The sketches of some blocks of rows, checked; none where rows are not sketched.
    pub(super) fn sketches(&self, blocks: Range<usize>) -> Result<&[u8]> {
        let len = block_bytes(self.dimensions);
        match &self.sketches {
            Some(sketches) => sketches.blocks.bytes(blocks.start * len..blocks.end * len),
            None => Ok(&[]),
        }
    }

    /// Checks the codes of all rows; walks need not do it from then on.
    pub fn check_codes(&self) -> Result<()> {
        self.all_codes()?;
        if let Some(Sketches { model, blocks }) = &self.sketches {
            model.all()?;
            blocks.all()?;
        }
        self.codes_checked.store(true, Ordering::Relaxed); // the bytes never change
        Ok(())
    }

    /// The codes of all rows.
    pub(super) fn codes_at_random(&self) -> Result<Codes<'_>> {
        let unchecked = (!self.codes_checked.load(Ordering::Relaxed)).then_some(self);
        Ok(Codes {
            all: self.codes.cast()?,
            stride: self.stride,
            constants: self.constants.cast()?,
            unchecked,
        })
    }

    /// All rows, checked. They are brought into memory first, as far as it is free.
    pub(super) fn all_rows(&self) -> Result<Rows<'_>> {
        self.expect_reading_all();
        Ok(match self.storage {
            Storage::Float32 => Rows::Float32(cast(&self.values, self.values.all()?)?),
            Storage::Float16 => Rows::Float16(cast(&self.values, self.values.all()?)?),
            Storage::Int8 => {
                let (codes, constants) = self.all_codes()?;
                Rows::Int8(codes, constants)
            }
        })
    }

    /// Tells the system that all rows are going to be read: it begins to.
    pub fn expect_reading_all(&self) {
        self.values.expect_reading_all();
    }

    /// Values or bytes of codes from one row of [`all_rows`](Self::all_rows) to the next.
    pub(super) fn row_len(&self) -> usize {
        match self.storage {
            Storage::Float32 | Storage::Float16 => self.dimensions,
            Storage::Int8 => self.stride,
        }
    }

    /// The codes of all rows, one after the other, and their constants, checked.
    pub(super) fn all_codes(&self) -> Result<(&[u8], &[RowConstants])> {
        Ok((self.codes.all()?, cast(&self.constants, self.constants.all()?)?))
    }
}

#[inline]
fn cast<'a, T: bytemuck::AnyBitPattern>(section: &Section, bytes: &'a [u8]) -> Result<&'a [T]> {
    bytemuck::try_cast_slice(bytes)
        .map_err(|_| StoreError::corrupt(section.part().path(), "a section of the vectors is misaligned"))
}
