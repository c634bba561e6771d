//! What 4-bit codes of 64 rows at a time are looked up in.

/// Rows that are looked at together: those of one word of a set of rows.
pub const BLOCK: usize = 64;
/// What a code of four bits may be.
pub const ENTRIES: usize = 16;

/// Where a row of a block has its bytes among those of 64.
pub fn place(row: usize) -> usize {
    2 * (row % (BLOCK / 2)) + row / (BLOCK / 2)
}

/// Of each code what it adds to the sum of a row. Four entries still fit a byte.
#[derive(Clone, Debug)]
pub struct Tables(Vec<[u8; ENTRIES]>);

impl Tables {
    /// The largest entry.
    pub const MOST: u8 = 63;

    /// Larger entries count as [`MOST`](Self::MOST). Tables of zeros make them an even number, at least two.
    pub fn new(mut tables: Vec<[u8; ENTRIES]>) -> Tables {
        tables.iter_mut().flatten().for_each(|entry| *entry = (*entry).min(Tables::MOST));
        tables.resize(tables.len().next_multiple_of(2).max(2), [0; ENTRIES]);
        Tables(tables)
    }

    /// Bytes of the sketches of a block that has a code for each table.
    pub fn block_bytes(&self) -> usize {
        self.0.len() / 2 * BLOCK
    }

    /// The tables of each two codes that share a byte.
    #[inline]
    pub fn pairs(&self) -> &[[[u8; ENTRIES]; 2]] {
        self.0.as_chunks().0
    }
}
