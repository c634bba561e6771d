//! Every family against the reference.

use half::f16;

use super::kernels::SCALAR;
use super::*;
use crate::vector::codes::{OFFSET, UNIT, decode};
use proptest::prelude::*;

/// Runs `check` with every family but the reference.
fn each_family(check: impl Fn(&Kernels)) {
    families().iter().skip(1).for_each(check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn families_agree_with_the_reference(
        rows in prop::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 0..300)
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
        // rounding: a few ulps of the sum of the absolute terms, in any order of adding
        let room = 1e-5 * (1.0 + a.iter().zip(&b).map(|(a, b)| (a * b).abs() + a * a + b * b).sum::<f32>());
        each_family(|family| {
            let (dot, l2) = (family.dot(&a, &b), family.l2_squared(&a, &b));
            assert!((dot - SCALAR.dot(&a, &b)).abs() <= room, "{} dot", family.name());
            assert!((l2 - SCALAR.l2_squared(&a, &b)).abs() <= room, "{} l2", family.name());
        });
    }

    #[test]
    fn families_agree_on_rows_in_half_precision(
        rows in prop::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 0..300)
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
        let halves: Vec<u16> = b.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        let values: Vec<f32> = halves.iter().map(|&x| f16::from_bits(x).to_f32()).collect();
        let (dot, l2) = (SCALAR.dot(&a, &values), SCALAR.l2_squared(&a, &values));
        let room = 1e-5 * (1.0 + a.iter().zip(&b).map(|(a, b)| (a * b).abs() + a * a + b * b).sum::<f32>());
        for family in families() {
            assert!((family.dot_f16(&a, &halves) - dot).abs() <= room, "{} dot", family.name());
            assert!((family.l2_squared_f16(&a, &halves) - l2).abs() <= room, "{} l2", family.name());
        }
    }

    #[test]
    fn families_agree_on_rows_of_codes(
        row in prop::collection::vec(any::<u8>(), 0..6 * UNIT),
        query in prop::collection::vec(-9.0f32..9.0, 6 * UNIT),
        scale in -0.1f32..0.1,
    ) {
        let row = &row[..row.len() / UNIT * UNIT];
        let query = &query[..row.len()];
        let (mut codes, mut values) = (Vec::new(), Vec::new());
        decode(row, |code| {
            codes.push(f32::from(code));
            values.push(scale * f32::from(code));
        });
        let (dot, l2) = (SCALAR.dot(query, &codes), SCALAR.l2_squared(query, &values));
        let terms = |values: &[f32]| query.iter().zip(values).map(|(a, b)| a * a + b * b).sum::<f32>();
        for family in families() {
            let name = family.name();
            assert!((family.dot_int8(query, row) - dot).abs() <= 1e-5 * (1.0 + terms(&codes)), "{name} dot");
            let found = family.l2_squared_int8(query, row, scale);
            assert!((found - l2).abs() <= 1e-5 * (1.0 + terms(&values)), "{name} l2");
        }
    }

    #[test]
    fn code_products_are_exact(rows in prop::collection::vec((any::<u8>(), any::<i8>()), 0..300)) {
        let (a, b): (Vec<u8>, Vec<i8>) = rows.into_iter().unzip();
        each_family(|family| {
            let got = family.dot_codes(&a, &b);
            assert_eq!(got, SCALAR.dot_codes(&a, &b), "{}", family.name());
        });
    }
}

proptest! {
    #[test]
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
        for family in families() {
            let mut got = vec![0; rows.len()];
            family.dot_rows_whole(codes, &rows, &prepared, &mut got);
            let whole: Vec<i32> = rows.iter().map(|&row| both[row as usize]).collect();
            assert_eq!(got, whole, "{}", family.name());
            family.dot_rows(codes, &rows, &prepared, &mut got);
            assert_eq!(got, want, "{}", family.name());
            for (row, &both) in codes.chunks_exact(stride).zip(&both) {
                assert_eq!(family.dot_both(row, &prepared), both, "{}", family.name());
            }
        }
    }
}

proptest! {
    #[test]
    fn distances_to_panels_are_the_same_bit_for_bit(
        groups in 0usize..70,
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
        let mask = SCALAR.near(&tile, &panel, &mut want);
        each_family(|family| {
            let (mut got, mut one) = ([[0.0; LANES]; TILE_ROWS], [0.0; LANES]);
            let masks = family.near(&tile, &panel, &mut got);
            assert_eq!((masks, got), (mask, want), "{}", family.name());
            for row in 0..TILE_ROWS {
                let near = family.near_one(&tile[row], &panel, &mut one);
                assert_eq!((near, one), (mask[row], want[row]), "{}", family.name());
            }
        });
    }
}

proptest! {
    #[test]
    fn packed_codes_are_the_same(groups in 0usize..70, bytes in prop::collection::vec(any::<u8>(), 70 * 4 * LANES)) {
        let rows: [&[u8]; LANES] = std::array::from_fn(|row| &bytes[row * 280..row * 280 + groups * 4]);
        each_family(|family| {
            let mut words = vec![7; groups * LANES];
            family.pack(&rows, &mut words);
            let want = (0..groups).flat_map(|group| rows.map(|codes| &codes[group * 4..group * 4 + 4]));
            let signed = want.map(|codes| std::array::from_fn(|at| codes[at].wrapping_sub(128)));
            assert!(words.iter().map(|word| word.to_le_bytes()).eq(signed), "{}", family.name());
        });
    }
}

#[test]
fn every_length_and_the_extreme_codes() {
    for len in 0..=300 {
        let ramp: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let (high, low) = (vec![255u8; len], vec![-128i8; len]);
        let halves: Vec<u16> = ramp.iter().map(|&x| f16::from_f32(x).to_bits()).collect(); // whole up to 2,048
        let sum_of_squares = (0..len as u64).map(|i| i * i).sum::<u64>() as f32;
        let zeros = vec![0.0; len];
        each_family(|family| {
            let name = family.name();
            assert_eq!(family.dot(&ramp, &ramp), sum_of_squares, "{name} at {len}");
            assert_eq!(family.l2_squared(&ramp, &zeros), sum_of_squares, "{name} at {len}");
            assert_eq!(family.dot_f16(&ramp, &halves), sum_of_squares, "{name} at {len}");
            assert_eq!(family.l2_squared_f16(&zeros, &halves), sum_of_squares, "{name} at {len}");
            assert_eq!(family.dot_codes(&high, &low), len as i32 * 255 * -128, "{name} at {len}");
        });
    }
}

#[test]
fn rows_that_do_not_fit_are_nothing() {
    for family in families() {
        assert_eq!(family.dot_both(&[1; 64], &CodeQuery::new(&[1; 65])), 0);
        let (mut products, query) = ([7], CodeQuery::new(&[1; 64]));
        family.dot_rows(&[1; 64], &[1], &query, &mut products);
        family.dot_rows_whole(&[1; 64], &[0, 0], &query, &mut products);
        assert_eq!(products, [7]);
    }
}

proptest! {
    #[test]
    fn families_agree_on_sketches(
        tables in prop::collection::vec(prop::array::uniform16(any::<u8>()), 0..50),
        codes in prop::collection::vec(any::<u8>(), 3 * 25 * BLOCK),
        allowed in prop::array::uniform3(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)]),
        bar in 0u16..3500,
        width in prop_oneof![0u16..1000, Just(u16::MAX - 3500)],
    ) {
        let tables = Tables::new(tables);
        let blocks = &codes[..3 * tables.block_bytes()];
        let sums = |family: &Kernels| {
            let (mut of_rows, mut most) = ([[0; BLOCK]; 3], [7; 3]);
            family.look_up(blocks, &tables, &allowed, &mut of_rows, &mut most);
            (of_rows, most)
        };
        let (of_rows, most) = sums(&SCALAR);
        for family in families() {
            assert_eq!(sums(&family), (of_rows, most), "{}", family.name());
            for of_block in &of_rows {
                let range = bar..bar + width;
                assert_eq!(family.within(of_block, range.clone()), SCALAR.within(of_block, range), "{}", family.name());
            }
            let mut nothing = [7; 3];
            family.look_up(&blocks[1..], &tables, &allowed, &mut [[0; BLOCK]; 3], &mut nothing);
            assert_eq!(nothing, [0; 3], "{}", family.name());
        }
    }
}
