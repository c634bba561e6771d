//! The inner loops of the dense leg, behind one table of function pointers that is filled once
//! with the fastest kernels this processor has.
//!
//! The functions are safe: both slices are cut to the shorter length before a kernel sees them, and a
//! kernel is only in the table where its instructions were detected. Each file holds one family;
//! [`scalar`] is the reference that the tests hold the others against.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(fuzzing)]
pub mod fuzzing;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::LazyLock;

use super::codes::CodeQuery;

/// Rows side by side in a panel.
pub const LANES: usize = 16;
/// Words of each row at the head of a panel: scale, base and extension as `f32`, then the bias.
pub const PANEL_HEADER: usize = 4;
/// Rows compared with a panel at a time.
pub const TILE_ROWS: usize = 4;

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

type Near<const ROWS: usize> =
    unsafe fn(&[TileRow<'_>; ROWS], &[i32], &mut [[f32; LANES]; ROWS]) -> [u16; ROWS];

/// One family of kernels. Contract of the caller: slices of values or codes have the same length, a panel has
/// `LANES` words for each of its header's words and for each group of a row's codes, and the processor has the
/// instructions that the family's constructor detected.
struct Kernels {
    name: &'static str,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    l2_squared: unsafe fn(&[f32], &[f32]) -> f32,
    dot_codes: unsafe fn(&[u8], &[i8]) -> i32,
    dot_both: unsafe fn(&[u8], &CodeQuery) -> i32,
    dot_rows: unsafe fn(&[u8], &[u32], &CodeQuery, &mut [i32]),
    dot_rows_whole: unsafe fn(&[u8], &[u32], &CodeQuery, &mut [i32]),
    near: Near<TILE_ROWS>,
    near_one: Near<1>,
}

const SCALAR: Kernels = Kernels {
    name: "scalar",
    dot: scalar::dot,
    l2_squared: scalar::l2_squared,
    dot_codes: scalar::dot_codes,
    dot_both: scalar::dot_both,
    dot_rows: scalar::dot_rows,
    dot_rows_whole: scalar::dot_rows_whole,
    near: scalar::near,
    near_one: scalar::near,
};

static BEST: LazyLock<Kernels> = LazyLock::new(|| available().pop().unwrap_or(SCALAR));

/// The families this processor can run, slowest first.
fn available() -> Vec<Kernels> {
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
    let mut families = vec![SCALAR];
    #[cfg(target_arch = "x86_64")]
    families.extend(x86::available());
    #[cfg(target_arch = "aarch64")]
    families.extend(aarch64::available());
    families
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

/// The family in use, e.g. `avx512-vnni`.
pub fn kernels() -> &'static str {
    BEST.name
}

/// Inner product.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = same_length(a, b);
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: equal lengths, and the table holds only detected kernels.
    unsafe {
        (BEST.dot)(a, b)
    }
}

/// Square of the Euclidean distance.
#[inline]
pub fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = same_length(a, b);
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: equal lengths, and the table holds only detected kernels.
    unsafe {
        (BEST.l2_squared)(a, b)
    }
}

/// Inner product of a row's codes and a query's. Exact up to 66,000 dimensions, where `i32` ends.
#[inline]
pub fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
    let (a, b) = same_length(a, b);
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: equal lengths, and the table holds only detected kernels.
    unsafe {
        (BEST.dot_codes)(a, b)
    }
}

/// Inner product of a row's codes, as bytes from both planes, and a query's; 0 where their lengths differ.
#[inline]
pub fn dot_both(row: &[u8], query: &CodeQuery) -> i32 {
    if row.len() != query.stride {
        return 0;
    }
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: the row has the query's length, and the table holds only detected kernels.
    unsafe {
        (BEST.dot_both)(row, query)
    }
}

/// Inner products of the upper halves of the codes of some rows and a query's. `codes` are all rows, one
/// after the other. Nothing is done where a row lies outside of them.
#[inline]
pub fn dot_rows(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    if lie_within(codes, rows, query, products) {
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: as just checked, and the table holds only detected kernels.
        unsafe {
            (BEST.dot_rows)(codes, rows, query, products);
        }
    }
}

/// [`dot_rows`] with whole codes.
#[inline]
pub fn dot_rows_whole(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
    if lie_within(codes, rows, query, products) {
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: as just checked, and the table holds only detected kernels.
        unsafe {
            (BEST.dot_rows_whole)(codes, rows, query, products);
        }
    }
}

#[inline]
fn lie_within(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &[i32]) -> bool {
    let last = rows.iter().fold(0, |last, &row| last.max(row)) as usize;
    products.len() == rows.len() && (last + 1) * query.stride <= codes.len()
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

/// Distances of four rows to the rows of a panel, and for each a mask of the lanes that are nearer than asked
/// for. Nothing is near where the panel's length does not fit the rows' codes.
#[inline]
pub fn near(
    rows: &[TileRow<'_>; TILE_ROWS],
    panel: &[i32],
    distances: &mut [[f32; LANES]; TILE_ROWS],
) -> [u16; TILE_ROWS] {
    if !rows.iter().all(|row| fits(row, panel)) {
        return [0; TILE_ROWS];
    }
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: the panel has the length that the rows ask for, and the table holds only detected kernels.
    unsafe {
        (BEST.near)(rows, panel, distances)
    }
}

/// [`near`] for one row.
#[inline]
pub fn near_one(row: &TileRow<'_>, panel: &[i32], distances: &mut [f32; LANES]) -> u16 {
    if !fits(row, panel) {
        return 0;
    }
    #[expect(unsafe_code, reason = "see SAFETY")]
    // SAFETY: the panel has the length that the row asks for, and the table holds only detected kernels.
    let [mask] = unsafe { (BEST.near_one)(&[*row], panel, std::array::from_mut(distances)) };
    mask
}

#[inline]
fn fits(row: &TileRow<'_>, panel: &[i32]) -> bool {
    row.codes.len().is_multiple_of(4) && panel.len() == LANES * (PANEL_HEADER + row.codes.len() / 4)
}

/// Asks the processor to load `bytes` into its caches. A hint: it reads nothing.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

#[inline]
fn same_length<'a, 'b, A, B>(a: &'a [A], b: &'b [B]) -> (&'a [A], &'b [B]) {
    debug_assert_eq!(a.len(), b.len(), "vectors of different lengths");
    let len = a.len().min(b.len());
    (&a[..len], &b[..len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::codes::{OFFSET, decode};
    use proptest::prelude::*;

    /// Runs `check` with every family but the reference.
    fn each_family(check: impl Fn(&Kernels)) {
        available().iter().skip(1).for_each(check);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        #[expect(unsafe_code, reason = "see SAFETY")]
        fn families_agree_with_the_reference(
            rows in prop::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 0..300)
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            // rounding: a few ulps of the sum of the absolute terms, in any order of adding
            let room = 1e-5 * (1.0 + a.iter().zip(&b).map(|(a, b)| (a * b).abs() + a * a + b * b).sum::<f32>());
            each_family(|family| {
                // SAFETY: equal lengths, detected kernels.
                let (dot, l2) = unsafe { ((family.dot)(&a, &b), (family.l2_squared)(&a, &b)) };
                assert!((dot - scalar::dot(&a, &b)).abs() <= room, "{} dot", family.name);
                assert!((l2 - scalar::l2_squared(&a, &b)).abs() <= room, "{} l2", family.name);
            });
        }

        #[test]
        #[expect(unsafe_code, reason = "see SAFETY")]
        fn code_products_are_exact(rows in prop::collection::vec((any::<u8>(), any::<i8>()), 0..300)) {
            let (a, b): (Vec<u8>, Vec<i8>) = rows.into_iter().unzip();
            each_family(|family| {
                // SAFETY: equal lengths, detected kernels.
                let got = unsafe { (family.dot_codes)(&a, &b) };
                assert_eq!(got, scalar::dot_codes(&a, &b), "{}", family.name);
            });
        }
    }

    proptest! {
        #[test]
        #[expect(unsafe_code, reason = "see SAFETY")]
        fn products_with_planes_are_exact(
            query in prop::collection::vec(any::<i8>(), 1..400),
            rows in prop::collection::vec(0u32..9, 0..20),
            bytes in prop::collection::vec(any::<u8>(), 9 * 448),
        ) {
            let prepared = CodeQuery::new(&query);
            let stride = prepared.stride;
            let codes = &bytes[..stride * 9];
            let (mut both, mut high) = (Vec::new(), Vec::new());
            for row in codes.chunks_exact(stride) {
                let mut values = Vec::new();
                decode(row, |code| values.push((i32::from(code) + OFFSET) & 255));
                let product = |value: fn(i32) -> i32| -> i32 {
                    values.iter().zip(&query).map(|(&byte, &q)| value(byte) * i32::from(q)).sum()
                };
                both.push(product(|byte| byte));
                high.push(product(|byte| byte >> 4));
            }
            let want: Vec<i32> = rows.iter().map(|&row| high[row as usize]).collect();
            for family in available() {
                let mut got = vec![0; rows.len()];
                // SAFETY: nine rows of the query's stride, all `rows` below nine; detected kernels.
                unsafe {
                    (family.dot_rows_whole)(codes, &rows, &prepared, &mut got);
                    let want: Vec<i32> = rows.iter().map(|&row| both[row as usize]).collect();
                    assert_eq!(got, want, "{}", family.name);
                    (family.dot_rows)(codes, &rows, &prepared, &mut got);
                    for (row, &both) in codes.chunks_exact(stride).zip(&both) {
                        assert_eq!((family.dot_both)(row, &prepared), both, "{}", family.name);
                    }
                }
                assert_eq!(got, want, "{}", family.name);
            }
        }
    }

    proptest! {
        #[test]
        #[expect(unsafe_code, reason = "see SAFETY")]
        fn distances_to_panels_are_the_same_bit_for_bit(
            groups in 1usize..70,
            bytes in prop::collection::vec(any::<u8>(), 70 * 4 * (LANES + TILE_ROWS)),
            factors in prop::collection::vec(-2.0f32..2.0, 3 * (LANES + TILE_ROWS)),
            below in 0.0f32..100_000.0,
        ) {
            let (codes, lanes) = bytes.split_at(70 * 4 * TILE_ROWS);
            let (factors, heads) = factors.split_at(3 * TILE_ROWS);
            let tile: [TileRow<'_>; TILE_ROWS] = std::array::from_fn(|row| {
                let codes = &codes[row * 280..row * 280 + groups * 4];
                let [scale, base, extension] = [factors[row * 3], factors[row * 3 + 1], factors[row * 3 + 2]];
                TileRow { codes, scale, base, extension, below }
            });
            let mut panel: Vec<i32> = heads.iter().map(|x| x.to_bits() as i32).collect();
            panel.extend((0..LANES as i32).map(|lane| lane * 1000));
            panel.extend(lanes.chunks_exact(4).take(groups * LANES).map(|word| {
                i32::from_le_bytes([word[0], word[1], word[2], word[3]])
            }));
            let mut want = [[0.0; LANES]; TILE_ROWS];
            let mask = scalar::near(&tile, &panel, &mut want);
            each_family(|family| {
                let (mut got, mut one) = ([[0.0; LANES]; TILE_ROWS], [[0.0; LANES]; 1]);
                // SAFETY: the panel has a word for each lane and group; detected kernels.
                let masks = unsafe { (family.near)(&tile, &panel, &mut got) };
                assert_eq!((masks, got), (mask, want), "{}", family.name);
                for row in 0..TILE_ROWS {
                    // SAFETY: as above.
                    let masks = unsafe { (family.near_one)(&[tile[row]], &panel, &mut one) };
                    assert_eq!((masks[0], one[0]), (mask[row], want[row]), "{}", family.name);
                }
            });
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "see SAFETY")]
    fn every_length_and_the_extreme_codes() {
        for len in 0..=300 {
            let ramp: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let (high, low) = (vec![255u8; len], vec![-128i8; len]);
            let sum_of_squares = (0..len as u64).map(|i| i * i).sum::<u64>() as f32;
            each_family(|family| {
                // SAFETY: equal lengths, detected kernels.
                unsafe {
                    assert_eq!((family.dot)(&ramp, &ramp), sum_of_squares, "{} at {len}", family.name);
                    assert_eq!(
                        (family.l2_squared)(&ramp, &vec![0.0; len]),
                        sum_of_squares,
                        "{}",
                        family.name
                    );
                    assert_eq!((family.dot_codes)(&high, &low), len as i32 * 255 * -128, "{}", family.name);
                }
            });
        }
    }
}
