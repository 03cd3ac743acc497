//! The row's gain: undoing the shrinkage of least squares.
//!
//! Any squared-error fit makes the decoded row shorter than the original, by a tenth at 2 bits. Random errors average out over a network, a
//! common factor in every layer does not; so after the search the scales of a row are multiplied by
//! `k = sum (w - mean)^2 / sum (w - mean)(w^ - mean)`, sums over the row, means of the groups; zeros are re-centred, codes kept.

use crate::group::Params;
use crate::lanes::{LANES, fold, padded, sum};
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
pub fn moments(w: &[f32], q: &[f32], params: Params, middle: Option<f32>, scratch: &mut Vec<f32>) -> GroupMoments {
    let n = padded(w.len());
    let mean = |x: &[f32], scratch: &mut Vec<f32>| {
        scratch.clear();
        scratch.extend_from_slice(x);
        scratch.resize(n, 0.0);
        sum(scratch) / x.len() as f32
    };
    let (mean_w, mean_q) = middle.map_or_else(|| (mean(w, scratch), mean(q, scratch)), |middle| (0.0, middle));
    let (mut own, mut cross) = ([0.0; LANES], [0.0; LANES]);
    for (w, q) in w.chunks(LANES).zip(q.chunks(LANES)) {
        for (j, (w, q)) in w.iter().zip(q).enumerate() {
            let d = w - mean_w;
            own[j] += d * d;
            cross[j] += d * (q - mean_q) * params.scale;
        }
    }
    GroupMoments { mean_w, mean_q, own: fold(&own), cross: fold(&cross) }
}

/// Stretches the scales of one row; bounded to 0.5..=2, and left alone where a result would not be finite in its stored type.
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
