//! The row's gain: undoing the shrinkage of least squares.
//!
//! Any squared-error fit makes the decoded row shorter than the original, by a tenth at 2 bits. Random errors average out over a network, a
//! common factor in every layer does not; so after the search the scales of a row are multiplied by
//! `k = sum (w - mean)^2 / sum (w - mean)(w^ - mean)`, sums over the row, means of the groups; zeros are re-centred, codes kept.

use crate::group::Params;
use crate::lanes::{LANES, fold, sum};
use crate::round::to_stored;
use aq_core::ScaleDtype;

/// Sums of one group that the gain needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupMoments {
    mean_w: f32,
    mean_q: f32,
    own: f32,
    cross: f32,
}

/// Moments of a group from its values and codes. `middle`: the code of 0 in a symmetric scheme, whose moments are around 0 instead of the means.
#[inline(always)]
pub fn moments(w: &[f32], q: &[f32], params: Params, middle: Option<f32>) -> GroupMoments {
    let mean = |x: &[f32]| sum(x) / x.len() as f32;
    let (mean_w, mean_q) = middle.map_or_else(|| (mean(w), mean(q)), |middle| (0.0, middle));
    let (mut own, mut cross) = ([0.0; LANES], [0.0; LANES]);
    let ((blocks_w, rest_w), (blocks_q, rest_q)) = (w.as_chunks::<LANES>(), q.as_chunks::<LANES>());
    for (w, q) in blocks_w.iter().zip(blocks_q) {
        for j in 0..LANES {
            let d = w[j] - mean_w;
            own[j] += d * d;
            cross[j] += d * (q[j] - mean_q) * params.scale;
        }
    }
    for (j, (w, q)) in rest_w.iter().zip(rest_q).enumerate() {
        let d = w - mean_w;
        own[j] += d * d;
        cross[j] += d * (q - mean_q) * params.scale;
    }
    GroupMoments { mean_w, mean_q, own: fold(&own), cross: fold(&cross) }
}

/// Stretches the scales of one row; bounded to 0.5..=2, and left alone where a result would not be finite in its stored type.
#[inline(always)]
pub fn stretch(moments: &[GroupMoments], params: &mut [Params], symmetric: bool, dtype: ScaleDtype) {
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
        let zero = if symmetric { 0.0 } else { to_stored(m.mean_w - scale * m.mean_q, dtype) };
        if scale.is_finite() && zero.is_finite() && scale > 0.0 {
            *p = Params { scale, zero };
        }
    }
}
