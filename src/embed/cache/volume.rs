//! One volume of the cache: a file of vectors and a file of records that say whose they are. Both only grow, the
//! vectors first, so a record that is whole speaks of a vector that was written.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Key;

/// What is known of one vector.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    key: [u8; 32],
    /// Where its bytes begin in the file of vectors.
    offset: U64,
    /// How many there are.
    len: U32,
    /// CRC-32 of the key and the vector's bytes.
    vector_crc: U32,
    /// Zero.
    reserved: U32,
    /// CRC-32 of the fields above.
    crc: U32,
}

const RECORD_LEN: usize = size_of::<Record>();
const CRC_AT: usize = RECORD_LEN - size_of::<U32>();

impl Record {
    fn new(key: &Key, offset: u64, vector: &[u8]) -> Record {
        let mut record = Record {
            key: *key,
            offset: offset.into(),
            len: (vector.len() as u32).into(),
            vector_crc: vector_crc(key, vector).into(),
            reserved: 0.into(),
            crc: 0.into(),
        };
        record.crc = crc32fast::hash(&record.as_bytes()[..CRC_AT]).into();
        record
    }

    fn is_whole(&self) -> bool {
        self.crc.get() == crc32fast::hash(&self.as_bytes()[..CRC_AT])
    }
}

/// The key takes part: a vector never passes for another's.
fn vector_crc(key: &Key, vector: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(vector);
    hasher.finalize()
}

/// What the table in memory knows of a key: keys are hashes, so any four bytes of one will do. Of two keys that
/// share them the later is found.
fn short(key: &Key) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}

/// An open volume.
pub(super) struct Volume {
    /// Volumes are numbered by age.
    pub number: u64,
    dir: PathBuf,
    records: File,
    vectors: File,
    /// Short key → number of the record.
    table: HashMap<u32, u32>,
    records_len: u64,
    vectors_len: u64,
}

impl Volume {
    /// Opens or makes the volume. What follows a damaged record is forgotten.
    pub fn open(dir: &Path, number: u64) -> io::Result<Volume> {
        let open =
            |path: PathBuf| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let [records_path, vectors_path] = paths(dir, number);
        let records = open(records_path)?;
        let bytes = std::fs::read(&paths(dir, number)[0])?;
        let mut volume = Volume {
            number,
            dir: dir.to_owned(),
            records,
            vectors: open(vectors_path)?,
            table: HashMap::with_capacity(bytes.len() / RECORD_LEN),
            records_len: 0,
            vectors_len: 0,
        };
        for bytes in bytes.chunks_exact(RECORD_LEN) {
            let Some(record) = Record::read_from_bytes(bytes).ok().filter(Record::is_whole) else { break };
            volume.add(&record);
        }
        Ok(volume)
    }

    /// How many vectors it holds.
    pub fn entries(&self) -> usize {
        self.table.len()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.records_len + self.vectors_len
    }

    /// What an entry of that many values takes.
    pub fn entry_bytes(dimensions: usize) -> u64 {
        (RECORD_LEN + dimensions * size_of::<f32>()) as u64
    }

    fn add(&mut self, record: &Record) {
        // a record is found by its number in four bytes; a volume of that many is full long before
        let number = (self.records_len / RECORD_LEN as u64) as u32;
        self.table.insert(short(&record.key), number);
        self.records_len += RECORD_LEN as u64;
        self.vectors_len = self.vectors_len.max(record.offset.get() + u64::from(record.len.get()));
    }

    /// The vector of `key`. Anything that is not exactly it, whole and of that length, is none.
    pub fn get(&self, key: &Key, dimensions: usize) -> Option<Vec<f32>> {
        let number = *self.table.get(&short(key))?;
        let mut bytes = [0; RECORD_LEN];
        self.records.read_exact_at(&mut bytes, u64::from(number) * RECORD_LEN as u64).ok()?;
        let record = Record::read_from_bytes(&bytes).ok()?;
        let len = dimensions * size_of::<f32>();
        if !record.is_whole() || record.key != *key || record.len.get() as usize != len {
            return None;
        }
        let mut bytes = vec![0; len];
        self.vectors.read_exact_at(&mut bytes, record.offset.get()).ok()?;
        if record.vector_crc.get() != vector_crc(key, &bytes) {
            return None;
        }
        let (values, _) = bytes.as_chunks::<4>();
        Some(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Appends vectors. After an error nothing was added: the next call writes over what this one left.
    pub fn put<'a>(&mut self, entries: impl Iterator<Item = (&'a Key, &'a [f32])>) -> io::Result<()> {
        let (mut vectors, mut records) = (Vec::new(), Vec::new());
        for (key, values) in entries {
            let start = vectors.len();
            vectors.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            records.push(Record::new(key, self.vectors_len + start as u64, &vectors[start..]));
        }
        self.vectors.write_all_at(&vectors, self.vectors_len)?;
        self.records.write_all_at(records.as_bytes(), self.records_len)?;
        records.iter().for_each(|record| self.add(record));
        Ok(())
    }

    /// Removes its files.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.dir, self.number)
    }
}

/// Removes the files of a volume.
pub(super) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    paths(dir, number).iter().try_for_each(|path| match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
}

/// The volume that a file belongs to.
pub(super) fn number_of(file: &Path) -> Option<u64> {
    let extension = file.extension()?.to_str()?;
    let known = extension == RECORDS || extension == VECTORS;
    known.then(|| file.file_stem()?.to_str()?.parse().ok()).flatten()
}

const RECORDS: &str = "records";
const VECTORS: &str = "vectors";

fn paths(dir: &Path, number: u64) -> [PathBuf; 2] {
    [RECORDS, VECTORS].map(|extension| dir.join(format!("{number}.{extension}")))
}
