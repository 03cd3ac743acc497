//! Rounding: to stored types, and to codes.

use aq_core::ScaleDtype;
use half::{bf16, f16};

/// `x` as it will be read back from its stored type; round half to even, overflow to infinity.
pub fn to_stored(x: f32, dtype: ScaleDtype) -> f32 {
    match dtype {
        ScaleDtype::Bf16 => bf16::from_f32(x).to_f32(),
        ScaleDtype::F16 => f16::from_f32(x).to_f32(),
        ScaleDtype::F32 => x,
    }
}

/// 2^23: adding and subtracting it rounds a float in 0..2^22 to an integer, half to even, in two additions on every machine.
const MAGIC: f32 = 8_388_608.0;

/// The code of `t = (w - zero) / scale`: clamped to `0..=max` and rounded half to even. NaN gives 0.
#[inline]
pub fn code(t: f32, max: f32) -> f32 {
    // Clamped first, so that the trick's range holds; the comparisons send NaN to 0.
    let t = if t > 0.0 { t } else { 0.0 };
    let t = if t < max { t } else { max };
    (t + MAGIC) - MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_half_to_even_and_stay_in_range() {
        for i in 0..=(255 * 8) {
            let t = i as f32 / 8.0;
            assert_eq!(code(t, 255.0), t.round_ties_even());
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
