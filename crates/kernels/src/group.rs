//! Min/max quantization of one group: the starting point of every method.

use crate::lanes::min_max;
use crate::round::{all_to_stored, zeros_to_stored};
use aq_core::ScaleDtype;

/// No stored scale is smaller: its reciprocal must be finite, and a group this narrow is constant for every purpose.
pub const LEAST_SCALE: f32 = f32::from_bits(0x0d80_0000); // 2^-100

/// Scale and zero of a group, both as stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Step between codes; > 0.
    pub scale: f32,
    /// Value at code 0; unused in symmetric schemes.
    pub zero: f32,
}

/// Range of the group over `max` steps, zero at the minimum; both rounded to the stored type, the scale against the rounded zero so that
/// the maximum keeps its code.
#[inline(always)]
pub fn asymmetric(w: &[f32], max: f32, dtype: ScaleDtype, whole: bool) -> Params {
    let (lo, hi) = min_max(w);
    let ([scale], [zero]) = from_ranges([lo], [hi], max, dtype, whole);
    Params { scale, zero }
}

/// The same for several groups from their least and largest values: scales and zeros. A group that is constant as far as the stored type can
/// tell has scale 1 and code 0 everywhere. `whole`: zeros are whole numbers of steps, ranges reach to 0.
#[inline(always)]
pub fn from_ranges<const N: usize>(lo: [f32; N], hi: [f32; N], max: f32, dtype: ScaleDtype, whole: bool) -> ([f32; N], [f32; N]) {
    if whole {
        return around_zero(lo, hi, max, dtype);
    }
    let zero = all_to_stored(lo, dtype);
    let mut scale = [1.0; N];
    for j in 0..N {
        scale[j] = (hi[j] - zero[j]) / max;
    }
    scale = all_to_stored(scale, dtype);
    for j in 0..N {
        scale[j] = if lo[j] < hi[j] && scale[j] >= LEAST_SCALE { scale[j] } else { 1.0 };
    }
    (scale, zero)
}

#[inline(always)]
fn around_zero<const N: usize>(mut lo: [f32; N], mut hi: [f32; N], max: f32, dtype: ScaleDtype) -> ([f32; N], [f32; N]) {
    let mut scale = [1.0; N];
    for j in 0..N {
        lo[j] = if lo[j] < 0.0 { lo[j] } else { 0.0 };
        hi[j] = if hi[j] > 0.0 { hi[j] } else { 0.0 };
        scale[j] = (hi[j] - lo[j]) / max;
    }
    scale = all_to_stored(scale, dtype);
    for s in &mut scale {
        *s = if *s >= LEAST_SCALE { *s } else { 1.0 };
    }
    (scale, zeros_to_stored(lo, &scale, max, dtype, true))
}

/// Largest magnitude over the largest positive code, `2^(b-1) - 1`.
#[inline(always)]
pub fn symmetric(w: &[f32], largest: f32, dtype: ScaleDtype) -> Params {
    let (lo, hi) = min_max(w);
    let [scale] = from_magnitudes([if -lo > hi { -lo } else { hi }], largest, dtype);
    Params { scale, zero: 0.0 }
}

/// The same for several groups from their largest magnitudes.
#[inline(always)]
pub fn from_magnitudes<const N: usize>(most: [f32; N], largest: f32, dtype: ScaleDtype) -> [f32; N] {
    let mut scale = most;
    for s in &mut scale {
        *s /= largest;
    }
    scale = all_to_stored(scale, dtype);
    for s in &mut scale {
        *s = if *s >= LEAST_SCALE { *s } else { 1.0 };
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_groups() {
        let p = asymmetric(&[-1.0, 0.0, 0.5, 2.0], 3.0, ScaleDtype::F32, false);
        assert_eq!(p, Params { scale: 1.0, zero: -1.0 });
        let p = asymmetric(&[0.5; 7], 15.0, ScaleDtype::Bf16, false);
        assert_eq!(p, Params { scale: 1.0, zero: 0.5 });
        // Whole zeros: 0 is a value, and a constant group is one step from it.
        let p = asymmetric(&[-1.0, 0.0, 0.5, 2.0], 3.0, ScaleDtype::F32, true);
        assert_eq!(p, Params { scale: 1.0, zero: -1.0 });
        assert_eq!(asymmetric(&[0.75, 1.5], 3.0, ScaleDtype::F32, true), Params { scale: 0.5, zero: 0.0 });
        assert_eq!(asymmetric(&[-6.0; 7], 15.0, ScaleDtype::F32, true), Params { scale: 0.4, zero: -6.0 });
        assert_eq!(asymmetric(&[0.0; 7], 15.0, ScaleDtype::F32, true), Params { scale: 1.0, zero: 0.0 });
        let p = symmetric(&[-1.0, 3.5], 7.0, ScaleDtype::F16);
        assert_eq!(p, Params { scale: 0.5, zero: 0.0 });
        assert_eq!(symmetric(&[0.0, -0.0], 7.0, ScaleDtype::F16).scale, 1.0);
        // the rounded minimum lies above the maximum: nothing is left to divide
        let v = 1.0 + 2f32.powi(-8) * 1.5;
        assert_eq!(asymmetric(&[v, v + 1e-6], 15.0, ScaleDtype::Bf16, false).scale, 1.0);
    }
}
