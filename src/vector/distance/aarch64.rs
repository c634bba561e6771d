//! NEON kernels.
#![expect(unsafe_code, reason = "loads through pointers; every block has its SAFETY argument")]

use core::arch::aarch64::*;

use super::{BLOCK, Kernels, Tables, scalar};

pub(super) fn available() -> Vec<Kernels> {
    if !std::arch::is_aarch64_feature_detected!("neon") {
        return Vec::new();
    }
    vec![Kernels {
        name: "neon",
        dot,
        l2_squared,
        dot_codes,
        // plain loops: NEON is part of every aarch64 target
        dot_f16: scalar::dot_f16,
        l2_squared_f16: scalar::l2_squared_f16,
        dot_int8: scalar::dot_int8,
        l2_squared_int8: scalar::l2_squared_int8,
        dot_both: scalar::dot_both,
        dot_rows: scalar::dot_rows,
        dot_rows_whole: scalar::dot_rows_whole,
        near: scalar::near,
        near_one: scalar::near,
        pack: scalar::pack,
        look_up,
        within: scalar::within,
    }]
}

#[target_feature(enable = "neon")]
fn look_up(blocks: &[u8], tables: &Tables, allowed: &[u64], of_rows: &mut [[u16; BLOCK]], most: &mut [u16]) {
    /// Lanes of sums.
    const U16: usize = 8;
    let bit: [u16; U16] = std::array::from_fn(|lane| 1 << lane);
    // SAFETY: 8 values.
    let bit = unsafe { vld1q_u16(bit.as_ptr()) };
    let of_blocks = allowed.iter().zip(of_rows).zip(most);
    for (block, ((&allowed, of_rows), most)) in blocks.chunks_exact(tables.block_bytes()).zip(of_blocks) {
        *most = 0;
        if allowed == 0 {
            continue;
        }
        for rows in (0..BLOCK / 2).step_by(U16) {
            // of rows in turn from the first and the second half of the block, and of the second half alone
            let mut sums = [vdupq_n_u16(0); 2];
            for (codes, [first, second]) in block.as_chunks::<BLOCK>().0.iter().zip(tables.pairs()) {
                // SAFETY: 16 of 64 bytes; a table has 16.
                let (codes, first, second) = unsafe {
                    let codes = vld1q_u8(codes.as_ptr().add(2 * rows));
                    (codes, vld1q_u8(first.as_ptr()), vld1q_u8(second.as_ptr()))
                };
                let first = vqtbl1q_u8(first, vandq_u8(codes, vdupq_n_u8(15)));
                let two = vaddq_u8(first, vqtbl1q_u8(second, vshrq_n_u8::<4>(codes)));
                let two = vreinterpretq_u16_u8(two);
                sums[0] = vaddq_u16(sums[0], two);
                sums[1] = vaddq_u16(sums[1], vshrq_n_u16::<8>(two));
            }
            let [both, second] = sums;
            let first = vsubq_u16(both, vshlq_n_u16::<8>(second));
            for (sums, rows) in [(first, rows), (second, BLOCK / 2 + rows)] {
                let asked = vtstq_u16(vdupq_n_u16((allowed >> rows) as u16 & 0xFF), bit);
                let sums = vandq_u16(vaddq_u16(sums, vdupq_n_u16(1)), asked);
                *most = (*most).max(vmaxvq_u16(sums));
                // SAFETY: 8 of 64 places.
                unsafe { vst1q_u16(of_rows.as_mut_ptr().add(rows), sums) };
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let whole = len / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    for at in (0..whole).step_by(16) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `at + lane * 4 + 4 <= at + 16 <= len`.
            let (x, y) = unsafe {
                (vld1q_f32(a.as_ptr().add(at + lane * 4)), vld1q_f32(b.as_ptr().add(at + lane * 4)))
            };
            *sum = vfmaq_f32(*sum, x, y);
        }
    }
    reduce(sums) + scalar::dot(&a[whole..len], &b[whole..len])
}

#[target_feature(enable = "neon")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let whole = len / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    for at in (0..whole).step_by(16) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `at + lane * 4 + 4 <= at + 16 <= len`.
            let (x, y) = unsafe {
                (vld1q_f32(a.as_ptr().add(at + lane * 4)), vld1q_f32(b.as_ptr().add(at + lane * 4)))
            };
            let difference = vsubq_f32(x, y);
            *sum = vfmaq_f32(*sum, difference, difference);
        }
    }
    reduce(sums) + scalar::l2_squared(&a[whole..len], &b[whole..len])
}

#[target_feature(enable = "neon")]
fn reduce(sums: [float32x4_t; 4]) -> f32 {
    vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3])))
}

/// Widens both sides to 16 bits, which is exact.
#[target_feature(enable = "neon")]
fn dot_codes(a: &[u8], b: &[i8]) -> i32 {
    let len = a.len().min(b.len());
    let whole = len / 16 * 16;
    let mut sums = [vdupq_n_s32(0); 4];
    for at in (0..whole).step_by(16) {
        // SAFETY: `at + 16 <= whole <= len`.
        let (x, y) = unsafe { (vld1q_u8(a.as_ptr().add(at)), vld1q_s8(b.as_ptr().add(at))) };
        let x_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
        let x_high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(x)));
        let (y_low, y_high) = (vmovl_s8(vget_low_s8(y)), vmovl_s8(vget_high_s8(y)));
        sums[0] = vmlal_s16(sums[0], vget_low_s16(x_low), vget_low_s16(y_low));
        sums[1] = vmlal_s16(sums[1], vget_high_s16(x_low), vget_high_s16(y_low));
        sums[2] = vmlal_s16(sums[2], vget_low_s16(x_high), vget_low_s16(y_high));
        sums[3] = vmlal_s16(sums[3], vget_high_s16(x_high), vget_high_s16(y_high));
    }
    let sum = vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3]));
    vaddvq_s32(sum) + scalar::dot_codes(&a[whole..len], &b[whole..len])
}
