//! Plain loops: the reference, and what runs where no vector instructions are known.

use std::ops::Range;

use half::f16;

use super::super::codes::decode;
use super::{BLOCK, CodeQuery, LANES, PANEL_HEADER, Tables, TileRow, place};

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

pub(super) fn dot_f16(a: &[f32], b: &[u16]) -> f32 {
    a.iter().zip(b).map(|(a, &b)| a * f16::from_bits(b).to_f32()).sum()
}

pub(super) fn l2_squared_f16(a: &[f32], b: &[u16]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, &b)| a - f16::from_bits(b).to_f32())
        .map(|difference| difference * difference)
        .sum()
}

pub(super) fn dot_int8(a: &[f32], row: &[u8]) -> f32 {
    let (mut a, mut sum) = (a.iter(), 0.0);
    decode(row, |code| sum += a.next().unwrap_or(&0.0) * f32::from(code));
    sum
}

pub(super) fn l2_squared_int8(a: &[f32], row: &[u8], scale: f32) -> f32 {
    let (mut a, mut sum) = (a.iter(), 0.0);
    decode(row, |code| {
        let difference = a.next().unwrap_or(&0.0) - scale * f32::from(code);
        sum += difference * difference;
    });
    sum
}

pub(super) fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

pub(super) fn near<const ROWS: usize>(
    rows: &[TileRow<'_>; ROWS],
    panel: &[i32],
    distances: &mut [[f32; LANES]; ROWS],
) -> [u16; ROWS] {
    let words = &panel[PANEL_HEADER * LANES..];
    let products = |row: &TileRow<'_>| {
        let mut products = [0i32; LANES];
        for (group, words) in row.codes.chunks_exact(4).zip(words.chunks_exact(LANES)) {
            let [a, b, c, d] = [group[0], group[1], group[2], group[3]].map(i32::from);
            for (product, &word) in products.iter_mut().zip(words) {
                let [w, x, y, z] = [word << 24 >> 24, word << 16 >> 24, word << 8 >> 24, word >> 24];
                *product += a * w + b * x + c * y + d * z;
            }
        }
        products
    };
    std::array::from_fn(|row| nearer(&rows[row], &products(&rows[row]), panel, &mut distances[row]))
}

/// Distances from products of codes, and which of them are nearer than asked for. Inlined so that other families can
/// compile it for their instructions.
#[inline(always)]
pub(super) fn nearer(
    row: &TileRow<'_>,
    products: &[i32; LANES],
    panel: &[i32],
    distances: &mut [f32; LANES],
) -> u16 {
    let factor = |word: usize, lane: usize| f32::from_bits(panel[word * LANES + lane] as u32);
    let mut below = 0;
    for lane in 0..LANES {
        // a damaged panel may say anything
        let product = products[lane].wrapping_sub(panel[3 * LANES + lane]) as f32;
        let distance = (row.base + factor(1, lane))
            + (row.scale * factor(0, lane)) * product
            + row.extension * factor(2, lane);
        distances[lane] = if distance > 0.0 { distance } else { 0.0 };
        below |= u16::from(distances[lane] < row.below) << lane;
    }
    below
}

pub(super) fn pack(rows: &[&[u8]; LANES], words: &mut [i32]) {
    for (lane, codes) in rows.iter().enumerate() {
        let (groups, _) = codes.as_chunks::<4>();
        for (word, group) in words.iter_mut().skip(lane).step_by(LANES).zip(groups) {
            *word = i32::from_le_bytes(group.map(|code| code ^ 128));
        }
    }
}

pub(super) fn look_up(
    blocks: &[u8],
    tables: &Tables,
    allowed: &[u64],
    of_rows: &mut [[u16; BLOCK]],
    most: &mut [u16],
) {
    let of_blocks = allowed.iter().zip(of_rows).zip(most);
    for (block, ((&allowed, of_rows), most)) in blocks.chunks_exact(tables.block_bytes()).zip(of_blocks) {
        if allowed != 0 {
            let mut sums = [0; BLOCK];
            for (codes, [first, second]) in block.as_chunks::<BLOCK>().0.iter().zip(tables.pairs()) {
                for (sum, code) in sums.iter_mut().zip(codes) {
                    *sum += u16::from(first[usize::from(code & 15)] + second[usize::from(code >> 4)]);
                }
            }
            for (row, of_row) in of_rows.iter_mut().enumerate() {
                let sum = sums[place(row)];
                *of_row = if allowed >> row & 1 == 1 { sum + 1 } else { 0 };
            }
        }
        *most = if allowed != 0 { of_rows.iter().copied().fold(0, u16::max) } else { 0 };
    }
}

/// Inlined so that other families can compile it for their instructions.
#[inline(always)]
pub(super) fn within(values: &[u16; BLOCK], range: Range<u16>) -> u64 {
    let (low, below) = (range.start, range.end);
    let within = |value: u16| u64::from(value >= low) & u64::from(value < below);
    values.iter().enumerate().fold(0, |mask, (at, &value)| mask | within(value) << at)
}

/// Sum over the bytes of a plane: the lower four bits times the first factors, the upper ones times the second.
fn dot_halves(plane: &[u8], factors: &[Vec<i8>; 2]) -> i32 {
    let halves = plane.iter().zip(&factors[0]).zip(&factors[1]);
    halves
        .map(|((&byte, &a), &b)| i32::from(byte & 15) * i32::from(a) + i32::from(byte >> 4) * i32::from(b))
        .sum()
}

pub(super) fn dot_high(row: &[u8], query: &CodeQuery) -> i32 {
    dot_halves(row, &query.high)
}

pub(super) fn dot_both(row: &[u8], query: &CodeQuery) -> i32 {
    16 * dot_high(row, query) + dot_halves(&row[row.len() - query.low[0].len()..], &query.low)
}

pub(super) fn dot_rows(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    each_row(codes, rows, query, products, dot_high);
}

pub(super) fn dot_rows_whole(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    each_row(codes, rows, query, products, dot_both);
}

/// [`super::dot_rows`] by a kernel for one row.
fn each_row(
    codes: &[u8],
    rows: &[u32],
    query: &CodeQuery,
    products: &mut [i32],
    dot: impl Fn(&[u8], &CodeQuery) -> i32,
) {
    for (&row, product) in rows.iter().zip(products) {
        *product = dot(row_codes(codes, row, query), query);
    }
}

/// [`super::dot_rows`] by a kernel for one row that leaves sums in the lanes of a register: those of four rows
/// are added up together.
#[inline(always)]
pub(super) fn each_four<S: Copy>(
    codes: &[u8],
    rows: &[u32],
    query: &CodeQuery,
    products: &mut [i32],
    sums: impl Fn(&[u8]) -> S,
    reduce: impl Fn([S; 4]) -> [i32; 4],
) {
    let (fours, rest) = rows.as_chunks();
    let (products_of_fours, products_of_rest) = products.as_chunks_mut();
    for (&[a, b, c, d], products) in fours.iter().zip(products_of_fours) {
        let sums = |row| sums(row_codes(codes, row, query));
        *products = reduce([sums(a), sums(b), sums(c), sums(d)]); // `map` would not be inlined
    }
    for (&row, product) in rest.iter().zip(products_of_rest) {
        [*product, ..] = reduce([sums(row_codes(codes, row, query)); 4]);
    }
}

#[inline]
fn row_codes<'a>(codes: &'a [u8], row: u32, query: &CodeQuery) -> &'a [u8] {
    &codes[row as usize * query.stride..(row as usize + 1) * query.stride]
}
