//! Sums in a stated order: element `i` goes to lane `i % 16`, lanes are folded 16 -> 8 -> 4 -> 2 -> 1, lane `j` with lane `j + half`.
//!
//! Slices are cut into whole blocks of 16; callers pad with weight 0, which leaves every sum as it is. The order is that of one AVX-512
//! register, two AVX registers or four of SSE or NEON, so each of them reproduces it without shuffling.

use std::array::from_fn;

/// Elements of one block.
pub const LANES: usize = 16;

/// One accumulator per lane.
pub type Acc = [f32; LANES];

/// Folds the lanes.
#[inline(always)]
pub fn fold(acc: &Acc) -> f32 {
    let eight: [f32; 8] = from_fn(|j| acc[j] + acc[j + 8]);
    let four: [f32; 4] = from_fn(|j| eight[j] + eight[j + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// `sum x_i` of a slice of any length; what it lacks to whole blocks counts as 0.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let mut acc = [0.0; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for x in blocks {
        for j in 0..LANES {
            acc[j] += x[j];
        }
    }
    for (a, x) in acc.iter_mut().zip(rest) {
        *a += x;
    }
    fold(&acc)
}

/// Least and largest element of a non-empty slice of any length; NaN is the caller's to exclude. Of zeros of both signs the one met first
/// in lane order is taken, folded as sums are.
#[inline(always)]
pub fn min_max(x: &[f32]) -> (f32, f32) {
    let mut lo = [f32::INFINITY; LANES];
    let mut hi = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for x in blocks {
        for j in 0..LANES {
            lo[j] = if x[j] < lo[j] { x[j] } else { lo[j] };
            hi[j] = if x[j] > hi[j] { x[j] } else { hi[j] };
        }
    }
    for (j, &x) in rest.iter().enumerate() {
        lo[j] = if x < lo[j] { x } else { lo[j] };
        hi[j] = if x > hi[j] { x } else { hi[j] };
    }
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            lo[j] = if lo[j + half] < lo[j] { lo[j + half] } else { lo[j] };
            hi[j] = if hi[j + half] > hi[j] { hi[j + half] } else { hi[j] };
        }
        half /= 2;
    }
    (lo[0], hi[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_as_stated() {
        let x: Vec<f32> = (0..32).map(|i| 10f32.powi(i % 7) + i as f32).collect();
        let lanes: Vec<f32> = (0..16).map(|j| 0.0 + x[j] + x[j + 16]).collect();
        let eight: Vec<f32> = (0..8).map(|j| lanes[j] + lanes[j + 8]).collect();
        let four: Vec<f32> = (0..4).map(|j| eight[j] + eight[j + 4]).collect();
        assert_eq!(sum(&x).to_bits(), ((four[0] + four[2]) + (four[1] + four[3])).to_bits());
        assert_eq!(min_max(&[3.0, -1.0, 2.0]), (-1.0, 3.0));
    }
}
