//! Between file bytes (little-endian) and f32 rows.

use crate::level::{Level, at_level};
use aq_core::{Dtype, ScaleDtype};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Elements converted at a time through a small aligned buffer; file bytes have no alignment of their own.
const STEP: usize = 512;

/// Reads `out.len()` floats of a float dtype. F64 is rounded to f32: the arithmetic of every method is f32.
///
/// # Panics
/// If the lengths disagree or the dtype is not a float: the caller's invariant.
pub fn to_f32(bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    to_f32_at(Level::current(), bytes, dtype, out);
}

/// [`to_f32`] at a level.
///
/// # Panics
/// As [`to_f32`] does.
pub fn to_f32_at(level: Level, bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    assert_eq!(bytes.len(), out.len() * dtype.size());
    at_level!(level, read, (bytes: &[u8], dtype: Dtype, out: &mut [f32]) -> ());
}

#[inline(always)]
fn read(bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (b, o) in bytes.as_chunks::<4>().0.iter().zip(out) {
                *o = f32::from_le_bytes(*b);
            }
        }
        Dtype::F64 => {
            for (b, o) in bytes.as_chunks::<8>().0.iter().zip(out) {
                *o = f64::from_le_bytes(*b) as f32;
            }
        }
        Dtype::Bf16 => {
            for (b, o) in bytes.as_chunks::<2>().0.iter().zip(out) {
                *o = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
        Dtype::F16 => {
            let mut buffer = [f16::ZERO; STEP];
            for (b, o) in bytes.chunks(2 * STEP).zip(out.chunks_mut(STEP)) {
                for (b, h) in b.as_chunks::<2>().0.iter().zip(&mut buffer) {
                    *h = f16::from_le_bytes(*b);
                }
                buffer[..o.len()].convert_to_f32_slice(o);
            }
        }
        Dtype::Carried(..) | Dtype::Blocks(_) => unreachable!("{dtype} is not a float dtype"),
    }
}

/// Appends floats as a float dtype; round half to even.
///
/// # Panics
/// If the dtype is not a float: the caller's invariant.
pub fn from_f32(values: &[f32], dtype: Dtype, out: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        Dtype::F64 => out.extend(values.iter().flat_map(|v| f64::from(*v).to_le_bytes())),
        Dtype::Bf16 => out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
        Dtype::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        Dtype::Carried(..) | Dtype::Blocks(_) => unreachable!("{dtype} is not a float dtype"),
    }
}

/// The file dtype of a stored scale type.
pub const fn scale_file_dtype(dtype: ScaleDtype) -> Dtype {
    match dtype {
        ScaleDtype::Bf16 => Dtype::Bf16,
        ScaleDtype::F16 => Dtype::F16,
        ScaleDtype::F32 => Dtype::F32,
    }
}

/// Whether every value of a float dtype is finite; doubles are looked at as doubles, which may pass the range of f32.
pub fn all_finite(bytes: &[u8], dtype: Dtype, floats: &mut Vec<f32>) -> bool {
    if dtype == Dtype::F64 {
        return bytes.as_chunks::<8>().0.iter().all(|b| f64::from_le_bytes(*b).is_finite());
    }
    floats.resize(bytes.len() / dtype.size(), 0.0);
    to_f32(bytes, dtype, floats);
    first_non_finite(floats).is_none()
}

/// Index of the first NaN or infinity.
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    let level = Level::current();
    at_level!(level, find_non_finite, (values: &[f32]) -> Option<usize>)
}

#[inline(always)]
fn find_non_finite(values: &[f32]) -> Option<usize> {
    // A block is finite exactly when no exponent is all ones; the whole-block test vectorises, the search does not.
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |v: &f32| v.to_bits() & EXPONENT == EXPONENT;
    for (i, block) in values.chunks(64).enumerate() {
        if block.iter().fold(false, |any, v| any | bad(v)) {
            return block.iter().position(bad).map(|j| 64 * i + j);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_dtypes_round_trip_exact_values() {
        let values: Vec<f32> = (-700..700).map(|i| i as f32 * 0.25).chain([0.0, -0.0, 1e-3]).map(|v| bf16::from_f32(v).to_f32()).collect();
        for dtype in [Dtype::F64, Dtype::F32, Dtype::Bf16] {
            let mut bytes = Vec::new();
            from_f32(&values, dtype, &mut bytes);
            let mut back = vec![0.0; values.len()];
            to_f32(&bytes, dtype, &mut back);
            assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        }
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut floats = vec![0.0; 65536];
        to_f32(&all, Dtype::F16, &mut floats);
        for (bits, v) in (0..=u16::MAX).zip(&floats) {
            let want = f16::from_bits(bits).to_f32();
            assert!(want.to_bits() == v.to_bits() || (want.is_nan() && v.is_nan()));
        }
    }

    #[test]
    fn non_finite_values_are_found_where_they_are() {
        let mut v = vec![1.0f32; 200];
        assert_eq!(first_non_finite(&v), None);
        v[150] = f32::NEG_INFINITY;
        v[151] = f32::NAN;
        assert_eq!(first_non_finite(&v), Some(150));
        assert_eq!(first_non_finite(&[f32::MAX, f32::MIN_POSITIVE / 2.0]), None);
    }
}
