//! Rounding: to stored types, and to codes.

use aq_core::ScaleDtype;

/// `x` as it will be read back from its stored type; round half to even, overflow to infinity.
#[inline(always)]
pub fn to_stored(x: f32, dtype: ScaleDtype) -> f32 {
    match dtype {
        ScaleDtype::Bf16 => to_bf16(x),
        ScaleDtype::F16 => to_f16(x),
        ScaleDtype::F32 => x,
    }
}

/// [`to_stored`] of several at once.
#[inline(always)]
pub fn all_to_stored<const N: usize>(x: [f32; N], dtype: ScaleDtype) -> [f32; N] {
    let mut y = x;
    match dtype {
        ScaleDtype::Bf16 => {
            for j in 0..N {
                y[j] = to_bf16(x[j]);
            }
        }
        ScaleDtype::F16 => {
            for j in 0..N {
                y[j] = to_f16(x[j]);
            }
        }
        ScaleDtype::F32 => {}
    }
    y
}

/// Zeros as they are stored: rounded to the type, or where they are whole numbers of steps to the nearest of those, at most `max`.
#[inline(always)]
pub fn zeros_to_stored<const N: usize>(zero: [f32; N], scale: &[f32; N], max: f32, dtype: ScaleDtype, whole: bool) -> [f32; N] {
    if !whole {
        return all_to_stored(zero, dtype);
    }
    let mut stored = zero;
    for j in 0..N {
        stored[j] = 0.0 - code(-zero[j] * (1.0 / scale[j]), max) * scale[j];
    }
    stored
}

/// Drops the lower half of the bits, half to even; a carry out of the mantissa goes where it belongs, up to infinity.
#[inline(always)]
fn to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    if x.is_nan() { x } else { rounded }
}

/// Rounds to IEEE half and back. Every case is computed and one chosen, so that many can be rounded at once.
#[inline(always)]
fn to_f16(x: f32) -> f32 {
    const LEAST_NORMAL: f32 = 1.0 / 16384.0; // 2^-14
    const BEYOND: f32 = 65520.0; // half way between the largest half and what would come next
    // A float near 1/2 has steps of 2^-24, those of subnormal halves.
    const STEPS: f32 = 0.5;
    let (bits, magnitude) = (x.to_bits(), x.abs());
    let normal = f32::from_bits(bits.wrapping_add(0xfff + ((bits >> 13) & 1)) & !0x1fff);
    let subnormal = ((magnitude + STEPS) - STEPS).copysign(x);
    let rounded = if magnitude < LEAST_NORMAL { subnormal } else { normal };
    let rounded = if magnitude >= BEYOND { f32::INFINITY.copysign(x) } else { rounded };
    if x.is_nan() { x } else { rounded }
}

/// 2^23: adding and subtracting it rounds a float in 0..2^22 to an integer, half to even, in two additions on every machine.
const MAGIC: f32 = 8_388_608.0;

/// The code of `t = (w - zero) / scale`: clamped to `0..=max` and rounded half to even. NaN gives 0.
#[inline(always)]
pub fn code(t: f32, max: f32) -> f32 {
    // Clamped first, so that the trick's range holds; the comparisons send NaN to 0.
    let t = if t > 0.0 { t } else { 0.0 };
    let t = if t < max { t } else { max };
    (t + MAGIC) - MAGIC
}

/// [`code`] less `middle`, a whole number up to 128.
#[inline(always)]
pub fn code_around(t: f32, max: f32, middle: f32) -> f32 {
    let t = if t > 0.0 { t } else { 0.0 };
    let t = if t < max { t } else { max };
    (t + MAGIC) - (MAGIC + middle)
}

/// The byte of a code, which is a whole number in 0..=255.
#[inline(always)]
pub fn byte(code: f32) -> u8 {
    // The last bits of a number just above 2^23 are the number itself.
    (code + MAGIC).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn rounding_is_that_of_another_library() {
        let mut bits = 0u32;
        loop {
            let x = f32::from_bits(bits);
            for (mine, theirs) in [(to_bf16(x), bf16::from_f32(x).to_f32()), (to_f16(x), f16::from_f32(x).to_f32())] {
                assert!(mine.to_bits() == theirs.to_bits() || (mine.is_nan() && theirs.is_nan()), "{x:e}: {mine:e} {theirs:e}");
            }
            // Steps that are no multiple of what is rounded away, and every value that is half way.
            let (next, over) = bits.overflowing_add(0x0000_0357);
            for half_way in [(next & 0xffff_0000) | 0x8000, (next & 0xffff_e000) | 0x1000] {
                let x = f32::from_bits(half_way);
                assert!(x.is_nan() || to_bf16(x).to_bits() == bf16::from_f32(x).to_f32().to_bits(), "{x:e}");
                assert!(x.is_nan() || to_f16(x).to_bits() == f16::from_f32(x).to_f32().to_bits(), "{x:e}");
            }
            if over {
                break;
            }
            bits = next;
        }
    }

    #[test]
    fn bytes_of_codes() {
        assert!((0..=255).all(|i| byte(i as f32) == i as u8));
    }

    #[test]
    fn codes_round_half_to_even_and_stay_in_range() {
        for i in 0..=(255 * 8) {
            let t = i as f32 / 8.0;
            assert_eq!(code(t, 255.0), t.round_ties_even());
            assert_eq!(code_around(t, 255.0, 128.0), t.round_ties_even() - 128.0);
        }
        assert_eq!((code(-3.0, 15.0), code(99.0, 15.0), code(f32::NAN, 15.0), code(f32::INFINITY, 3.0)), (0.0, 15.0, 0.0, 3.0));
    }

    #[test]
    fn stored_types_round_half_to_even() {
        assert_eq!(to_stored(1.0 + 2f32.powi(-8), ScaleDtype::Bf16), 1.0);
        assert_eq!(to_stored(1.0 + 3.0 * 2f32.powi(-8), ScaleDtype::Bf16), 1.0 + 2f32.powi(-6));
        assert_eq!(to_stored(1.0 + 2f32.powi(-11), ScaleDtype::F16), 1.0);
        assert_eq!(to_stored(1e-9, ScaleDtype::F32), 1e-9);
    }
}
