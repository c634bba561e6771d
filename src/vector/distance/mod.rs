//! The three inner loops of the dense leg, behind one table of function pointers that is filled once
//! with the fastest kernels this processor has.
//!
//! The functions are safe: both slices are cut to the shorter length before a kernel sees them, and a
//! kernel is only in the table where its instructions were detected. Each file holds one family;
//! [`scalar`] is the reference that the tests hold the others against.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::LazyLock;

/// One family of kernels. Contract of the caller: the slices have the same length, and the processor
/// has the instructions that the family's constructor detected.
struct Kernels {
    name: &'static str,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    l2_squared: unsafe fn(&[f32], &[f32]) -> f32,
    dot_codes: unsafe fn(&[u8], &[i8]) -> i32,
}

const SCALAR: Kernels = Kernels {
    name: "scalar",
    dot: scalar::dot,
    l2_squared: scalar::l2_squared,
    dot_codes: scalar::dot_codes,
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
