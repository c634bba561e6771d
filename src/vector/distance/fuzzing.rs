//! For the fuzz target `kernels`: every family this processor has beside the reference, on the inputs it is given.
#![expect(
    unsafe_code,
    reason = "calls kernels as the safe functions do; every block has its SAFETY argument"
)]

use super::*;

/// Products and distances of values. They agree to within rounding, where nothing overflows.
pub fn values(a: &[f32], b: &[f32]) {
    let (a, b) = same_length(a, b);
    let terms: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a).powi(2) + f64::from(b).powi(2)).sum();
    let room = 1e-4 * (1.0 + terms) as f32;
    for family in available() {
        // SAFETY: equal lengths, detected kernels.
        let (dot, l2) = unsafe { ((family.dot)(a, b), (family.l2_squared)(a, b)) };
        if terms < f64::from(f32::MAX) / 8.0 {
            assert!((dot - scalar::dot(a, b)).abs() <= room, "{} dot", family.name);
            assert!((l2 - scalar::l2_squared(a, b)).abs() <= room, "{} l2", family.name);
        }
    }
}

/// Products of codes.
pub fn codes(a: &[u8], b: &[i8]) {
    let (a, b) = same_length(a, b);
    for family in available() {
        // SAFETY: equal lengths, detected kernels.
        let product = unsafe { (family.dot_codes)(a, b) };
        assert_eq!(product, scalar::dot_codes(a, b), "{} dot_codes", family.name);
    }
}

/// Products of `rows` of `codes` with a query's codes. Nothing is done where a row lies outside.
pub fn planes(codes: &[u8], rows: &[u32], query: &[i8]) {
    let query = &CodeQuery::new(query);
    let (mut product, mut reference) = (vec![0; rows.len()], vec![0; rows.len()]);
    // as they are called outside of fuzzing, whatever the rows are
    dot_rows(codes, rows, query, &mut product);
    dot_rows_whole(codes, rows, query, &mut product);
    dot_both(codes, query);
    if !lie_within(codes, rows, query, &product) || query.stride == 0 {
        return;
    }
    for family in available() {
        let name = family.name;
        scalar::dot_rows(codes, rows, query, &mut reference);
        // SAFETY: as just checked, detected kernels.
        unsafe { (family.dot_rows)(codes, rows, query, &mut product) };
        assert_eq!(product, reference, "{name} dot_rows");
        scalar::dot_rows_whole(codes, rows, query, &mut reference);
        // SAFETY: as above.
        unsafe { (family.dot_rows_whole)(codes, rows, query, &mut product) };
        assert_eq!(product, reference, "{name} dot_rows_whole");
        for row in codes.chunks_exact(query.stride) {
            // SAFETY: the row has the query's stride, detected kernels.
            let product = unsafe { (family.dot_both)(row, query) };
            assert_eq!(product, scalar::dot_both(row, query), "{name} dot_both");
        }
    }
}

/// Distances to the rows of a panel, bit for bit. Nothing is done where the panel does not fit the rows.
pub fn panel(tile: &[TileRow<'_>; TILE_ROWS], panel: &[i32]) {
    let (mut distances, mut reference) = ([[0.0; LANES]; TILE_ROWS], [[0.0; LANES]; TILE_ROWS]);
    // as they are called outside of fuzzing, whatever the lengths are
    near(tile, panel, &mut distances);
    near_one(&tile[0], panel, &mut distances[0]);
    if !tile.iter().all(|row| fits(row, panel)) {
        return;
    }
    let bits =
        |distances: &[[f32; LANES]]| distances.as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let masks = scalar::near(tile, panel, &mut reference);
    for family in available() {
        // SAFETY: the panel has the length that the rows ask for, detected kernels.
        let found = unsafe { (family.near)(tile, panel, &mut distances) };
        assert_eq!((found, bits(&distances)), (masks, bits(&reference)), "{} near", family.name);
        for row in 0..TILE_ROWS {
            let mut distances = [[0.0; LANES]];
            // SAFETY: as above.
            let [found] = unsafe { (family.near_one)(&[tile[row]], panel, &mut distances) };
            assert_eq!(found, masks[row], "{} near_one", family.name);
            assert_eq!(bits(&distances), bits(&reference[row..=row]), "{} near_one", family.name);
        }
    }
}
