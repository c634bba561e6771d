//! A family of kernels: a table of functions, and the checks that make calling them safe.
#![expect(unsafe_code, reason = "calls through the table; every block has its SAFETY argument")]

use std::ops::Range;

use super::super::codes::UNIT;
use super::{BLOCK, CodeQuery, LANES, TILE_ROWS, Tables, TileRow, scalar};

type Near<const ROWS: usize> =
    unsafe fn(&[TileRow<'_>; ROWS], &[i32], &mut [[f32; LANES]; ROWS]) -> [u16; ROWS];

type LookUp = unsafe fn(&[u8], &Tables, &[u64], &mut [[u16; BLOCK]], &mut [u16]);

/// One family of kernels. A kernel may rely on what the methods check: slices of values or codes have the same
/// length, rows of codes are whole strides, blocks of sketches have a code for each table, and there are as many words and
/// places, a panel has `LANES` words for each of its header's words (but not where rows are packed) and for each group of
/// a row's codes, and the processor has the instructions that the family's constructor detected.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    pub(super) name: &'static str,
    pub(super) dot: unsafe fn(&[f32], &[f32]) -> f32,
    pub(super) l2_squared: unsafe fn(&[f32], &[f32]) -> f32,
    pub(super) dot_f16: unsafe fn(&[f32], &[u16]) -> f32,
    pub(super) l2_squared_f16: unsafe fn(&[f32], &[u16]) -> f32,
    pub(super) dot_int8: unsafe fn(&[f32], &[u8]) -> f32,
    pub(super) l2_squared_int8: unsafe fn(&[f32], &[u8], f32) -> f32,
    pub(super) dot_codes: unsafe fn(&[u8], &[i8]) -> i32,
    pub(super) dot_both: unsafe fn(&[u8], &CodeQuery) -> i32,
    pub(super) dot_rows: unsafe fn(&[u8], &[u32], &CodeQuery, &mut [i32]),
    pub(super) dot_rows_whole: unsafe fn(&[u8], &[u32], &CodeQuery, &mut [i32]),
    pub(super) near: Near<TILE_ROWS>,
    pub(super) near_one: Near<1>,
    pub(super) pack: unsafe fn(&[&[u8]; LANES], &mut [i32]),
    pub(super) look_up: LookUp,
    pub(super) within: unsafe fn(&[u16; BLOCK], Range<u16>) -> u64,
}

/// The family that the others are tested against, and what runs where no vector instructions are known.
pub(super) const SCALAR: Kernels = Kernels {
    name: "scalar",
    dot: scalar::dot,
    l2_squared: scalar::l2_squared,
    dot_f16: scalar::dot_f16,
    l2_squared_f16: scalar::l2_squared_f16,
    dot_int8: scalar::dot_int8,
    l2_squared_int8: scalar::l2_squared_int8,
    dot_codes: scalar::dot_codes,
    dot_both: scalar::dot_both,
    dot_rows: scalar::dot_rows,
    dot_rows_whole: scalar::dot_rows_whole,
    near: scalar::near,
    near_one: scalar::near,
    pack: scalar::pack,
    look_up: scalar::look_up,
    within: scalar::within,
};

impl Kernels {
    /// E.g. `avx512-vnni`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// See [`super::dot`].
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = same_length(a, b);
        // SAFETY: equal lengths; families are only made where their instructions were detected.
        unsafe { (self.dot)(a, b) }
    }

    /// See [`super::l2_squared`].
    #[inline]
    pub fn l2_squared(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = same_length(a, b);
        // SAFETY: as for `dot`.
        unsafe { (self.l2_squared)(a, b) }
    }

    /// See [`super::dot_f16`].
    #[inline]
    pub fn dot_f16(&self, a: &[f32], b: &[u16]) -> f32 {
        let (a, b) = same_length(a, b);
        // SAFETY: as for `dot`.
        unsafe { (self.dot_f16)(a, b) }
    }

    /// See [`super::l2_squared_f16`].
    #[inline]
    pub fn l2_squared_f16(&self, a: &[f32], b: &[u16]) -> f32 {
        let (a, b) = same_length(a, b);
        // SAFETY: as for `dot`.
        unsafe { (self.l2_squared_f16)(a, b) }
    }

    /// See [`super::dot_int8`].
    #[inline]
    pub fn dot_int8(&self, a: &[f32], row: &[u8]) -> f32 {
        let (a, row) = whole_units(a, row);
        // SAFETY: equal lengths of whole units; detected as for `dot`.
        unsafe { (self.dot_int8)(a, row) }
    }

    /// See [`super::l2_squared_int8`].
    #[inline]
    pub fn l2_squared_int8(&self, a: &[f32], row: &[u8], scale: f32) -> f32 {
        let (a, row) = whole_units(a, row);
        // SAFETY: as for `dot_int8`.
        unsafe { (self.l2_squared_int8)(a, row, scale) }
    }

    /// See [`super::dot_codes`].
    #[inline]
    pub fn dot_codes(&self, a: &[u8], b: &[i8]) -> i32 {
        let (a, b) = same_length(a, b);
        // SAFETY: as for `dot`.
        unsafe { (self.dot_codes)(a, b) }
    }

    /// See [`super::dot_both`].
    #[inline]
    pub fn dot_both(&self, row: &[u8], query: &CodeQuery) -> i32 {
        if row.len() != query.stride {
            return 0;
        }
        // SAFETY: the row has the query's length; detected as for `dot`.
        unsafe { (self.dot_both)(row, query) }
    }

    /// See [`super::dot_rows`].
    #[inline]
    pub fn dot_rows(&self, codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        if lie_within(codes, rows, query, products) {
            // SAFETY: as just checked; detected as for `dot`.
            unsafe { (self.dot_rows)(codes, rows, query, products) };
        }
    }

    /// See [`super::dot_rows_whole`].
    #[inline]
    pub fn dot_rows_whole(&self, codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        if lie_within(codes, rows, query, products) {
            // SAFETY: as just checked; detected as for `dot`.
            unsafe { (self.dot_rows_whole)(codes, rows, query, products) };
        }
    }

    /// See [`super::near`].
    #[inline]
    pub fn near(
        &self,
        rows: &[TileRow<'_>; TILE_ROWS],
        panel: &[i32],
        distances: &mut [[f32; LANES]; TILE_ROWS],
    ) -> [u16; TILE_ROWS] {
        if !rows.iter().all(|row| fits(row, panel)) {
            return [0; TILE_ROWS];
        }
        // SAFETY: the panel has the length that the rows ask for; detected as for `dot`.
        unsafe { (self.near)(rows, panel, distances) }
    }

    /// See [`super::near_one`].
    #[inline]
    pub fn near_one(&self, row: &TileRow<'_>, panel: &[i32], distances: &mut [f32; LANES]) -> u16 {
        if !fits(row, panel) {
            return 0;
        }
        // SAFETY: the panel has the length that the row asks for; detected as for `dot`.
        let [mask] = unsafe { (self.near_one)(&[*row], panel, std::array::from_mut(distances)) };
        mask
    }

    /// See [`super::pack`].
    #[inline]
    pub fn pack(&self, rows: &[&[u8]; LANES], words: &mut [i32]) {
        if words.len().is_multiple_of(LANES)
            && rows.iter().all(|codes| codes.len() == words.len() / LANES * 4)
        {
            // SAFETY: whole lanes, and as many codes, as just checked; detected as for `dot`.
            unsafe { (self.pack)(rows, words) }
        }
    }

    /// See [`super::look_up`].
    #[inline]
    pub fn look_up(
        &self,
        blocks: &[u8],
        tables: &Tables,
        allowed: &[u64],
        of_rows: &mut [[u16; BLOCK]],
        most: &mut [u16],
    ) {
        let count = allowed.len();
        if [blocks.len(), of_rows.len(), most.len()] != [count * tables.block_bytes(), count, count] {
            most.fill(0);
            return;
        }
        // SAFETY: blocks have the length that the tables ask for; detected as for `dot`.
        unsafe { (self.look_up)(blocks, tables, allowed, of_rows, most) }
    }

    /// See [`super::within`].
    #[inline]
    pub fn within(&self, values: &[u16; BLOCK], range: Range<u16>) -> u64 {
        // SAFETY: detected as for `dot`.
        unsafe { (self.within)(values, range) }
    }
}

#[inline]
fn same_length<'a, 'b, A, B>(a: &'a [A], b: &'b [B]) -> (&'a [A], &'b [B]) {
    debug_assert_eq!(a.len(), b.len(), "vectors of different lengths");
    let len = a.len().min(b.len());
    (&a[..len], &b[..len])
}

/// A row is not cut: its second plane would begin elsewhere.
#[inline]
fn whole_units<'a, 'b>(a: &'a [f32], row: &'b [u8]) -> (&'a [f32], &'b [u8]) {
    debug_assert_eq!(a.len(), row.len(), "vectors of different lengths");
    if a.len() == row.len() && row.len().is_multiple_of(UNIT) { (a, row) } else { (&[], &[]) }
}

#[inline]
pub(super) fn lie_within(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &[i32]) -> bool {
    let last = rows.iter().fold(0, |last, &row| last.max(row)) as usize;
    products.len() == rows.len() && (last + 1) * query.stride <= codes.len()
}

#[inline]
pub(super) fn fits(row: &TileRow<'_>, panel: &[i32]) -> bool {
    row.codes.len().is_multiple_of(4) && panel.len() == super::panel_words(row.codes.len())
}
