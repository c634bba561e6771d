//! AVX-512 (with VNNI for codes) and AVX2 kernels.
#![expect(unsafe_code, reason = "loads through pointers; every block has its SAFETY argument")]

use core::arch::x86_64::*;
use std::ops::Range;

use super::super::codes::{OFFSET, UNIT};
use super::{BLOCK, CodeQuery, Kernels, LANES, PANEL_HEADER, TILE_ROWS, Tables, TileRow};

pub(super) fn available() -> Vec<Kernels> {
    let mut families = Vec::new();
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
    {
        families.push(Kernels {
            name: "avx2",
            dot: avx2::dot,
            l2_squared: avx2::l2_squared,
            dot_f16: avx2::dot_f16,
            l2_squared_f16: avx2::l2_squared_f16,
            dot_int8: avx2::dot_int8,
            l2_squared_int8: avx2::l2_squared_int8,
            dot_codes: avx2::dot_codes,
            dot_both: avx2::dot_both,
            dot_rows: avx2::dot_rows,
            dot_rows_whole: avx2::dot_rows_whole,
            near: avx2::near,
            near_one: avx2::near_one,
            pack: super::scalar::pack,
            look_up: avx2::look_up,
            within: avx2::within,
        });
    }
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
    {
        families.push(Kernels {
            name: "avx512-vnni",
            dot: avx512::dot,
            l2_squared: avx512::l2_squared,
            dot_f16: avx512::dot_f16,
            l2_squared_f16: avx512::l2_squared_f16,
            dot_int8: avx512::dot_int8,
            l2_squared_int8: avx512::l2_squared_int8,
            dot_codes: avx512::dot_codes,
            dot_both: avx512::dot_both,
            dot_rows: avx512::dot_rows,
            dot_rows_whole: avx512::dot_rows_whole,
            near: avx512::near,
            near_one: avx512::near_one,
            pack: avx512::pack,
            look_up: if is_x86_feature_detected!("avx512vbmi") { avx512::look_up } else { avx2::look_up },
            within: avx512::within,
        });
    }
    families
}

#[inline]
pub(super) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch has no architectural effect; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// The codes of the two halves of a unit of dimensions, from its bytes in both planes.
#[inline]
#[target_feature(enable = "avx2")]
fn codes_of(high: __m256i, low: __m256i) -> [__m256i; 2] {
    let (mask, offset) = (_mm256_set1_epi8(15), _mm256_set1_epi8(OFFSET as i8));
    let join = |high, low| _mm256_sub_epi8(_mm256_or_si256(_mm256_slli_epi16::<4>(high), low), offset);
    [
        join(_mm256_and_si256(high, mask), _mm256_and_si256(low, mask)),
        join(
            _mm256_and_si256(_mm256_srli_epi16::<4>(high), mask),
            _mm256_and_si256(_mm256_srli_epi16::<4>(low), mask),
        ),
    ]
}

mod avx512 {
    use super::super::scalar;
    use super::*;

    /// Lanes of one register.
    const F32: usize = 16;
    const U8: usize = 64;

    /// A mask of the `rest` lowest of 16 lanes; `rest` < 16.
    fn mask16(rest: usize) -> __mmask16 {
        (1 << rest) - 1
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [_mm512_setzero_ps(); 4];
        let mut at = 0;
        // SAFETY: full loads lie below `len`, and the masked load touches only lanes below `len`.
        unsafe {
            while at + 4 * F32 <= len {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_ps(a.add(at + lane * F32));
                    *sum = _mm512_fmadd_ps(x, _mm512_loadu_ps(b.add(at + lane * F32)), *sum);
                }
                at += 4 * F32;
            }
            while at + F32 <= len {
                sums[0] = _mm512_fmadd_ps(_mm512_loadu_ps(a.add(at)), _mm512_loadu_ps(b.add(at)), sums[0]);
                at += F32;
            }
            let mask = mask16(len - at);
            let x = _mm512_maskz_loadu_ps(mask, a.add(at));
            sums[1] = _mm512_fmadd_ps(x, _mm512_maskz_loadu_ps(mask, b.add(at)), sums[1]);
        }
        reduce(sums)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let mut sums = [_mm512_setzero_ps(); 4];
        let mut at = 0;
        // SAFETY: full loads lie below `len`, and the masked load touches only lanes below `len`.
        unsafe {
            while at + 4 * F32 <= len {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_ps(a.add(at + lane * F32));
                    let difference = _mm512_sub_ps(x, _mm512_loadu_ps(b.add(at + lane * F32)));
                    *sum = _mm512_fmadd_ps(difference, difference, *sum);
                }
                at += 4 * F32;
            }
            while at + F32 <= len {
                let difference = _mm512_sub_ps(_mm512_loadu_ps(a.add(at)), _mm512_loadu_ps(b.add(at)));
                sums[0] = _mm512_fmadd_ps(difference, difference, sums[0]);
                at += F32;
            }
            let mask = mask16(len - at);
            let x = _mm512_maskz_loadu_ps(mask, a.add(at));
            let difference = _mm512_sub_ps(x, _mm512_maskz_loadu_ps(mask, b.add(at)));
            sums[1] = _mm512_fmadd_ps(difference, difference, sums[1]);
        }
        reduce(sums)
    }

    #[target_feature(enable = "avx512f")]
    fn reduce(sums: [__m512; 4]) -> f32 {
        let low = _mm512_add_ps(sums[0], sums[1]);
        _mm512_reduce_add_ps(_mm512_add_ps(low, _mm512_add_ps(sums[2], sums[3])))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn dot_f16(a: &[f32], b: &[u16]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); 4];
        each_f16(a, b, |lane, x, y| sums[lane] = _mm512_fmadd_ps(x, y, sums[lane]));
        reduce(sums)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn l2_squared_f16(a: &[f32], b: &[u16]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); 4];
        each_f16(a, b, |lane, x, y| {
            let difference = _mm512_sub_ps(x, y);
            sums[lane] = _mm512_fmadd_ps(difference, difference, sums[lane]);
        });
        reduce(sums)
    }

    /// Calls `add` with one of four lanes and 16 values of both sides, zeros past their end.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn each_f16(a: &[f32], b: &[u16], mut add: impl FnMut(usize, __m512, __m512)) {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr(), b.as_ptr().cast::<i16>());
        let mut at = 0;
        // SAFETY: full loads lie below `len`, and the masked loads touch only lanes below `len`.
        unsafe {
            while at + 4 * F32 <= len {
                for lane in 0..4 {
                    let at = at + lane * F32;
                    let y = _mm512_cvtph_ps(_mm256_loadu_si256(b.add(at).cast()));
                    add(lane, _mm512_loadu_ps(a.add(at)), y);
                }
                at += 4 * F32;
            }
            while at + F32 <= len {
                let y = _mm512_cvtph_ps(_mm256_loadu_si256(b.add(at).cast()));
                add(0, _mm512_loadu_ps(a.add(at)), y);
                at += F32;
            }
            let mask = mask16(len - at);
            let y = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, b.add(at)));
            add(1, _mm512_maskz_loadu_ps(mask, a.add(at)), y);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn dot_int8(a: &[f32], row: &[u8]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); 4];
        each_int8(a, row, |lane, x, y| sums[lane] = _mm512_fmadd_ps(x, y, sums[lane]));
        reduce(sums)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn l2_squared_int8(a: &[f32], row: &[u8], scale: f32) -> f32 {
        let mut sums = [_mm512_setzero_ps(); 4];
        let scale = _mm512_set1_ps(scale);
        each_int8(a, row, |lane, x, y| {
            let difference = _mm512_fnmadd_ps(scale, y, x);
            sums[lane] = _mm512_fmadd_ps(difference, difference, sums[lane]);
        });
        reduce(sums)
    }

    /// Calls `add` with one of four lanes, 16 values and the 16 codes of the same dimensions.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn each_int8(a: &[f32], row: &[u8], mut add: impl FnMut(usize, __m512, __m512)) {
        let len = a.len().min(row.len()) / UNIT * UNIT;
        let (a, high) = (a.as_ptr(), row.as_ptr());
        for at in (0..len).step_by(UNIT) {
            // SAFETY: each plane has half as many bytes as the row, and `at + UNIT <= len`.
            let (bytes, a) = unsafe {
                let high = _mm256_loadu_si256(high.add(at / 2).cast());
                let low = _mm256_loadu_si256(row.as_ptr().add(row.len() / 2 + at / 2).cast());
                (codes_of(high, low), a.add(at))
            };
            for (half, bytes) in bytes.into_iter().enumerate() {
                let quarters = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
                for (quarter, bytes) in quarters.into_iter().enumerate() {
                    let lane = 2 * half + quarter;
                    // SAFETY: the unit has four times 16 values.
                    let x = unsafe { _mm512_loadu_ps(a.add(lane * F32)) };
                    add(lane, x, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
        let len = a.len().min(b.len());
        let (a, b) = (a.as_ptr().cast::<i8>(), b.as_ptr());
        let mut sums = [_mm512_setzero_si512(); 2];
        let mut at = 0;
        // SAFETY: full loads lie below `len`, and the masked load touches only lanes below `len`.
        unsafe {
            while at + 2 * U8 <= len {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_epi8(a.add(at + lane * U8));
                    *sum = _mm512_dpbusd_epi32(*sum, x, _mm512_loadu_epi8(b.add(at + lane * U8)));
                }
                at += 2 * U8;
            }
            if at + U8 <= len {
                let x = _mm512_loadu_epi8(a.add(at));
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, _mm512_loadu_epi8(b.add(at)));
                at += U8;
            }
            if at < len {
                let mask: __mmask64 = (1 << (len - at)) - 1;
                let x = _mm512_maskz_loadu_epi8(mask, a.add(at));
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, _mm512_maskz_loadu_epi8(mask, b.add(at)));
            }
        }
        _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn dot_rows(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        // SAFETY: `each_four` passes rows of the query's stride.
        let sums = |row: &[u8]| unsafe { dot_halves(row.as_ptr(), &query.high) };
        scalar::each_four(codes, rows, query, products, sums, |sums| reduce_four(sums));
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn dot_rows_whole(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        // SAFETY: `each_four` passes rows of the query's stride.
        let sums = |row: &[u8]| unsafe { both_sums(row, query) };
        scalar::each_four(codes, rows, query, products, sums, |sums| reduce_four(sums));
    }

    /// # Safety
    /// `row` must have the query's stride.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn both_sums(row: &[u8], query: &CodeQuery) -> __m512i {
        // SAFETY: the factors are as long as the lines from the row's start, and up to its end.
        let (high, low) = unsafe {
            let end = row.as_ptr().add(row.len() - query.low[0].len());
            (dot_halves(row.as_ptr(), &query.high), dot_halves(end, &query.low))
        };
        _mm512_add_epi32(_mm512_slli_epi32::<4>(high), low)
    }

    /// The sum of each register's lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn reduce_four(sums: [__m512i; 4]) -> [i32; 4] {
        // pairs of rows are interleaved and added until each group of four lanes has one of every row
        let pair = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (a, b) = (pair(sums[0], sums[1]), pair(sums[2], sums[3]));
        let fours = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let half = _mm256_add_epi32(_mm512_castsi512_si256(fours), _mm512_extracti64x4_epi64::<1>(fours));
        let sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        bytemuck::cast(sum)
    }

    /// # Safety
    /// `row` must have the query's stride.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn dot_both(row: &[u8], query: &CodeQuery) -> i32 {
        // SAFETY: the caller's.
        _mm512_reduce_add_epi32(unsafe { both_sums(row, query) })
    }

    /// # Safety
    /// There must be as many bytes at `plane` as there are factors, whole registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn dot_halves(plane: *const u8, factors: &[Vec<i8>; 2]) -> __m512i {
        let mask = _mm512_set1_epi8(15);
        let mut sums = [_mm512_setzero_si512(); 2];
        for at in (0..factors[0].len()).step_by(U8) {
            // SAFETY: the caller's; both lists of factors are equally long.
            let [bytes, a, b] = unsafe {
                [
                    _mm512_loadu_si512(plane.add(at).cast()),
                    _mm512_loadu_si512(factors[0].as_ptr().add(at).cast()),
                    _mm512_loadu_si512(factors[1].as_ptr().add(at).cast()),
                ]
            };
            sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_and_si512(bytes, mask), a);
            let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            sums[1] = _mm512_dpbusd_epi32(sums[1], upper, b);
        }
        _mm512_add_epi32(sums[0], sums[1])
    }

    /// # Safety
    /// The panel must have `LANES` words for each header word and for each group of every row's codes.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn near(
        rows: &[TileRow<'_>; TILE_ROWS],
        panel: &[i32],
        distances: &mut [[f32; LANES]; TILE_ROWS],
    ) -> [u16; TILE_ROWS] {
        let groups = panel.len() / LANES - PANEL_HEADER;
        let words = panel[PANEL_HEADER * LANES..].as_ptr();
        let codes: [*const u8; TILE_ROWS] = std::array::from_fn(|row| rows[row].codes.as_ptr());
        let mut sums = [_mm512_setzero_si512(); TILE_ROWS];
        for group in 0..groups {
            // SAFETY: the caller's: group `group` has LANES words in the panel and four codes in every row.
            unsafe {
                let lanes = _mm512_loadu_si512(words.add(group * LANES).cast());
                for (sum, codes) in sums.iter_mut().zip(codes) {
                    let four = codes.add(group * 4).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(four), lanes);
                }
            }
        }
        // SAFETY: the caller's: the panel has a header.
        std::array::from_fn(|row| unsafe { finish(&rows[row], sums[row], panel, &mut distances[row]) })
    }

    /// # Safety
    /// `words` are whole lanes, and every row has four codes for each of them.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn pack(rows: &[&[u8]; LANES], words: &mut [i32]) {
        let signed = _mm512_set1_epi32(i32::from_ne_bytes([128; 4]));
        for (chunk, words) in words.chunks_mut(LANES * LANES).enumerate() {
            let groups = words.len() / LANES;
            let mask = u16::MAX >> (LANES - groups);
            let mut of_rows = [_mm512_setzero_si512(); LANES];
            for (of_row, codes) in of_rows.iter_mut().zip(rows) {
                // SAFETY: the caller's: the row has codes for `groups` more groups; the mask leaves out what is past them.
                *of_row =
                    unsafe { _mm512_maskz_loadu_epi32(mask, codes.as_ptr().add(chunk * 4 * LANES).cast()) };
            }
            for (words, of_group) in words.chunks_exact_mut(LANES).zip(transposed(of_rows)) {
                // SAFETY: there are LANES words.
                unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), _mm512_xor_si512(of_group, signed)) };
            }
        }
    }

    /// Columns of sixteen rows of words.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
        // every register is four blocks of four words; first the words of four rows are transposed within each block
        let pairs: [__m512i; LANES] = std::array::from_fn(|at| {
            let (a, b) = (rows[at & !1], rows[at | 1]);
            if at % 2 == 0 { _mm512_unpacklo_epi32(a, b) } else { _mm512_unpackhi_epi32(a, b) }
        });
        let fours: [__m512i; LANES] = std::array::from_fn(|at| {
            let first = (at & !3) + at / 2 % 2;
            let (a, b) = (pairs[first], pairs[first + 2]);
            if at % 2 == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) }
        });
        // then the blocks: `fours[4 * q + c]` has column `c` of each block for rows `4 * q..`
        std::array::from_fn(|column| {
            let (block, of) = (column / 4, |q: usize| fours[4 * q + column % 4]);
            let two = |a, b| match block / 2 {
                0 => _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
                _ => _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
            };
            let (low, high) = (two(of(0), of(1)), two(of(2), of(3)));
            match block % 2 {
                0 => _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high),
                _ => _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high),
            }
        })
    }

    /// # Safety
    /// As [`near`].
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn near_one(
        rows: &[TileRow<'_>; 1],
        panel: &[i32],
        distances: &mut [[f32; LANES]; 1],
    ) -> [u16; 1] {
        const STEP: usize = 4;
        let groups = panel.len() / LANES - PANEL_HEADER;
        let words = panel[PANEL_HEADER * LANES..].as_ptr();
        let codes = rows[0].codes.as_ptr();
        let mut sums = [_mm512_setzero_si512(); STEP];
        // SAFETY: the caller's: every group has LANES words in the panel and four codes in the row.
        unsafe {
            let add = |sum: &mut __m512i, group: usize| {
                let four = codes.add(group * 4).cast::<i32>().read_unaligned();
                let lanes = _mm512_loadu_si512(words.add(group * LANES).cast());
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(four), lanes);
            };
            let whole = groups / STEP * STEP;
            for group in (0..whole).step_by(STEP) {
                for (step, sum) in sums.iter_mut().enumerate() {
                    add(sum, group + step);
                }
            }
            (whole..groups).for_each(|group| add(&mut sums[0], group));
            let low = _mm512_add_epi32(sums[0], sums[1]);
            let sum = _mm512_add_epi32(low, _mm512_add_epi32(sums[2], sums[3]));
            [finish(&rows[0], sum, panel, &mut distances[0])]
        }
    }

    /// Distances from products. No fused operations: the reference rounds after each.
    ///
    /// # Safety
    /// The panel must have a header.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn finish(row: &TileRow<'_>, sum: __m512i, panel: &[i32], distances: &mut [f32; LANES]) -> u16 {
        let header = panel.as_ptr();
        // SAFETY: the caller's: there are PANEL_HEADER * LANES words.
        let [scales, bases, extensions, biases] =
            [0, 1, 2, 3].map(|word| unsafe { _mm512_loadu_si512(header.add(word * LANES).cast()) });
        let factor = |x: f32, lanes: __m512i| _mm512_mul_ps(_mm512_set1_ps(x), _mm512_castsi512_ps(lanes));
        let product = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, biases));
        let base = _mm512_add_ps(_mm512_set1_ps(row.base), _mm512_castsi512_ps(bases));
        let distance = _mm512_add_ps(base, _mm512_mul_ps(factor(row.scale, scales), product));
        let distance = _mm512_add_ps(distance, factor(row.extension, extensions));
        let distance = _mm512_max_ps(distance, _mm512_setzero_ps());
        // SAFETY: `distances` has LANES places.
        unsafe { _mm512_storeu_ps(distances.as_mut_ptr(), distance) };
        _mm512_cmp_ps_mask::<_CMP_LT_OQ>(distance, _mm512_set1_ps(row.below))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn look_up(
        blocks: &[u8],
        tables: &Tables,
        allowed: &[u64],
        of_rows: &mut [[u16; BLOCK]],
        most: &mut [u16],
    ) {
        let of_blocks = allowed.iter().zip(of_rows).zip(most);
        for (block, ((&allowed, of_rows), most)) in blocks.chunks_exact(tables.block_bytes()).zip(of_blocks) {
            if allowed == 0 {
                *most = 0;
                continue;
            }
            // of rows in turn from the first and the second half of the block, and of the second half alone
            let mut sums = [_mm512_setzero_si512(); 2];
            let mut add = |four: __m512i| {
                sums[0] = _mm512_add_epi16(sums[0], four);
                sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(four));
            };
            let (fours, rest) = tables.pairs().as_chunks::<2>();
            let mut codes = block.as_ptr();
            for [pair, next] in fours {
                // SAFETY: a block has 64 bytes for each pair of tables.
                let four = unsafe { _mm512_add_epi8(entries(codes, pair), entries(codes.add(U8), next)) };
                add(four);
                codes = codes.wrapping_add(2 * U8);
            }
            if let [pair] = rest {
                // SAFETY: as above.
                add(unsafe { entries(codes, pair) });
            }
            let [both, second] = sums;
            let first = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(second));
            let one = _mm512_set1_epi16(1);
            let first = _mm512_maskz_add_epi16(allowed as u32, first, one);
            let second = _mm512_maskz_add_epi16((allowed >> 32) as u32, second, one);
            // SAFETY: there are places for 64 sums.
            unsafe {
                _mm512_storeu_si512(of_rows.as_mut_ptr().cast(), first);
                _mm512_storeu_si512(of_rows.as_mut_ptr().add(BLOCK / 2).cast(), second);
            }
            *most = most_of(_mm512_max_epu16(first, second));
        }
    }

    /// Of 64 rows the sum of the entries of two codes in their tables.
    ///
    /// # Safety
    /// There are 64 bytes at `codes`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn entries(codes: *const u8, tables: &[[u8; 16]; 2]) -> __m512i {
        // a table four times over: the two bits above a code make no difference
        // SAFETY: a table has 16 bytes; the codes are the caller's.
        let (codes, [first, second]) = unsafe {
            let table = |table: &[u8; 16]| _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            (_mm512_loadu_si512(codes.cast()), [table(&tables[0]), table(&tables[1])])
        };
        let second = _mm512_permutexvar_epi8(_mm512_srli_epi16::<4>(codes), second);
        _mm512_add_epi8(_mm512_permutexvar_epi8(codes, first), second)
    }

    /// The largest of 32 values.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn most_of(values: __m512i) -> u16 {
        let (low, high) = (_mm512_castsi512_si256(values), _mm512_extracti64x4_epi64::<1>(values));
        avx2::most_of(_mm256_max_epu16(low, high))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn within(values: &[u16; BLOCK], range: Range<u16>) -> u64 {
        let (low, below) = (_mm512_set1_epi16(range.start as i16), _mm512_set1_epi16(range.end as i16));
        let mut mask = 0;
        for (at, values) in values.as_chunks::<{ BLOCK / 2 }>().0.iter().enumerate() {
            // SAFETY: 32 values.
            let values = unsafe { _mm512_loadu_si512(values.as_ptr().cast()) };
            let within = _mm512_cmpge_epu16_mask(values, low);
            mask |= u64::from(_mm512_mask_cmplt_epu16_mask(within, values, below)) << (BLOCK / 2 * at);
        }
        mask
    }
}

mod avx2 {
    use super::super::scalar;
    use super::*;

    /// Lanes of one register, and of the four that one round adds to.
    const F32: usize = 8;
    const ROUND: usize = 4 * F32;

    #[target_feature(enable = "avx2")]
    pub(super) fn look_up(
        blocks: &[u8],
        tables: &Tables,
        allowed: &[u64],
        of_rows: &mut [[u16; BLOCK]],
        most: &mut [u16],
    ) {
        /// Lanes of sums.
        const U16: usize = 16;
        let of_blocks = allowed.iter().zip(of_rows).zip(most);
        for (block, ((&allowed, of_rows), most)) in blocks.chunks_exact(tables.block_bytes()).zip(of_blocks) {
            *most = 0;
            if allowed == 0 {
                continue;
            }
            let mut highest = _mm256_setzero_si256();
            for rows in [0, U16] {
                // of rows in turn from the first and the second half of the block, and of the second half alone
                let mut sums = [_mm256_setzero_si256(); 2];
                for (codes, tables) in block.as_chunks::<BLOCK>().0.iter().zip(tables.pairs()) {
                    // SAFETY: 32 of 64 bytes.
                    let two = unsafe { entries(codes.as_ptr().add(2 * rows), tables) };
                    sums[0] = _mm256_add_epi16(sums[0], two);
                    sums[1] = _mm256_add_epi16(sums[1], _mm256_srli_epi16::<8>(two));
                }
                let [both, second] = sums;
                let first = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(second));
                for (sums, rows) in [(first, rows), (second, BLOCK / 2 + rows)] {
                    let one_more = _mm256_add_epi16(sums, _mm256_set1_epi16(1));
                    let sums = _mm256_and_si256(one_more, spread((allowed >> rows) as u16));
                    highest = _mm256_max_epu16(highest, sums);
                    // SAFETY: 16 of 64 places.
                    unsafe { _mm256_storeu_si256(of_rows.as_mut_ptr().add(rows).cast(), sums) };
                }
            }
            *most = most_of(highest);
        }
    }

    /// Of 32 rows the sum of the entries of two codes in their tables.
    ///
    /// # Safety
    /// There are 32 bytes at `codes`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn entries(codes: *const u8, tables: &[[u8; 16]; 2]) -> __m256i {
        let code = _mm256_set1_epi8(15);
        // SAFETY: a table has 16 bytes; the codes are the caller's.
        let (codes, [first, second]) = unsafe {
            let table =
                |table: &[u8; 16]| _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            (_mm256_loadu_si256(codes.cast()), [table(&tables[0]), table(&tables[1])])
        };
        let first = _mm256_shuffle_epi8(first, _mm256_and_si256(codes, code));
        let second = _mm256_shuffle_epi8(second, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), code));
        _mm256_add_epi8(first, second)
    }

    /// All ones in the lanes whose bit is set.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn spread(mask: u16) -> __m256i {
        let bits =
            _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, i16::MIN);
        _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(mask as i16), bits), bits)
    }

    /// The largest of 16 values.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn most_of(values: __m256i) -> u16 {
        let most = _mm_max_epu16(_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
        // there is an instruction for the least
        let ones = _mm_set1_epi16(-1);
        !_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(most, ones))) as u16
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn within(values: &[u16; BLOCK], range: Range<u16>) -> u64 {
        scalar::within(values, range)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let whole = len / ROUND * ROUND;
        let mut sums = [_mm256_setzero_ps(); 4];
        for at in (0..whole).step_by(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `at + lane * F32 + F32 <= at + ROUND <= len`.
                let (x, y) = unsafe { load(a, b, at + lane * F32) };
                *sum = _mm256_fmadd_ps(x, y, *sum);
            }
        }
        reduce(sums) + scalar::dot(&a[whole..len], &b[whole..len])
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        let len = a.len().min(b.len());
        let whole = len / ROUND * ROUND;
        let mut sums = [_mm256_setzero_ps(); 4];
        for at in (0..whole).step_by(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `at + lane * F32 + F32 <= at + ROUND <= len`.
                let (x, y) = unsafe { load(a, b, at + lane * F32) };
                let difference = _mm256_sub_ps(x, y);
                *sum = _mm256_fmadd_ps(difference, difference, *sum);
            }
        }
        reduce(sums) + scalar::l2_squared(&a[whole..len], &b[whole..len])
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn dot_f16(a: &[f32], b: &[u16]) -> f32 {
        let len = a.len().min(b.len());
        let whole = len / ROUND * ROUND;
        let mut sums = [_mm256_setzero_ps(); 4];
        for at in (0..whole).step_by(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `at + lane * F32 + F32 <= at + ROUND <= len`.
                let (x, y) = unsafe { load_f16(a, b, at + lane * F32) };
                *sum = _mm256_fmadd_ps(x, y, *sum);
            }
        }
        reduce(sums) + scalar::dot_f16(&a[whole..len], &b[whole..len])
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn l2_squared_f16(a: &[f32], b: &[u16]) -> f32 {
        let len = a.len().min(b.len());
        let whole = len / ROUND * ROUND;
        let mut sums = [_mm256_setzero_ps(); 4];
        for at in (0..whole).step_by(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `at + lane * F32 + F32 <= at + ROUND <= len`.
                let (x, y) = unsafe { load_f16(a, b, at + lane * F32) };
                let difference = _mm256_sub_ps(x, y);
                *sum = _mm256_fmadd_ps(difference, difference, *sum);
            }
        }
        reduce(sums) + scalar::l2_squared_f16(&a[whole..len], &b[whole..len])
    }

    /// # Safety
    /// Both slices must reach to `at + F32`.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_f16(a: &[f32], b: &[u16], at: usize) -> (__m256, __m256) {
        // SAFETY: the caller's.
        unsafe {
            let y = _mm256_cvtph_ps(_mm_loadu_si128(b.as_ptr().add(at).cast()));
            (_mm256_loadu_ps(a.as_ptr().add(at)), y)
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot_int8(a: &[f32], row: &[u8]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        each_int8(a, row, |lane, x, y| sums[lane] = _mm256_fmadd_ps(x, y, sums[lane]));
        reduce(sums)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn l2_squared_int8(a: &[f32], row: &[u8], scale: f32) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        let scale = _mm256_set1_ps(scale);
        each_int8(a, row, |lane, x, y| {
            let difference = _mm256_fnmadd_ps(scale, y, x);
            sums[lane] = _mm256_fmadd_ps(difference, difference, sums[lane]);
        });
        reduce(sums)
    }

    /// Calls `add` with one of four lanes, 8 values and the 8 codes of the same dimensions.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn each_int8(a: &[f32], row: &[u8], mut add: impl FnMut(usize, __m256, __m256)) {
        let len = a.len().min(row.len()) / UNIT * UNIT;
        for at in (0..len).step_by(UNIT) {
            let mut codes = [0i8; UNIT];
            // SAFETY: each plane has half as many bytes as the row, and `at + UNIT <= len`; `codes` has UNIT
            // places.
            unsafe {
                let high = _mm256_loadu_si256(row.as_ptr().add(at / 2).cast());
                let low = _mm256_loadu_si256(row.as_ptr().add(row.len() / 2 + at / 2).cast());
                let [first, second] = codes_of(high, low);
                _mm256_storeu_si256(codes.as_mut_ptr().cast(), first);
                _mm256_storeu_si256(codes.as_mut_ptr().add(UNIT / 2).cast(), second);
            }
            for step in (0..UNIT).step_by(F32) {
                // SAFETY: `step + F32 <= UNIT`, and `at + UNIT <= len`.
                let (x, codes) = unsafe {
                    let codes = _mm_loadl_epi64(codes.as_ptr().add(step).cast());
                    (_mm256_loadu_ps(a.as_ptr().add(at + step)), codes)
                };
                add(step / F32 % 4, x, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)));
            }
        }
    }

    /// # Safety
    /// `at + F32` must not be past the end of either slice.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(a: &[f32], b: &[f32], at: usize) -> (__m256, __m256) {
        // SAFETY: the caller's.
        unsafe { (_mm256_loadu_ps(a.as_ptr().add(at)), _mm256_loadu_ps(b.as_ptr().add(at))) }
    }

    #[target_feature(enable = "avx2")]
    fn reduce(sums: [__m256; 4]) -> f32 {
        let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter)))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn dot_rows(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        // SAFETY: `each_four` passes rows of the query's stride.
        let sums = |row: &[u8]| unsafe { dot_halves(row.as_ptr(), &query.high) };
        scalar::each_four(codes, rows, query, products, sums, |sums| reduce_four(sums));
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn dot_rows_whole(codes: &[u8], rows: &[u32], query: &CodeQuery, products: &mut [i32]) {
        // SAFETY: `each_four` passes rows of the query's stride.
        let sums = |row: &[u8]| unsafe { both_sums(row, query) };
        scalar::each_four(codes, rows, query, products, sums, |sums| reduce_four(sums));
    }

    /// # Safety
    /// `row` must have the query's stride.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn both_sums(row: &[u8], query: &CodeQuery) -> __m256i {
        // SAFETY: the factors are as long as the lines from the row's start, and up to its end.
        let (high, low) = unsafe {
            let end = row.as_ptr().add(row.len() - query.low[0].len());
            (dot_halves(row.as_ptr(), &query.high), dot_halves(end, &query.low))
        };
        _mm256_add_epi32(_mm256_slli_epi32::<4>(high), low)
    }

    /// The sum of each register's lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn reduce_four(sums: [__m256i; 4]) -> [i32; 4] {
        let (a, b) = (_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        let fours = _mm256_hadd_epi32(a, b);
        bytemuck::cast(_mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours)))
    }

    /// # Safety
    /// `row` must have the query's stride.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn dot_both(row: &[u8], query: &CodeQuery) -> i32 {
        // SAFETY: the caller's.
        reduce_i32(unsafe { both_sums(row, query) })
    }

    /// Two products of at most 15 and 128 fit in the 16 bits of `vpmaddubsw`.
    ///
    /// # Safety
    /// There must be as many bytes at `plane` as there are factors, whole registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dot_halves(plane: *const u8, factors: &[Vec<i8>; 2]) -> __m256i {
        let (mask, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut sum = _mm256_setzero_si256();
        for at in (0..factors[0].len()).step_by(32) {
            // SAFETY: the caller's; both lists of factors are equally long.
            let [bytes, a, b] = unsafe {
                [
                    _mm256_loadu_si256(plane.add(at).cast()),
                    _mm256_loadu_si256(factors[0].as_ptr().add(at).cast()),
                    _mm256_loadu_si256(factors[1].as_ptr().add(at).cast()),
                ]
            };
            let lower = _mm256_maddubs_epi16(_mm256_and_si256(bytes, mask), a);
            let upper = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask), b);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(lower, ones));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(upper, ones));
        }
        sum
    }

    #[target_feature(enable = "avx2")]
    fn reduce_i32(sum: __m256i) -> i32 {
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let quarter = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32::<0b10_11_00_01>(quarter)))
    }

    /// # Safety
    /// The panel must have `LANES` words for each header word and for each group of every row's codes.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn near(
        rows: &[TileRow<'_>; TILE_ROWS],
        panel: &[i32],
        distances: &mut [[f32; LANES]; TILE_ROWS],
    ) -> [u16; TILE_ROWS] {
        // as many rows at a time as have their sums in registers
        const AT_A_TIME: usize = 4;
        let mut products = [[0; LANES]; TILE_ROWS];
        let (fours, _) = products.as_chunks_mut::<AT_A_TIME>();
        for (products, rows) in fours.iter_mut().zip(rows.chunks_exact(AT_A_TIME)) {
            // SAFETY: the caller's.
            unsafe { code_products(std::array::from_fn(|row| rows[row].codes), panel, products) };
        }
        std::array::from_fn(|row| scalar::nearer(&rows[row], &products[row], panel, &mut distances[row]))
    }

    /// # Safety
    /// As [`near`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn near_one(
        rows: &[TileRow<'_>; 1],
        panel: &[i32],
        distances: &mut [[f32; LANES]; 1],
    ) -> [u16; 1] {
        let mut products = [[0; LANES]];
        // SAFETY: the caller's.
        unsafe { code_products([rows[0].codes], panel, &mut products) };
        [scalar::nearer(&rows[0], &products[0], panel, &mut distances[0])]
    }

    /// Products of rows' codes with those of a panel. Widens to 16 bits first: `vpmaddubsw` would saturate.
    ///
    /// # Safety
    /// As [`near`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn code_products<const ROWS: usize>(
        codes: [&[u8]; ROWS],
        panel: &[i32],
        products: &mut [[i32; LANES]; ROWS],
    ) {
        const HALF: usize = LANES / 2;
        let groups = panel.len() / LANES - PANEL_HEADER;
        let words = panel[PANEL_HEADER * LANES..].as_ptr();
        let codes = codes.map(<[u8]>::as_ptr);
        for half in [0, HALF] {
            // of four lanes each: the sums of two dimensions, and of the other two
            let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
            for group in 0..groups {
                // SAFETY: the caller's: group `group` has LANES words in the panel, and four codes in every row.
                unsafe {
                    let lanes = words.add(group * LANES + half).cast::<__m128i>();
                    let lanes =
                        [0, 1].map(|quarter| _mm256_cvtepi8_epi16(_mm_loadu_si128(lanes.add(quarter))));
                    for (sums, codes) in sums.iter_mut().zip(codes) {
                        let four = codes.add(group * 4).cast::<i32>().read_unaligned();
                        let four = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
                        for (sum, lanes) in sums.iter_mut().zip(lanes) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(four, lanes));
                        }
                    }
                }
            }
            for (products, [low, high]) in products.iter_mut().zip(sums) {
                // pairs of both registers' lower halves, then of their upper halves
                let pairs = _mm256_hadd_epi32(low, high);
                let of_lanes = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                // SAFETY: there are LANES products, and `half` leaves eight.
                unsafe { _mm256_storeu_si256(products.as_mut_ptr().add(half).cast(), of_lanes) };
            }
        }
    }

    /// Widens to 16 bits first: `vpmaddubsw` would saturate.
    #[target_feature(enable = "avx2")]
    pub(super) fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
        const WIDTH: usize = 16;
        const ROUND: usize = 2 * WIDTH;
        let len = a.len().min(b.len());
        let whole = len / ROUND * ROUND;
        let mut sums = [_mm256_setzero_si256(); 2];
        for at in (0..whole).step_by(ROUND) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let at = at + lane * WIDTH;
                // SAFETY: `at + WIDTH <= whole <= len`.
                let (x, y) = unsafe {
                    (_mm_loadu_si128(a.as_ptr().add(at).cast()), _mm_loadu_si128(b.as_ptr().add(at).cast()))
                };
                let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(x), _mm256_cvtepi8_epi16(y));
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
        reduce_i32(_mm256_add_epi32(sums[0], sums[1])) + scalar::dot_codes(&a[whole..len], &b[whole..len])
    }
}
