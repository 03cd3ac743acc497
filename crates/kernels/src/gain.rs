//! The row's gain: undoing the shrinkage of least squares.
//!
//! Any squared-error fit makes the decoded row shorter than the original, by a tenth at 2 bits. Random errors average out over a network, a
//! common factor in every layer does not; so after the search the scales of a row are multiplied by
//! `k = sum (w - mean)^2 / sum (w - mean)(w^ - mean)`, sums over the row, means of the groups; zeros are re-centred, codes kept.

use crate::group::Params;
use crate::round::{code_around, to_stored, zeros_to_stored};
use crate::search::Wanted;
use crate::tile::{Column, Sums, Tile, WIDTH};

/// What the gain needs to know of one group.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupMoments {
    /// Mean of the values; 0 in a symmetric scheme, whose moments are around 0.
    pub mean_w: f32,
    /// Mean of the codes; in a symmetric scheme the code of 0.
    pub mean_q: f32,
    /// `sum (w - mean)^2`
    pub own: f32,
    /// `sum (w - mean)(w^ - mean)`
    pub cross: f32,
}

/// Moments of the groups of a tile; appended for the first `count`. Sums are around the mean that the search subtracted and around the middle
/// code, and are moved to the plain means afterwards.
#[inline(always)]
pub fn moments<const SYMMETRIC: bool>(tile: &Tile, sums: &Sums, found: &Found, count: usize, out: &mut Vec<GroupMoments>) {
    let Found { scale, zero, max, middle, comparable } = *found;
    let mut inverse = [0.0; WIDTH];
    for j in 0..WIDTH {
        inverse[j] = 1.0 / scale[j];
    }
    let [w, q, ww, wq] = raw::<SYMMETRIC>(tile, inverse, zero, max, middle);
    let n = tile.w.len() as f32;
    out.extend((0..count).map(|j| {
        if !comparable[j] {
            // A constant group has nothing to stretch; one beyond f32 says nothing of its row.
            let own = if sums.sww[j].is_finite() { 0.0 } else { f32::INFINITY };
            return GroupMoments { own, ..GroupMoments::default() };
        }
        if SYMMETRIC {
            return GroupMoments { mean_w: 0.0, mean_q: middle, own: ww[j], cross: wq[j] * scale[j] };
        }
        let (mean_w, mean_q) = (w[j] / n, q[j] / n);
        let (own, cross) = (ww[j] - w[j] * mean_w, (wq[j] - w[j] * mean_q) * scale[j]);
        GroupMoments { mean_w: sums.mean[j] + mean_w, mean_q: mean_q + middle, own, cross }
    }));
}

/// Parameters that a search found, relative to the mean that it subtracted.
#[derive(Clone, Copy)]
pub struct Found {
    /// As stored.
    pub scale: Column,
    /// Less the mean; in a symmetric scheme 0.
    pub zero: Column,
    /// Largest code.
    pub max: f32,
    /// The code that sums are taken around.
    pub middle: f32,
    /// Lanes in which the search had something to compare.
    pub comparable: [bool; WIDTH],
}

/// `sum w`, `sum q`, `sum w^2`, `sum w q`, with codes around the middle one.
#[inline(always)]
fn raw<const SYMMETRIC: bool>(tile: &Tile, inverse: Column, zero: Column, max: f32, middle: f32) -> [Column; 4] {
    let [mut sw, mut sq, mut sww, mut swq] = [[0.0; WIDTH]; 4];
    for w in &tile.w {
        for j in 0..WIDTH {
            let t = if SYMMETRIC { w[j] * inverse[j] + middle } else { (w[j] - zero[j]) * inverse[j] };
            let q = code_around(t, max, middle);
            sw[j] += w[j];
            sq[j] += q;
            sww[j] += w[j] * w[j];
            swq[j] += w[j] * q;
        }
    }
    [sw, sq, sww, swq]
}

/// Stretches the scales of one row; bounded to 0.5..=2, and left alone where a result would not be finite in its stored type.
#[inline(always)]
pub fn stretch(moments: &[GroupMoments], params: &mut [Params], wanted: Wanted) {
    let Wanted { max, dtype, symmetric, whole } = wanted;
    let (own, cross) = moments.iter().fold((0.0, 0.0), |(a, b), m| (a + f64::from(m.own), b + f64::from(m.cross)));
    if !(cross > 0.0 && own.is_finite() && cross.is_finite()) {
        return;
    }
    let k = (own / cross).clamp(0.5, 2.0) as f32;
    for (m, p) in moments.iter().zip(params) {
        if m.own <= 0.0 {
            continue; // constant group: there is nothing to stretch
        }
        let scale = to_stored(p.scale * k, dtype);
        let [zero] = zeros_to_stored([m.mean_w - scale * m.mean_q], &[scale], f32::from(max), dtype, whole);
        let zero = if symmetric { 0.0 } else { zero };
        if scale.is_finite() && zero.is_finite() && scale > 0.0 {
            *p = Params { scale, zero };
        }
    }
}
