//! The two-stage search for scale and zero, for the sixteen groups of a tile at once.
//!
//! A *pass* assigns codes for a candidate (scale, zero) and takes three weighted sums; from them the least-squares (scale, zero) for those
//! codes and the error there follow in closed form. Least squares never leaves the phase (zero modulo one step) that it starts in, and the
//! error has a local minimum in each; so the clipped ranges are tried first, then the winner's zero is shifted by parts of a step, and the
//! best of all goes through rounded passes whose error is measured on the values that will be stored. Min/max is always a candidate.
//!
//! Everything is computed around the group's weighted mean and around the middle code: in f32 the closed form cancels otherwise, at 8 bits
//! fatally. Every group is searched as if it were alone. Ties: the first candidate wins, "better" is strictly less.

use crate::gain::{self, Found, GroupMoments};
use crate::group::{self, LEAST_SCALE, Params};
use crate::round::{all_to_stored, code_around, zeros_to_stored};
use crate::symmetric::symmetric;
use crate::tile::{Column, Sums, Tile, WIDTH, minus};
use aq_core::ScaleDtype;
use std::array::from_fn;

/// Shrunken ranges tried first, as fractions of the group's own.
const fn clips(max: u8) -> &'static [f32] {
    match max {
        0..=3 => &[0.45, 0.63, 0.82, 1.0],
        4..=7 => &[0.58, 0.7, 0.82, 0.92, 1.0],
        8..=15 => &[0.68, 0.76, 0.84, 0.92, 0.96, 1.0],
        16..=31 => &[0.8, 0.86, 0.92, 0.97, 1.0],
        32..=127 => &[0.92, 0.97, 1.0],
        128.. => &[1.0],
    }
}

/// Shifts of the winner's zero, in steps.
const PHASES: [f32; 4] = [-0.2, 0.2, -0.4, 0.4];

/// Rounded passes at the end.
pub(crate) const ROUNDS: usize = 2;

/// What a pass finds: the least-squares parameters for its codes, relative to the mean, and the error there.
#[derive(Clone, Copy)]
pub(crate) struct Fit {
    pub scale: Column,
    pub zero: Column,
    pub error: Column,
}

impl Fit {
    /// Takes the lanes in which `other` is better.
    #[inline(always)]
    pub fn better(&mut self, other: &Self) {
        let better: [bool; WIDTH] = from_fn(|j| other.error[j] < self.error[j]);
        choose(&better, &other.scale, &mut self.scale);
        choose(&better, &other.zero, &mut self.zero);
        choose(&better, &other.error, &mut self.error);
    }
}

/// Takes the chosen lanes of `from`.
#[inline(always)]
pub(crate) fn choose(chosen: &[bool; WIDTH], from: &Column, to: &mut Column) {
    for j in 0..WIDTH {
        to[j] = if chosen[j] { from[j] } else { to[j] };
    }
}

/// Groups under search.
pub(crate) struct Search<'a> {
    pub tile: &'a Tile,
    pub sums: Sums,
    pub max: f32,
    /// The code that sums are taken around; in a symmetric scheme that of 0.
    pub middle: f32,
    pub dtype: ScaleDtype,
    /// Zeros are whole numbers of steps.
    pub whole: bool,
}

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The largest code: one less than a power of two.
    pub max: u8,
    /// Stored type of scales and zeros.
    pub dtype: ScaleDtype,
    /// Without a zero.
    pub symmetric: bool,
    /// With zeros that are whole numbers of steps.
    pub whole: bool,
}

/// What errors weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weigh<'a> {
    /// All the same.
    Alike,
    /// As much as their weight's distance from the group's mean.
    ByMagnitude,
    /// These, positive and finite, one for each place of a group.
    Given(&'a [f32]),
}

/// Where the results of a search go, one for each group.
pub struct Outcome<'a> {
    /// Scale and zero.
    pub params: &'a mut Vec<Params>,
    /// What the row's gain needs, where it is wanted.
    pub moments: Option<&'a mut Vec<GroupMoments>>,
}

/// Appends scale and zero of each of the `count` groups of finite values that a tile holds: at least as good (in the weighted squared error)
/// as min/max. The tile's values are centred on the way.
#[inline(always)]
pub fn search(tile: &mut Tile, count: usize, wanted: Wanted, weigh: Weigh<'_>, out: &mut Outcome<'_>) {
    match (wanted.symmetric, weigh == Weigh::Alike) {
        (false, true) => asymmetric::<false>(tile, count, wanted, weigh, out),
        (false, false) => asymmetric::<true>(tile, count, wanted, weigh, out),
        (true, true) => symmetric::<false>(tile, count, wanted, weigh, out),
        (true, false) => symmetric::<true>(tile, count, wanted, weigh, out),
    }
}

#[inline(always)]
fn asymmetric<const WEIGHTED: bool>(tile: &mut Tile, count: usize, wanted: Wanted, weigh: Weigh<'_>, out: &mut Outcome<'_>) {
    let (g, mut lo, mut hi) = Search::begin::<WEIGHTED>(tile, wanted, weigh);
    let Search { tile, sums, max, dtype, whole, .. } = g;
    let start = group::from_ranges(lo, hi, max, dtype, whole);
    let mut fit = Fit { scale: start.0, zero: minus(start.1, sums.mean), error: [f32::INFINITY; WIDTH] };
    (lo, hi) = (minus(lo, sums.mean), minus(hi, sums.mean));
    let mut best = fit;
    g.rounded::<WEIGHTED>(&fit, &mut best);

    for &c in clips(wanted.max) {
        let (mut scale, mut zero) = ([0.0; WIDTH], [0.0; WIDTH]);
        for j in 0..WIDTH {
            scale[j] = (hi[j] - lo[j]) * c / max;
            zero[j] = lo[j] * c;
        }
        fit.better(&g.pass::<WEIGHTED>(&scale, &zero));
    }
    let first = fit;
    for shift in PHASES {
        let mut zero = first.zero;
        for (zero, scale) in zero.iter_mut().zip(&first.scale) {
            *zero += shift * scale;
        }
        fit.better(&g.pass::<WEIGHTED>(&first.scale, &zero));
    }
    for _ in 0..ROUNDS {
        fit = g.rounded::<WEIGHTED>(&fit, &mut best);
    }
    let comparable = from_fn(|j| hi[j] > lo[j] && is_comparable(&sums, j));
    out.params.extend((0..count).map(|j| {
        let (scale, zero) = if comparable[j] { (best.scale[j], best.zero[j]) } else { (start.0[j], start.1[j]) };
        Params { scale, zero }
    }));
    if let Some(moments) = &mut out.moments {
        let found = Found { scale: best.scale, zero: minus(best.zero, sums.mean), max, middle: g.middle, comparable };
        gain::moments::<false>(tile, &sums, &found, count, moments);
    }
}

/// Energies beyond f32 cannot be compared.
#[inline(always)]
pub(crate) fn is_comparable(sums: &Sums, j: usize) -> bool {
    sums.s1[j].is_finite() && sums.sww[j].is_finite() && sums.sww[j] > f32::MIN_POSITIVE
}

impl<'a> Search<'a> {
    /// Centres the groups; with their least and largest values before.
    #[inline(always)]
    pub fn begin<const WEIGHTED: bool>(tile: &'a mut Tile, wanted: Wanted, weigh: Weigh<'_>) -> (Self, Column, Column) {
        let max = f32::from(wanted.max);
        let (lo, hi) = tile.min_max();
        let sums = tile.centre::<WEIGHTED>(&lo, &hi, wanted.symmetric, weigh);
        (Self { tile, sums, max, middle: f32::midpoint(max, 1.0), dtype: wanted.dtype, whole: wanted.whole }, lo, hi)
    }

    /// Codes for a candidate, not rounded to the stored type; the least-squares parameters for them.
    #[inline(always)]
    fn pass<const WEIGHTED: bool>(&self, scale: &Column, zero: &Column) -> Fit {
        let (mut scale, mut inverse) = (*scale, [0.0; WIDTH]);
        for j in 0..WIDTH {
            scale[j] = if scale[j] > LEAST_SCALE { scale[j] } else { LEAST_SCALE };
            inverse[j] = 1.0 / scale[j];
        }
        let (mut sq, mut sqq, mut sqw) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for (w, h, hw) in self.tile.columns::<WEIGHTED>() {
            for j in 0..WIDTH {
                let q = code_around((w[j] - zero[j]) * inverse[j], self.max, self.middle);
                let hq = if WEIGHTED { h[j] * q } else { q };
                sq[j] += hq;
                sqq[j] += hq * q;
                sqw[j] += hw[j] * q;
            }
        }
        self.fit(scale, *zero, sq, sqq, sqw)
    }

    /// The least-squares parameters for codes with these sums.
    #[inline(always)]
    fn fit(&self, scale: Column, zero: Column, sq: Column, sqq: Column, sqw: Column) -> Fit {
        let (s1, sww) = (&self.sums.s1, &self.sums.sww);
        let mut fit = Fit { scale, zero, error: *sww };
        for j in 0..WIDTH {
            // Around the weighted mean sum(h w) = 0, so the fitted zero is -scale * mean(q).
            let mean = sq[j] / s1[j];
            let variance = sqq[j] - sq[j] * mean;
            // Else all codes are equal, or the line falls: the candidate is kept.
            let fits = variance > 1e-12 * sqq[j] && sqw[j] > 0.0;
            let fitted = sqw[j] / variance;
            fit.scale[j] = if fits { fitted } else { scale[j] };
            fit.zero[j] = if fits { -fitted * (mean + self.middle) } else { zero[j] };
            fit.error[j] = if fits { sww[j] - sqw[j] * fitted } else { sww[j] };
        }
        fit
    }

    /// The same for a candidate rounded to its stored type; enters the contest with its true error.
    #[inline(always)]
    fn rounded<const WEIGHTED: bool>(&self, fit: &Fit, best: &mut Fit) -> Fit {
        let mut scale = all_to_stored(fit.scale, self.dtype);
        let mut stored = [0.0; WIDTH];
        for j in 0..WIDTH {
            // The zero follows the rounded scale: the group's mean error stays 0 but for the zero's own rounding.
            stored[j] = fit.zero[j] * (scale[j] / fit.scale[j]) + self.sums.mean[j];
        }
        stored = zeros_to_stored(stored, &scale, self.max, self.dtype, self.whole);
        let valid: [bool; WIDTH] = from_fn(|j| scale[j] >= LEAST_SCALE && scale[j].is_finite() && stored[j].is_finite());
        let invalid = valid.map(|valid| !valid);
        choose(&invalid, &[1.0; WIDTH], &mut scale);
        let zero = minus(stored, self.sums.mean);
        let (mut next, error) = self.measured_pass::<WEIGHTED>(&scale, &zero);
        let better: [bool; WIDTH] = from_fn(|j| valid[j] && error[j] < best.error[j]);
        choose(&better, &scale, &mut best.scale);
        choose(&better, &stored, &mut best.zero);
        choose(&better, &error, &mut best.error);
        choose(&invalid, &fit.scale, &mut next.scale);
        choose(&invalid, &fit.zero, &mut next.zero);
        next
    }

    /// A pass that also measures the true error of its candidate.
    #[inline(always)]
    fn measured_pass<const WEIGHTED: bool>(&self, scale: &Column, zero: &Column) -> (Fit, Column) {
        let mut inverse = [0.0; WIDTH];
        for j in 0..WIDTH {
            inverse[j] = 1.0 / scale[j];
        }
        let (mut sq, mut sqq, mut sqw, mut error) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for (w, h, hw) in self.tile.columns::<WEIGHTED>() {
            for j in 0..WIDTH {
                let q = code_around((w[j] - zero[j]) * inverse[j], self.max, self.middle);
                let hq = if WEIGHTED { h[j] * q } else { q };
                sq[j] += hq;
                sqq[j] += hq * q;
                sqw[j] += hw[j] * q;
                let d = w[j] - (q + self.middle) * scale[j] - zero[j];
                error[j] += if WEIGHTED { h[j] * d } else { d } * d;
            }
        }
        (self.fit(*scale, *zero, sq, sqq, sqw), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::code;
    use aq_core::BitWidth;

    /// Of one group.
    fn one(w: &[f32], wanted: Wanted, weigh: Weigh<'_>) -> Params {
        let (mut out, mut tile) = (Vec::new(), Tile::default());
        tile.fill(w, w.len());
        search(&mut tile, 1, wanted, weigh, &mut Outcome { params: &mut out, moments: None });
        assert_eq!(out.len(), 1);
        out[0]
    }

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
        for bits in BitWidth::ALL {
            let max = bits.max_code() as f32;
            let (mut plain, mut searched) = (0.0, 0.0);
            for seed in 0..200 {
                let w = sample(64, seed);
                let a = error(&w, group::asymmetric(&w, max, ScaleDtype::F16, false), max);
                let b = error(
                    &w,
                    one(&w, Wanted { max: bits.max_code() as u8, dtype: ScaleDtype::F16, symmetric: false, whole: false }, Weigh::Alike),
                    max,
                );
                assert!(b <= a * 1.0001, "{bits} {seed}: {b} > {a}");
                plain += a;
                searched += b;
            }
            let gain = 10.0 * (plain / searched).log10();
            assert!(gain > [2.0, 0.5, 0.3][BitWidth::ALL.iter().position(|b| *b == bits).unwrap()], "{bits} bits: {gain:.2} dB");
        }
    }

    #[test]
    fn given_weights_of_one_are_none_and_a_heavy_place_is_met() {
        let wanted = Wanted { max: 3, dtype: ScaleDtype::F16, symmetric: false, whole: false };
        for seed in 0..50 {
            let w = sample(64, seed);
            let (alike, mut heavy) = (vec![1.0; 64], vec![1.0; 64]);
            let plain = one(&w, wanted, Weigh::Alike);
            assert_eq!(one(&w, wanted, Weigh::Given(&alike)), plain);
            heavy[5] = 1e4;
            let at = |p: Params| (w[5] - code((w[5] - p.zero) / p.scale, 3.0) * p.scale - p.zero).abs();
            let met = one(&w, wanted, Weigh::Given(&heavy));
            assert!(at(met) <= at(plain) || at(met) < 0.01 * met.scale, "{seed}: {} {}", at(met), at(plain));
        }
    }

    #[test]
    fn odd_lengths_and_degenerate_groups_are_sound() {
        for bits in BitWidth::ALL {
            for n in [1, 2, 3, 15, 16, 17, 31, 33, 48, 63] {
                for w in [sample(n, 7), vec![0.0; n], vec![-0.0; n], vec![3e38; n], sample(n, 3).iter().map(|v| v * 1e-36).collect()] {
                    for symmetric in [false, true] {
                        let p = one(
                            &w,
                            Wanted { max: bits.max_code() as u8, dtype: ScaleDtype::Bf16, symmetric, whole: false },
                            Weigh::ByMagnitude,
                        );
                        assert!(p.scale > 0.0 && p.scale.is_finite() && p.zero.is_finite(), "{bits} {n} {w:?} {p:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_group_is_searched_as_if_it_were_alone() {
        for bits in BitWidth::ALL {
            for symmetric in [false, true] {
                let given: Vec<f32> = sample(48, 99).iter().map(|v| v.abs() + 1e-6).collect();
                for weigh in [Weigh::Alike, Weigh::ByMagnitude, Weigh::Given(&given)] {
                    let groups: Vec<Vec<f32>> = (0..WIDTH as u32).map(|seed| sample(48, seed)).collect();
                    let (mut tile, mut together) = (Tile::default(), Vec::new());
                    let wanted = Wanted { max: bits.max_code() as u8, dtype: ScaleDtype::F16, symmetric, whole: false };
                    tile.fill(&groups.concat(), 48);
                    search(&mut tile, WIDTH, wanted, weigh, &mut Outcome { params: &mut together, moments: None });
                    let alone: Vec<Params> = groups.iter().map(|w| one(w, wanted, weigh)).collect();
                    assert_eq!(together, alone, "{bits} {weigh:?}");
                }
            }
        }
    }
}
