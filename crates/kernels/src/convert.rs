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
        Dtype::F8E4m3 => bytes.iter().zip(out).for_each(|(b, o)| *o = e4m3(*b)),
        Dtype::F8E5m2 => bytes.iter().zip(out).for_each(|(b, o)| *o = f16::from_bits(u16::from(*b) << 8).to_f32()),
        Dtype::Carried(..) | Dtype::Blocks(_) => unreachable!("{dtype} is not a float dtype"),
    }
}

/// Sign, four bits of exponent (bias 7), three of mantissa; all ones but the sign is the only NaN.
fn e4m3(byte: u8) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(byte >> 7) << 31, u32::from(byte >> 3 & 15), u32::from(byte & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, m) => m as f32 / 512.0,
        (e, m) => f32::from_bits((e + 120) << 23 | m << 20),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// Appends floats as a float dtype; round half to even.
///
/// # Panics
/// If the dtype is not a float of 16 bits or more: the caller's invariant.
pub fn from_f32(values: &[f32], dtype: Dtype, out: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        Dtype::F64 => out.extend(values.iter().flat_map(|v| f64::from(*v).to_le_bytes())),
        Dtype::Bf16 => out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
        Dtype::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        _ => unreachable!("{dtype} is no type that floats are written in"),
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
    fn eight_bits() {
        // OCP 8-bit floating point specification, tables 1 and 2.
        for (byte, value) in
            [(0x00, 0.0), (0x01, 0.001_953_125), (0x07, 0.013_671_875), (0x08, 0.015_625), (0x38, 1.0), (0xc5, -3.25), (0x7e, 448.0)]
        {
            assert_eq!(e4m3(byte), value, "{byte:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan() && e4m3(0x80) == 0.0 && e4m3(0x80).is_sign_negative());
        let mut out = [0.0; 5];
        to_f32(&[0x3c, 0x01, 0x7b, 0xc2, 0x7c], Dtype::F8E5m2, &mut out);
        assert_eq!(out, [1.0, 1.0 / 65536.0, 57344.0, -3.0, f32::INFINITY]);
    }

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
