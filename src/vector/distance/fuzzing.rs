//! For the fuzz target `kernels`: every family this processor has beside the reference, on the inputs it is given.

use super::kernels::{SCALAR, fits, lie_within};
use super::*;
use crate::vector::codes::UNIT;

/// Products and distances of values. They agree to within rounding, where nothing overflows.
pub fn values(a: &[f32], b: &[f32]) {
    let room = room(a, b);
    for family in families() {
        let name = family.name();
        close(family.dot(a, b), SCALAR.dot(a, b), room, name, "dot");
        close(family.l2_squared(a, b), SCALAR.l2_squared(a, b), room, name, "l2");
    }
}

/// The same with values in half precision.
pub fn halves(a: &[f32], b: &[u16]) {
    let values: Vec<f32> = b.iter().map(|&bits| half::f16::from_bits(bits).to_f32()).collect();
    let room = room(a, &values);
    for family in families() {
        let name = family.name();
        close(family.dot_f16(a, b), SCALAR.dot_f16(a, b), room, name, "dot_f16");
        close(family.l2_squared_f16(a, b), SCALAR.l2_squared_f16(a, b), room, name, "l2_squared_f16");
    }
}

/// The same with a row's codes; of both sides as much is taken as makes whole units.
pub fn int8(a: &[f32], row: &[u8], scale: f32) {
    let len = a.len().min(row.len()) / UNIT * UNIT;
    let (a, row) = (&a[..len], &row[..len]);
    // no code is larger
    let (steps, scaled) = (room(a, &vec![128.0; len]), room(a, &vec![128.0 * scale; len]));
    for family in families() {
        let name = family.name();
        close(family.dot_int8(a, row), SCALAR.dot_int8(a, row), steps, name, "dot_int8");
        let (found, reference) =
            (family.l2_squared_int8(a, row, scale), SCALAR.l2_squared_int8(a, row, scale));
        close(found, reference, scaled, name, "l2_squared_int8");
    }
}

/// How far sums over terms of these values may be apart by rounding; `None` where they may overflow.
fn room(a: &[f32], b: &[f32]) -> Option<f32> {
    let terms: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a).powi(2) + f64::from(b).powi(2)).sum();
    (terms < f64::from(f32::MAX) / 8.0).then_some(1e-4 * (1.0 + terms) as f32)
}

fn close(found: f32, reference: f32, room: Option<f32>, name: &str, kernel: &str) {
    assert!(
        room.is_none_or(|room| (found - reference).abs() <= room),
        "{name} {kernel}: {found}, {reference}"
    );
}

/// Products of codes.
pub fn codes(a: &[u8], b: &[i8]) {
    for family in families() {
        assert_eq!(family.dot_codes(a, b), SCALAR.dot_codes(a, b), "{} dot_codes", family.name());
    }
}

/// Products of `rows` of `codes` with a query's codes, which may lie outside of them.
pub fn planes(codes: &[u8], rows: &[u32], query: &[i8]) {
    let query = &CodeQuery::new(query);
    let (mut product, mut reference) = (vec![0; rows.len()], vec![0; rows.len()]);
    for family in families() {
        let name = family.name();
        SCALAR.dot_rows(codes, rows, query, &mut reference);
        family.dot_rows(codes, rows, query, &mut product);
        assert_eq!(product, reference, "{name} dot_rows");
        SCALAR.dot_rows_whole(codes, rows, query, &mut reference);
        family.dot_rows_whole(codes, rows, query, &mut product);
        assert_eq!(product, reference, "{name} dot_rows_whole");
        assert_eq!(family.dot_both(codes, query), SCALAR.dot_both(codes, query), "{name} dot_both");
        if lie_within(codes, rows, query, &product) && query.stride > 0 {
            for row in codes.chunks_exact(query.stride) {
                assert_eq!(family.dot_both(row, query), SCALAR.dot_both(row, query), "{name} dot_both");
            }
        }
    }
}

/// What a block of sketches tells; it may not have as many codes as there are tables.
pub fn sketches(tables: Vec<[u8; 16]>, block: &[u8], allowed: u64, range: Range<u16>) {
    let tables = Tables::new(tables);
    let sums = |family: &Kernels| {
        let (mut of_rows, mut most) = ([[0; BLOCK]], [0]);
        family.look_up(block, &tables, &[allowed], &mut of_rows, &mut most);
        (of_rows, most)
    };
    let reference = sums(&SCALAR);
    let within = |family: &Kernels| family.within(&reference.0[0], range.clone());
    for family in families() {
        assert_eq!(sums(&family), reference, "{} look_up", family.name());
        assert_eq!(within(&family), within(&SCALAR), "{} within", family.name());
    }
}

/// Rows packed into so many words; they may not fit.
pub fn pack(rows: &[&[u8]; LANES], words: usize) {
    let packed = |family: &Kernels| {
        let mut packed = vec![0; words].into_boxed_slice();
        family.pack(rows, &mut packed);
        packed
    };
    for family in families() {
        assert_eq!(packed(&family), packed(&SCALAR), "{} pack", family.name());
    }
}

/// Distances to the rows of a panel, bit for bit; it may not fit the rows.
pub fn panel(tile: &[TileRow<'_>; TILE_ROWS], panel: &[i32]) {
    let (mut distances, mut reference) = ([[0.0; LANES]; TILE_ROWS], [[0.0; LANES]; TILE_ROWS]);
    let bits =
        |distances: &[[f32; LANES]]| distances.as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let masks = SCALAR.near(tile, panel, &mut reference);
    let all_fit = tile.iter().all(|row| fits(row, panel));
    for family in families() {
        let found = family.near(tile, panel, &mut distances);
        assert_eq!((found, bits(&distances)), (masks, bits(&reference)), "{} near", family.name());
        for row in 0..TILE_ROWS {
            let mut distances = [0.0; LANES];
            let found = family.near_one(&tile[row], panel, &mut distances);
            if all_fit {
                assert_eq!(found, masks[row], "{} near_one", family.name());
                assert_eq!(bits(&[distances]), bits(&reference[row..=row]), "{} near_one", family.name());
            }
        }
    }
}
