//! The inner loops of the dense leg, behind one table of function pointers that is filled once
//! with the fastest kernels this processor has.
//!
//! The functions are safe: [`Kernels`] checks lengths before a kernel sees them, and a kernel is only in a table
//! where its instructions were detected. Each file holds the families of one architecture; [`scalar`] is the
//! reference that the tests hold the others against.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(fuzzing)]
pub mod fuzzing;
mod kernels;
mod scalar;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::LazyLock;

use super::codes::CodeQuery;

pub use kernels::Kernels;
pub use tables::{BLOCK, ENTRIES, Tables, place};

/// Rows side by side in a panel.
pub const LANES: usize = 16;
/// Words of each row at the head of a panel: scale, base and extension as `f32`, then the bias.
pub const PANEL_HEADER: usize = 4;

/// Words of a panel of rows of so many dimensions.
pub fn panel_words(dimensions: usize) -> usize {
    LANES * (PANEL_HEADER + dimensions.div_ceil(4))
}

/// Rows compared with a panel at a time.
pub const TILE_ROWS: usize = 8;

/// A row to be compared with the rows of panels. For lane `l` of a panel its distance is
/// `base + base[l] + scale · scale[l] · (codes · codes[l] − bias[l]) + extension · extension[l]`, at least 0.
#[derive(Clone, Copy, Debug)]
pub struct TileRow<'a> {
    /// Codes with an offset of 128, whole groups of four.
    pub codes: &'a [u8],
    /// What a step of the codes is worth, times -2.
    pub scale: f32,
    /// The squared length.
    pub base: f32,
    /// The added coordinate, times -2.
    pub extension: f32,
    /// Only what is nearer than this is asked for.
    pub below: f32,
}

static BEST: LazyLock<Kernels> = LazyLock::new(|| families().pop().unwrap_or(kernels::SCALAR));

/// The families this processor can run, slowest first: the first is the reference, the last is in use.
pub fn families() -> Vec<Kernels> {
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
    let mut families = vec![kernels::SCALAR];
    #[cfg(target_arch = "x86_64")]
    families.extend(x86::available());
    #[cfg(target_arch = "aarch64")]
    families.extend(aarch64::available());
    families
}

/// The family in use, e.g. `avx512-vnni`.
pub fn kernels() -> &'static str {
    BEST.name()
}

/// Inner product.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    BEST.dot(a, b)
}

/// Square of the Euclidean distance.
#[inline]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    BEST.l2_squared(a, b)
}

/// Inner product with values in half precision (IEEE 754 binary16).
#[inline]
pub fn dot_f16(a: &[f32], b: &[u16]) -> f32 {
    BEST.dot_f16(a, b)
}

/// Square of the Euclidean distance to values in half precision.
#[inline]
pub fn l2_squared_f16(a: &[f32], b: &[u16]) -> f32 {
    BEST.l2_squared_f16(a, b)
}

/// Inner product with a row's codes (both planes), in steps of the row's scale. `a` is padded with zeros to the
/// row's length; 0 where it is not.
#[inline]
pub fn dot_int8(a: &[f32], row: &[u8]) -> f32 {
    BEST.dot_int8(a, row)
}

/// Square of the Euclidean distance to a row's codes times its scale; see [`dot_int8`].
#[inline]
pub fn l2_squared_int8(a: &[f32], row: &[u8], scale: f32) -> f32 {
    BEST.l2_squared_int8(a, row, scale)
}

/// Inner product of a row's codes with an offset of 128 and another's, signed. Exact up to 66,000 dimensions, where `i32` ends.
#[inline]
pub fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
    BEST.dot_codes(a, b)
}

/// Inner product of a row's codes, as bytes from both planes, and a query's; 0 where their lengths differ.
#[inline]
pub fn dot_both(row: &[u8], query: &CodeQuery) -> i32 {
    BEST.dot_both(row, query)
}

/// Inner products of the upper halves of the codes of some rows and a query's. `codes` are all rows, one
/// after the other. Nothing is done where a row lies outside of them.
#[inline]
pub fn dot_rows(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    BEST.dot_rows(codes, rows, query, products);
}

/// [`dot_rows`] with whole codes.
#[inline]
pub fn dot_rows_whole(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    BEST.dot_rows_whole(codes, rows, query, products);
}

/// Distances of [`TILE_ROWS`] rows to the rows of a panel, and for each a mask of the lanes that are nearer than asked
/// for. Nothing is near where the panel's length does not fit the rows' codes.
#[inline]
pub fn near(
    rows: &[TileRow<'_>; TILE_ROWS],
    panel: &[i32],
    distances: &mut [[f32; LANES]; TILE_ROWS],
) -> [u16; TILE_ROWS] {
    BEST.near(rows, panel, distances)
}

/// [`near`] for one row.
#[inline]
pub fn near_one(row: &TileRow<'_>, panel: &[i32], distances: &mut [f32; LANES]) -> u16 {
    BEST.near_one(row, panel, distances)
}

/// Lays the codes of sixteen rows side by side, as they are in a panel after its header: for each group of four
/// dimensions a word of each row, its codes made signed. Nothing is done where the lengths do not fit.
#[inline]
pub fn pack(rows: &[&[u8]; LANES], words: &mut [i32]) {
    BEST.pack(rows, words);
}

/// For each row of some blocks of sketches whose bit of the block's word in `allowed` is set, one more than the sum of the
/// entries that its codes have in the tables, else 0; and of each block the `most` of these. Where no row of a block is
/// allowed, its rows are left as they are. Where there are not as many blocks as words and places, `most` is
/// all 0 and nothing else is written.
#[inline]
pub fn look_up(
    blocks: &[u8],
    tables: &Tables,
    allowed: &[u64],
    of_rows: &mut [[u16; BLOCK]],
    most: &mut [u16],
) {
    BEST.look_up(blocks, tables, allowed, of_rows, most);
}

/// A mask of the values that lie in `range`.
#[inline]
pub fn within(values: &[u16; BLOCK], range: Range<u16>) -> u64 {
    BEST.within(values, range)
}

/// The lanes whose bit is set in `mask`, ascending.
#[inline]
pub fn lanes(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// A tile of up to [`TILE_ROWS`] rows (at least one); free places ask for nothing.
pub fn tile<'a>(rows: &[u32], mut row: impl FnMut(u32) -> TileRow<'a>) -> [TileRow<'a>; TILE_ROWS] {
    let first = row(rows[0]);
    let mut tile = [TileRow { below: 0.0, ..first }; TILE_ROWS];
    tile[0] = first;
    for (slot, &number) in tile.iter_mut().zip(rows).skip(1) {
        *slot = row(number);
    }
    tile
}

/// Asks the processor to load `bytes` into its caches. A hint: it reads nothing.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
