//! Sixteen groups side by side: element `i` of group `j` stands in column `i`, lane `j`, so that one instruction works on one element of each
//! group and every lane sums its own group, element after element. Nothing has to be folded, and the order of every sum is the plainest one.

use crate::lanes::{Acc, LANES};
use crate::search::Weigh;

/// Groups in a tile.
pub const WIDTH: usize = LANES;

/// One number of each group.
pub type Column = Acc;

/// Buffers of one tile, reused.
#[derive(Debug, Default)]
pub struct Tile {
    /// Values; after [`Tile::centre`] around the weighted mean of their group.
    pub w: Vec<Column>,
    /// Weights of the errors.
    pub h: Vec<Column>,
    /// Products of the two, where the weights are not all 1.
    pub hw: Vec<Column>,
}

/// What a search knows of the groups before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Sums {
    /// Weighted mean that was subtracted.
    pub mean: Column,
    /// Sum of weights.
    pub s1: Column,
    /// Weighted energy around the mean.
    pub sww: Column,
}

impl Tile {
    /// Lays out at most [`WIDTH`] groups of `n` values; lanes without a group hold zeros.
    #[inline(always)]
    pub fn fill(&mut self, groups: &[f32], n: usize) {
        self.w.resize(n, [0.0; WIDTH]);
        if groups.len() == n * WIDTH {
            transpose(groups, n, &mut self.w);
            return;
        }
        self.w.fill([0.0; WIDTH]);
        for (j, group) in groups.chunks_exact(n).enumerate() {
            for (column, value) in self.w.iter_mut().zip(group) {
                column[j] = *value;
            }
        }
    }

    /// Least and largest value of each group. Of zeros of both signs the one met first is taken.
    #[inline(always)]
    pub fn min_max(&self) -> (Column, Column) {
        let (mut lo, mut hi) = ([f32::INFINITY; WIDTH], [f32::NEG_INFINITY; WIDTH]);
        for w in &self.w {
            for j in 0..WIDTH {
                lo[j] = if w[j] < lo[j] { w[j] } else { lo[j] };
                hi[j] = if w[j] > hi[j] { w[j] } else { hi[j] };
            }
        }
        (lo, hi)
    }

    /// Subtracts each group's weighted mean, or nothing where the scheme has no zero. The weights are given, or the distances from the plain
    /// mean, which is what makes 2 bits safe without data, or 1. `lo` and `hi`: what [`Tile::min_max`] found.
    #[inline(always)]
    pub fn centre<const WEIGHTED: bool>(&mut self, lo: &Column, hi: &Column, zero_free: bool, weigh: Weigh<'_>) -> Sums {
        let n = self.w.len() as f32;
        let plain = quotient(sum(&self.w), [n; WIDTH]);
        let (s1, mean) = if WEIGHTED { self.weigh(plain, lo, hi, weigh) } else { ([n; WIDTH], plain) };
        let mean = if zero_free { [0.0; WIDTH] } else { mean };
        let mut sww = [0.0; WIDTH];
        if WEIGHTED {
            self.hw.resize(self.w.len(), [0.0; WIDTH]);
            for ((w, h), hw) in self.w.iter_mut().zip(&self.h).zip(&mut self.hw) {
                let centred = minus(*w, mean);
                let product = times(*h, centred);
                (*w, *hw) = (centred, product);
                for j in 0..WIDTH {
                    sww[j] += product[j] * centred[j];
                }
            }
        } else {
            for w in &mut self.w {
                let centred = minus(*w, mean);
                *w = centred;
                for j in 0..WIDTH {
                    sww[j] += centred[j] * centred[j];
                }
            }
        }
        Sums { mean, s1, sww }
    }

    /// Sets the weights; their sums and the weighted means.
    #[inline(always)]
    fn weigh(&mut self, plain: Column, lo: &Column, hi: &Column, weigh: Weigh<'_>) -> (Column, Column) {
        let (mut s1, mut shw) = ([0.0; WIDTH], [0.0; WIDTH]);
        self.h.resize(self.w.len(), [0.0; WIDTH]);
        if let Weigh::Given(given) = weigh {
            for ((h, w), &weight) in self.h.iter_mut().zip(&self.w).zip(given) {
                *h = [weight; WIDTH];
                for j in 0..WIDTH {
                    s1[j] += weight;
                    shw[j] += weight * w[j];
                }
            }
            return (s1, quotient(shw, s1));
        }
        let mut floor = [0.0; WIDTH];
        for j in 0..WIDTH {
            // A floor keeps values near the mean from having no say at all.
            let (below, above) = ((lo[j] - plain[j]).abs(), (hi[j] - plain[j]).abs());
            floor[j] = 1e-3 * if above > below { above } else { below };
        }
        for (h, w) in self.h.iter_mut().zip(&self.w) {
            let weight = distance(*w, plain, floor);
            *h = weight;
            for j in 0..WIDTH {
                s1[j] += weight[j];
                shw[j] += weight[j] * w[j];
            }
        }
        (s1, quotient(shw, s1))
    }

    /// Columns of values, weights and products; without weights the products are the values, bit for bit.
    #[inline(always)]
    pub fn columns<const WEIGHTED: bool>(&self) -> impl Iterator<Item = (&Column, &Column, &Column)> {
        let (h, hw) = if WEIGHTED { (&self.h, &self.hw) } else { (&self.w, &self.w) };
        self.w.iter().zip(h).zip(hw).map(|((w, h), hw)| (w, h, hw))
    }
}

// Columns by value, and each loop over columns with a sum in it: else the compiler works on one lane of sixteen columns at a time, with
// shuffles before and after.

#[inline(always)]
pub(crate) fn minus(a: Column, b: Column) -> Column {
    let mut c = [0.0; WIDTH];
    for j in 0..WIDTH {
        c[j] = a[j] - b[j];
    }
    c
}

#[inline(always)]
fn times(a: Column, b: Column) -> Column {
    let mut c = [0.0; WIDTH];
    for j in 0..WIDTH {
        c[j] = a[j] * b[j];
    }
    c
}

#[inline(always)]
fn quotient(a: Column, b: Column) -> Column {
    let mut c = [0.0; WIDTH];
    for j in 0..WIDTH {
        c[j] = a[j] / b[j];
    }
    c
}

/// `|a - mean| + floor`
#[inline(always)]
fn distance(a: Column, mean: Column, floor: Column) -> Column {
    let mut c = [0.0; WIDTH];
    for j in 0..WIDTH {
        c[j] = (a[j] - mean[j]).abs() + floor[j];
    }
    c
}

#[inline(always)]
fn sum(columns: &[Column]) -> Column {
    let mut sum = [0.0; WIDTH];
    for column in columns {
        for j in 0..WIDTH {
            sum[j] += column[j];
        }
    }
    sum
}

/// Groups become lanes, in squares of four by four.
#[inline(always)]
fn transpose(groups: &[f32], n: usize, columns: &mut [Column]) {
    let whole = n / 4 * 4;
    for first in (0..whole).step_by(4) {
        for j in (0..WIDTH).step_by(4) {
            let row = |j: usize| {
                let four = &groups[j * n + first..j * n + first + 4];
                [four[0], four[1], four[2], four[3]]
            };
            for (column, lanes) in columns[first..first + 4].iter_mut().zip(&square([row(j), row(j + 1), row(j + 2), row(j + 3)])) {
                column[j..j + 4].copy_from_slice(lanes);
            }
        }
    }
    for i in whole..n {
        for j in 0..WIDTH {
            columns[i][j] = groups[j * n + i];
        }
    }
}

/// Rows become columns. Written with shuffles, because what the compiler makes of the plain loop is a gather, which is several times slower.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one invariant holds for all of them")]
#[inline(always)]
fn square(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    // SAFETY: SSE is part of every x86-64, and both types are four floats, of any bits.
    unsafe {
        let [a, b, c, d] = rows.map(|row| std::mem::transmute::<[f32; 4], __m128>(row));
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(ab_high, cd_high), _mm_movehl_ps(cd_high, ab_high)]
            .map(|column| std::mem::transmute::<__m128, [f32; 4]>(column))
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn square(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    [0, 1, 2, 3].map(|i| [rows[0][i], rows[1][i], rows[2][i], rows[3][i]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_its_lane() {
        for n in [1, 5, 16, 33, 64] {
            for groups in [1, 3, WIDTH] {
                let values: Vec<f32> = (0..n * groups).map(|i| i as f32 + 1.0).collect();
                let mut tile = Tile::default();
                tile.w.resize(70, [9.0; WIDTH]);
                tile.fill(&values, n);
                assert_eq!(tile.w.len(), n);
                for (i, column) in tile.w.iter().enumerate() {
                    for (j, value) in column.iter().enumerate() {
                        assert_eq!(*value, if j < groups { values[j * n + i] } else { 0.0 }, "{n} {groups} {i} {j}");
                    }
                }
            }
        }
    }
}
