//! The two-stage search for scale and zero of one group.
//!
//! A *pass* assigns codes for a candidate (scale, zero) and takes five weighted sums; from them the least-squares (scale, zero) for those
//! codes and the error there follow in closed form. Least squares never leaves the phase (zero modulo one step) that it starts in, and the
//! error has a local minimum in each; so the clipped ranges are tried first, then the winner's zero is shifted by parts of a step, and the
//! best of all goes through rounded passes whose error is measured on the values that will be stored. Min/max is always a candidate.
//!
//! Everything is computed around the group's weighted mean: in f32 the closed form cancels otherwise, at 8 bits fatally.
//! Ties: the first candidate wins, "better" is strictly less.

use crate::group::{self, LEAST_SCALE, Params};
use crate::lanes::{Acc, LANES, dot, fold, min_max, padded, sum};
use crate::round::{code, to_stored};
use aq_core::{BitWidth, ScaleDtype};

/// Shrunken ranges tried first, as fractions of the group's own.
const fn clips(bits: BitWidth) -> &'static [f32] {
    match bits {
        BitWidth::Two => &[0.45, 0.63, 0.82, 1.0],
        BitWidth::Four => &[0.68, 0.76, 0.84, 0.92, 0.96, 1.0],
        BitWidth::Eight => &[1.0],
    }
}

/// The same without a zero, as fractions of largest magnitude / largest positive code. At 2 bits the codes are -2..=1, so the best step is
/// far below the largest magnitude.
const fn symmetric_clips(bits: BitWidth) -> &'static [f32] {
    match bits {
        BitWidth::Two => &[0.3, 0.38, 0.46, 0.56, 0.72, 1.0],
        BitWidth::Four => &[0.66, 0.74, 0.82, 0.875, 0.94, 1.0],
        BitWidth::Eight => &[0.9922, 1.0],
    }
}

/// Shifts of the winner's zero, in steps.
const PHASES: [f32; 4] = [-0.2, 0.2, -0.4, 0.4];

/// Rounded passes at the end.
const ROUNDS: usize = 2;

/// Buffers of one group, padded to whole lanes with weight 0.
#[derive(Debug, Default)]
pub struct GroupBuffers {
    /// Values around their weighted mean.
    w: Vec<f32>,
    /// Weights of the errors.
    h: Vec<f32>,
    /// Products of the two.
    hw: Vec<f32>,
}

/// The sums that every pass of a group shares.
struct Group<'a> {
    w: &'a [f32],
    h: &'a [f32],
    hw: &'a [f32],
    /// Weighted mean that was subtracted.
    mean: f32,
    /// Sum of weights.
    s1: f32,
    /// Weighted energy around the mean.
    sww: f32,
    max: f32,
    dtype: ScaleDtype,
    /// Some weight is not 1.
    weighted: bool,
}

/// What a pass finds: the least-squares parameters for its codes, relative to the mean, and the error there.
#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    zero: f32,
    error: f32,
}

/// Best stored candidate so far.
struct Best {
    params: Params,
    error: f32,
}

impl GroupBuffers {
    /// Weights of the errors: 1, or the distance from the group's mean (`by_magnitude`: what makes 2 bits safe without data).
    #[inline(always)]
    fn fill(&mut self, w: &[f32], (lo, hi): (f32, f32), by_magnitude: bool) {
        let n = padded(w.len());
        self.w.clear();
        self.w.extend_from_slice(w);
        self.w.resize(n, 0.0);
        self.h.clear();
        self.h.resize(n, 0.0);
        if by_magnitude {
            let mean = sum(&self.w) / w.len() as f32;
            // A floor keeps values near the mean from having no say at all.
            let (below, above) = ((lo - mean).abs(), (hi - mean).abs());
            let floor = 1e-3 * if above > below { above } else { below };
            for (h, v) in self.h.iter_mut().zip(w) {
                *h = (v - mean).abs() + floor;
            }
        } else {
            self.h[..w.len()].fill(1.0);
        }
    }

    #[inline(always)]
    fn centre(&mut self, n: usize, zero_free: bool) -> (f32, f32, f32) {
        let s1 = sum(&self.h);
        let mean = if zero_free { 0.0 } else { dot(&self.h, &self.w) / s1 };
        for v in &mut self.w[..n] {
            *v -= mean;
        }
        self.hw.clear();
        self.hw.extend(self.h.iter().zip(&self.w).map(|(h, w)| h * w));
        (mean, s1, dot(&self.hw, &self.w))
    }
}

/// Scale and zero of the group `w`, at least as good (in the weighted squared error) as min/max. Values must be finite.
#[inline(always)]
pub fn asymmetric(w: &[f32], bits: BitWidth, dtype: ScaleDtype, by_magnitude: bool, buffers: &mut GroupBuffers) -> Params {
    let max = bits.max_code() as f32;
    let start = group::asymmetric(w, max, dtype);
    let (lo, hi) = min_max(w);
    if lo >= hi {
        return start;
    }
    buffers.fill(w, (lo, hi), by_magnitude);
    let (mean, s1, sww) = buffers.centre(w.len(), false);
    if !(s1.is_finite() && sww.is_finite() && sww > f32::MIN_POSITIVE) {
        return start; // energies beyond f32 cannot be compared
    }
    let g = Group {
        w: &buffers.w,
        h: &buffers.h,
        hw: &buffers.hw,
        mean,
        s1,
        sww,
        max,
        dtype,
        weighted: by_magnitude || !w.len().is_multiple_of(LANES),
    };
    let mut best = Best { params: start, error: f32::INFINITY };
    g.rounded(Fit { scale: start.scale, zero: start.zero - mean, error: 0.0 }, &mut best);

    let (lo, hi) = (lo - mean, hi - mean);
    let mut first: Option<Fit> = None;
    for &c in clips(bits) {
        better(&mut first, g.pass((hi - lo) * c / max, lo * c));
    }
    let mut winner = first;
    if let Some(f) = first {
        for shift in PHASES {
            better(&mut winner, g.pass(f.scale, f.zero + shift * f.scale));
        }
    }
    if let Some(mut fit) = winner {
        for _ in 0..ROUNDS {
            fit = g.rounded(fit, &mut best);
        }
    }
    best.params
}

#[inline(always)]
fn better(best: &mut Option<Fit>, fit: Fit) {
    if best.is_none_or(|b| fit.error < b.error) {
        *best = Some(fit);
    }
}

impl Group<'_> {
    /// Codes for a candidate, not rounded to the stored type; the least-squares parameters for them.
    #[inline(always)]
    fn pass(&self, scale: f32, zero: f32) -> Fit {
        // With weights of 1 the products are the values themselves, bit for bit.
        if self.weighted { self.pass_of::<true>(scale, zero) } else { self.pass_of::<false>(scale, zero) }
    }

    #[inline(always)]
    fn pass_of<const WEIGHTED: bool>(&self, scale: f32, zero: f32) -> Fit {
        let scale = if scale > LEAST_SCALE { scale } else { LEAST_SCALE };
        let inverse = 1.0 / scale;
        let (mut sq, mut sqq, mut sqw): (Acc, Acc, Acc) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for ((w, h), hw) in self.w.chunks_exact(LANES).zip(self.h.chunks_exact(LANES)).zip(self.hw.chunks_exact(LANES)) {
            for j in 0..LANES {
                let q = code((w[j] - zero) * inverse, self.max);
                let hq = if WEIGHTED { h[j] * q } else { q };
                sq[j] += hq;
                sqq[j] += hq * q;
                sqw[j] += if WEIGHTED { hw[j] } else { w[j] } * q;
            }
        }
        self.fit(scale, zero, fold(&sq), fold(&sqq), fold(&sqw))
    }

    /// The least-squares parameters for codes with these sums.
    #[inline(always)]
    fn fit(&self, scale: f32, zero: f32, sq: f32, sqq: f32, sqw: f32) -> Fit {
        // Around the weighted mean sum(h w) = 0, so the fitted zero is -scale * mean(q).
        let variance = sqq - sq * sq / self.s1;
        if variance > 1e-12 * sqq && sqw > 0.0 {
            let scale = sqw / variance;
            Fit { scale, zero: -scale * sq / self.s1, error: self.sww - sqw * sqw / variance }
        } else {
            Fit { scale, zero, error: self.sww } // all codes equal, or a falling line: keep the candidate
        }
    }

    /// The same for a candidate rounded to its stored type; enters the contest with its true error.
    #[inline(always)]
    fn rounded(&self, fit: Fit, best: &mut Best) -> Fit {
        let scale = to_stored(fit.scale, self.dtype);
        // The zero follows the rounded scale: the group's mean error stays 0 but for the zero's own rounding.
        let stored = to_stored(fit.zero * (scale / fit.scale) + self.mean, self.dtype);
        if !(scale >= LEAST_SCALE && scale.is_finite() && stored.is_finite()) {
            return fit;
        }
        let zero = stored - self.mean;
        let (fit, error) = if self.weighted { self.measured_pass::<true>(scale, zero) } else { self.measured_pass::<false>(scale, zero) };
        if error < best.error {
            *best = Best { params: Params { scale, zero: stored }, error };
        }
        fit
    }

    /// A pass that also measures the true error of its candidate.
    #[inline(always)]
    fn measured_pass<const WEIGHTED: bool>(&self, scale: f32, zero: f32) -> (Fit, f32) {
        let inverse = 1.0 / scale;
        let (mut sq, mut sqq, mut sqw, mut error) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for ((w, h), hw) in self.w.chunks_exact(LANES).zip(self.h.chunks_exact(LANES)).zip(self.hw.chunks_exact(LANES)) {
            for j in 0..LANES {
                let q = code((w[j] - zero) * inverse, self.max);
                let hq = if WEIGHTED { h[j] * q } else { q };
                sq[j] += hq;
                sqq[j] += hq * q;
                sqw[j] += if WEIGHTED { hw[j] } else { w[j] } * q;
                let d = w[j] - q * scale - zero;
                error[j] += if WEIGHTED { h[j] * d } else { d } * d;
            }
        }
        (self.fit(scale, zero, fold(&sq), fold(&sqq), fold(&sqw)), fold(&error))
    }

    /// A pass of the symmetric scheme: codes `0..=max` stand for `-(max+1)/2 ..= (max-1)/2`; the fit has one unknown.
    #[inline(always)]
    fn symmetric_pass(&self, scale: f32) -> Fit {
        let scale = if scale > LEAST_SCALE { scale } else { LEAST_SCALE };
        let inverse = 1.0 / scale;
        let middle = f32::midpoint(self.max, 1.0);
        let (mut sqq, mut sqw): (Acc, Acc) = ([0.0; LANES], [0.0; LANES]);
        for ((w, h), hw) in self.w.chunks_exact(LANES).zip(self.h.chunks_exact(LANES)).zip(self.hw.chunks_exact(LANES)) {
            for j in 0..LANES {
                let q = code(w[j] * inverse + middle, self.max) - middle;
                sqq[j] += h[j] * q * q;
                sqw[j] += hw[j] * q;
            }
        }
        let (sqq, sqw) = (fold(&sqq), fold(&sqw));
        if sqq > 0.0 && sqw > 0.0 {
            Fit { scale: sqw / sqq, zero: 0.0, error: self.sww - sqw * sqw / sqq }
        } else {
            Fit { scale, zero: 0.0, error: self.sww }
        }
    }

    #[inline(always)]
    fn symmetric_rounded(&self, fit: Fit, best: &mut Best) -> Fit {
        let scale = to_stored(fit.scale, self.dtype);
        if !(scale >= LEAST_SCALE && scale.is_finite()) {
            return fit;
        }
        let inverse = 1.0 / scale;
        let middle = f32::midpoint(self.max, 1.0);
        let mut error: Acc = [0.0; LANES];
        for (w, h) in self.w.chunks_exact(LANES).zip(self.h.chunks_exact(LANES)) {
            for j in 0..LANES {
                let d = w[j] - (code(w[j] * inverse + middle, self.max) - middle) * scale;
                error[j] += h[j] * d * d;
            }
        }
        let error = fold(&error);
        if error < best.error {
            *best = Best { params: Params { scale, zero: 0.0 }, error };
        }
        self.symmetric_pass(scale)
    }
}

/// Scale of the group `w` without a zero, at least as good as the largest magnitude over the largest positive code.
#[inline(always)]
pub fn symmetric(w: &[f32], bits: BitWidth, dtype: ScaleDtype, by_magnitude: bool, buffers: &mut GroupBuffers) -> Params {
    let largest = (bits.max_code() / 2) as f32;
    let start = group::symmetric(w, largest, dtype);
    let (lo, hi) = min_max(w);
    let most = if -lo > hi { -lo } else { hi };
    if most <= 0.0 {
        return start;
    }
    buffers.fill(w, (lo, hi), by_magnitude);
    let (mean, s1, sww) = buffers.centre(w.len(), true);
    if !(s1.is_finite() && sww.is_finite() && sww > f32::MIN_POSITIVE) {
        return start;
    }
    let g = Group {
        w: &buffers.w,
        h: &buffers.h,
        hw: &buffers.hw,
        mean,
        s1,
        sww,
        max: bits.max_code() as f32,
        dtype,
        weighted: by_magnitude || !w.len().is_multiple_of(LANES),
    };
    let mut best = Best { params: start, error: f32::INFINITY };
    g.symmetric_rounded(Fit { scale: start.scale, zero: 0.0, error: 0.0 }, &mut best);
    let mut winner = None;
    for &c in symmetric_clips(bits) {
        better(&mut winner, g.symmetric_pass(most * c / largest));
    }
    if let Some(mut fit) = winner {
        for _ in 0..ROUNDS {
            fit = g.symmetric_rounded(fit, &mut best);
        }
    }
    best.params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::code;

    fn error(w: &[f32], p: Params, max: f32) -> f64 {
        w.iter().map(|&v| f64::from(v - code((v - p.zero) / p.scale, max) * p.scale - p.zero).powi(2)).sum()
    }

    /// A Gaussian-like sequence without a dependency: sums of a linear congruential generator.
    fn sample(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        let mut next = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / 16_777_216.0 - 0.5
        };
        (0..n).map(|_| (0..6).map(|_| next()).sum::<f32>() * 0.02).collect()
    }

    #[test]
    fn never_worse_than_min_max_and_usually_much_better() {
        let mut buffers = GroupBuffers::default();
        for bits in BitWidth::ALL {
            let max = bits.max_code() as f32;
            let (mut plain, mut searched) = (0.0, 0.0);
            for seed in 0..200 {
                let w = sample(64, seed);
                let a = error(&w, group::asymmetric(&w, max, ScaleDtype::F16), max);
                let b = error(&w, asymmetric(&w, bits, ScaleDtype::F16, false, &mut buffers), max);
                assert!(b <= a * 1.0001, "{bits} {seed}: {b} > {a}");
                plain += a;
                searched += b;
            }
            let gain = 10.0 * (plain / searched).log10();
            assert!(gain > [2.0, 0.5, 0.3][BitWidth::ALL.iter().position(|b| *b == bits).unwrap()], "{bits} bits: {gain:.2} dB");
        }
    }

    #[test]
    fn odd_lengths_and_degenerate_groups_are_sound() {
        let mut buffers = GroupBuffers::default();
        for bits in BitWidth::ALL {
            for n in [1, 2, 3, 15, 16, 17, 31, 33, 48, 63] {
                for w in [sample(n, 7), vec![0.0; n], vec![-0.0; n], vec![3e38; n], sample(n, 3).iter().map(|v| v * 1e-36).collect()] {
                    for p in [
                        asymmetric(&w, bits, ScaleDtype::Bf16, true, &mut buffers),
                        symmetric(&w, bits, ScaleDtype::Bf16, true, &mut buffers),
                    ] {
                        assert!(p.scale > 0.0 && p.scale.is_finite() && p.zero.is_finite(), "{bits} {n} {w:?} {p:?}");
                    }
                }
            }
        }
    }
}
