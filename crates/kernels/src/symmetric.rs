//! The search without a zero: codes `0..=max` stand for `-(max+1)/2 ..= (max-1)/2`, and the fit has one unknown. Otherwise as [`crate::search`].

use crate::gain::{self, Found};
use crate::group::{self, LEAST_SCALE, Params};
use crate::round::{all_to_stored, code_around};
use crate::search::{Fit, Outcome, ROUNDS, Search, Wanted, Weigh, choose, is_comparable};
use crate::tile::{Column, Tile, WIDTH};
use std::array::from_fn;

/// Scales tried first, as fractions of largest magnitude / largest positive code. At 2 bits the codes are -2..=1, so the best step is far
/// below the largest magnitude.
const fn clips(max: u8) -> &'static [f32] {
    match max {
        0..=3 => &[0.3, 0.38, 0.46, 0.56, 0.72, 1.0],
        4..=7 => &[0.55, 0.7, 0.85],
        8..=15 => &[0.66, 0.74, 0.82, 0.875, 0.94, 1.0],
        16..=31 => &[0.78, 0.85, 0.91, 0.96, 1.0],
        32..=127 => &[0.92, 0.97, 1.0],
        128.. => &[0.9922, 1.0],
    }
}

#[inline(always)]
pub(crate) fn symmetric<const WEIGHTED: bool>(tile: &mut Tile, count: usize, wanted: Wanted, weigh: Weigh<'_>, out: &mut Outcome<'_>) {
    let (g, lo, hi) = Search::begin::<WEIGHTED>(tile, wanted, weigh);
    let Search { tile, sums, max, dtype, .. } = g;
    let largest = f32::from(wanted.max / 2);
    let mut most = hi;
    for j in 0..WIDTH {
        most[j] = if -lo[j] > hi[j] { -lo[j] } else { hi[j] };
    }
    let start = group::from_magnitudes(most, largest, dtype);
    let mut fit = Fit { scale: start, zero: [0.0; WIDTH], error: [f32::INFINITY; WIDTH] };
    let mut best = fit;
    g.symmetric_rounded::<WEIGHTED>(&fit, &mut best);
    for &c in clips(wanted.max) {
        let mut scale = most;
        for s in &mut scale {
            *s = *s * c / largest;
        }
        fit.better(&g.symmetric_pass::<WEIGHTED>(&scale));
    }
    for _ in 0..ROUNDS {
        fit = g.symmetric_rounded::<WEIGHTED>(&fit, &mut best);
    }
    let comparable = from_fn(|j| most[j] > 0.0 && is_comparable(&sums, j));
    out.params.extend((0..count).map(|j| Params { scale: if comparable[j] { best.scale[j] } else { start[j] }, zero: 0.0 }));
    if let Some(moments) = &mut out.moments {
        let found = Found { scale: best.scale, zero: [0.0; WIDTH], max, middle: g.middle, comparable };
        gain::moments::<true>(tile, &sums, &found, count, moments);
    }
}

impl Search<'_> {
    /// Codes for a candidate, not rounded to the stored type; the least-squares scale for them.
    #[inline(always)]
    fn symmetric_pass<const WEIGHTED: bool>(&self, scale: &Column) -> Fit {
        let (mut scale, mut inverse) = (*scale, [0.0; WIDTH]);
        for j in 0..WIDTH {
            scale[j] = if scale[j] > LEAST_SCALE { scale[j] } else { LEAST_SCALE };
            inverse[j] = 1.0 / scale[j];
        }
        let (mut sqq, mut sqw) = ([0.0; WIDTH], [0.0; WIDTH]);
        for (w, h, hw) in self.tile.columns::<WEIGHTED>() {
            for j in 0..WIDTH {
                let q = code_around(w[j] * inverse[j] + self.middle, self.max, self.middle);
                sqq[j] += if WEIGHTED { h[j] * q } else { q } * q;
                sqw[j] += hw[j] * q;
            }
        }
        self.symmetric_fit(scale, sqq, sqw)
    }

    #[inline(always)]
    fn symmetric_fit(&self, scale: Column, sqq: Column, sqw: Column) -> Fit {
        let mut fit = Fit { scale, zero: [0.0; WIDTH], error: self.sums.sww };
        for j in 0..WIDTH {
            let fits = sqq[j] > 0.0 && sqw[j] > 0.0;
            let fitted = sqw[j] / sqq[j];
            fit.scale[j] = if fits { fitted } else { scale[j] };
            fit.error[j] = if fits { self.sums.sww[j] - sqw[j] * fitted } else { self.sums.sww[j] };
        }
        fit
    }

    /// The same for a candidate rounded to its stored type; enters the contest with its true error.
    #[inline(always)]
    fn symmetric_rounded<const WEIGHTED: bool>(&self, fit: &Fit, best: &mut Fit) -> Fit {
        let mut scale = all_to_stored(fit.scale, self.dtype);
        let valid: [bool; WIDTH] = from_fn(|j| scale[j] >= LEAST_SCALE && scale[j].is_finite());
        let invalid = valid.map(|valid| !valid);
        choose(&invalid, &[1.0; WIDTH], &mut scale);
        let mut inverse = [0.0; WIDTH];
        for j in 0..WIDTH {
            inverse[j] = 1.0 / scale[j];
        }
        let (mut next, error) = self.symmetric_measured_pass::<WEIGHTED>(scale, inverse);
        let better: [bool; WIDTH] = from_fn(|j| valid[j] && error[j] < best.error[j]);
        choose(&better, &scale, &mut best.scale);
        choose(&better, &error, &mut best.error);
        choose(&invalid, &fit.scale, &mut next.scale);
        next
    }

    #[inline(always)]
    fn symmetric_measured_pass<const WEIGHTED: bool>(&self, scale: Column, inverse: Column) -> (Fit, Column) {
        let (mut sqq, mut sqw, mut error) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for (w, h, hw) in self.tile.columns::<WEIGHTED>() {
            for j in 0..WIDTH {
                let q = code_around(w[j] * inverse[j] + self.middle, self.max, self.middle);
                sqq[j] += if WEIGHTED { h[j] * q } else { q } * q;
                sqw[j] += hw[j] * q;
                let d = w[j] - q * scale[j];
                error[j] += if WEIGHTED { h[j] * d } else { d } * d;
            }
        }
        (self.symmetric_fit(scale, sqq, sqw), error)
    }
}
