//! What the fuzz targets share: parts with right checksums around whatever bytes the fuzzer wants, and checks
//! of what a search of them returns.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use gleaner::collection::definition::{Metric, Storage};
use gleaner::rows::RowSet;
use gleaner::store::{OsDisk, PartFile, PartKind, PartWriter};
use gleaner::vector::{Query, Scored};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// The metrics, in the order of their numbers in a file (from 1).
pub const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

/// What rows are stored as, in the order of its numbers in a file (from 0).
pub const STORAGES: [Storage; 3] = [Storage::Float32, Storage::Float16, Storage::Int8];

/// A path for a file of this process, under `TMPDIR`.
pub fn path(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("gleaner-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the parts");
        folder
    });
    FOLDER.join(name)
}

/// Opens a part with these sections. Its container is sound: what is damaged is what the sections say.
pub fn part(kind: PartKind, sections: &[(u32, Vec<u8>)]) -> Arc<PartFile> {
    let path = path(kind.name());
    let mut writer = PartWriter::create(&OsDisk, &path, kind).expect("a new part");
    for (id, bytes) in sections {
        writer.section(*id, bytes).expect("a section");
    }
    writer.finish().expect("the end of the part");
    let part = PartFile::open(&path, kind).expect("a sound container");
    // the map lives on, and the next part is another file
    std::fs::remove_file(&path).expect("the part is removed");
    part
}

/// Little-endian bytes of `words`.
pub fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Up to `most` bytes of the input, for [`fill`].
pub fn some<'a>(input: &mut Unstructured<'a>, most: usize) -> Result<&'a [u8]> {
    input.bytes(most.min(input.len()))
}

/// `len` bytes: these over and over.
pub fn fill(bytes: &[u8], len: usize) -> Vec<u8> {
    if bytes.is_empty() { vec![0; len] } else { bytes.iter().copied().cycle().take(len).collect() }
}

/// True once in eight times; not where the input has ended.
pub fn rarely(input: &mut Unstructured<'_>) -> Result<bool> {
    Ok(input.int_in_range(0..=7u8)? == 7)
}

/// Rarely, one of `words` becomes anything.
pub fn damage_word(input: &mut Unstructured<'_>, words: &mut [u32]) -> Result<()> {
    if rarely(input)? {
        *input.choose_iter(words.iter_mut())? = input.arbitrary()?;
    }
    Ok(())
}

/// What is done to the length of a section: which one, what and by how much.
pub struct Cut(Option<(usize, u8, usize)>);

impl Cut {
    /// Rarely, one of `sections` is cut, lengthened or left out.
    pub fn choose(input: &mut Unstructured<'_>, sections: usize) -> Result<Cut> {
        if !rarely(input)? {
            return Ok(Cut(None));
        }
        Ok(Cut(Some((
            input.choose_index(sections)?,
            input.int_in_range(0..=3)?,
            input.int_in_range(1..=80)?,
        ))))
    }

    pub fn apply(self, sections: &mut Vec<(u32, Vec<u8>)>) {
        let Some((at, what, by)) = self.0 else { return };
        let bytes = &mut sections[at].1;
        match what {
            0 => drop(sections.remove(at)),
            1 => bytes.clear(),
            2 => bytes.truncate(bytes.len().saturating_sub(by)),
            _ => bytes.resize(bytes.len() + by, 1),
        }
    }
}

/// A query that fits rows of this shape.
pub fn query(bytes: &[u8], metric: Metric, dimensions: u32) -> Query {
    let values = fill(bytes, dimensions as usize).into_iter();
    let mut vector: Vec<f32> = values.map(|byte| f32::from(byte as i8) / 16.0).collect();
    if vector.iter().all(|&x| x == 0.0) {
        vector[0] = 1.0; // cosine needs a direction
    }
    Query::new(metric, dimensions, &vector).expect("a finite query")
}

/// A bit of `bytes` for each row.
pub fn filter(bytes: &[u8], rows: u32) -> RowSet {
    let mut set = RowSet::empty(rows);
    for (row, byte) in (0..).zip(fill(bytes, (rows as usize).div_ceil(8))) {
        (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| set.insert(row * 8 + bit));
    }
    set
}

/// At most `k` rows, each of them one of the part and allowed, none twice.
pub fn check_found(found: &[Scored], rows: u32, k: usize, allowed: Option<&RowSet>) {
    assert!(found.len() <= k, "{} rows for k = {k}", found.len());
    let mut seen = RowSet::empty(rows);
    for row in found.iter().map(|scored| scored.row) {
        assert!(row < rows, "row {row} of {rows}");
        assert!(allowed.is_none_or(|set| set.contains(row)), "row {row} was not allowed");
        assert!(!seen.contains(row), "row {row} came twice");
        seen.insert(row);
    }
}
