//! Merges text parts: the alive rows of each input, one input after the other.

use tantivy::BitSet;
use tantivy::directory::{OwnedBytes, RamDirectory};
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::indexer::merge_filtered_segments;

use super::builder::TextBuilder;
use super::bundle;
use super::error::{indexing, reading};
use super::part::TextPart;
use super::schema::settings;
use crate::collection::definition::TextDefinition;
use crate::rows::RowSet;
use crate::store::{PartWriter, StoreError};
use crate::{Error, Result};

/// Writes the part of the alive rows of `inputs`: row order is kept and inputs follow one another.
/// Returns the part's length in bytes.
pub fn merge(inputs: &[(&TextPart, &RowSet)], writer: PartWriter) -> Result<u64> {
    let mut segments = Vec::new();
    let mut alive_sets = Vec::new();
    let mut lengths = Vec::new();
    for (part, alive) in inputs.iter().filter(|(_, alive)| !alive.is_empty()) {
        if alive.rows() != part.rows() {
            return Err(Error::internal("a set of alive rows is of another segment"));
        }
        segments.extend(part.segments()?);
        alive_sets.push(if alive.len() < part.rows() { Some(alive_set(alive)?) } else { None });
        let of_part = part.lengths()?;
        lengths.extend(alive.iter().map(|row| of_part[row as usize]));
    }
    let Some((first, _)) = inputs.iter().find(|(_, alive)| !alive.is_empty()) else {
        return TextBuilder::new(&TextDefinition::default())?.finish(writer);
    };
    let directory = RamDirectory::create();
    let index = merge_filtered_segments(&segments, settings(), alive_sets, directory.clone())
        .map_err(reading(first.path()))?;
    let rows: u32 =
        index.searchable_segment_metas().map_err(indexing)?.iter().map(|meta| meta.max_doc()).sum();
    if rows as usize != lengths.len() {
        let what = format!("merging gave {rows} rows of {}", lengths.len());
        return Err(StoreError::corrupt(first.path(), what).into());
    }
    bundle::write(&index, &directory, &lengths, writer)
}

fn alive_set(alive: &RowSet) -> Result<AliveBitSet> {
    let mut bits = BitSet::with_max_value(alive.rows());
    for row in alive.iter() {
        bits.insert(row);
    }
    let mut bytes = Vec::new();
    write_alive_bitset(&bits, &mut bytes).map_err(|error| indexing(error.into()))?;
    Ok(AliveBitSet::open(OwnedBytes::new(bytes)))
}
