//! Sweeps in factored form: with `F` of `r` rows and `F' F` near `H`, a column's gradient is `F_j R + lambda d_j` from the residuals
//! `R = F d`, and its update one outer product. `O(r)` a weight instead of `O(K)`, and no factorisation.

use super::moments::{DAMPING, MOST_ENERGY};
use super::packed::{Inputs, Packed, STRIP, StripRow};
use super::panel::{Coding, Errors, Panel, energy, losses};
use super::product::{Sums, fused, gather, product};
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::tile::Column;
use std::array::from_mut;

/// Panels that are swept side by side.
const TOGETHER: usize = 2;
/// Residuals are followed through a sweep in f32: what that may have cost is added to an error that is told from them.
const DRIFT: f64 = 1.0 + 1e-4;

/// `F`, column by column, and what belongs to it.
#[derive(Debug, Clone)]
pub struct Factored {
    rank: usize,
    /// `F`, eight columns together.
    blocks: Packed,
    /// Products of columns that stand in one block: `F_i F_j`.
    common: Vec<[StripRow; STRIP]>,
    transposed: Packed,
    inverse: Vec<f32>,
    lambda: f32,
}

/// Products of the columns of each strip with each other.
#[inline(always)]
fn common(blocks: &Packed) -> Vec<[StripRow; STRIP]> {
    let of = |strip: &[StripRow]| {
        let mut sums = [[0.0; STRIP]; STRIP];
        for row in strip {
            for (sums, &a) in sums.iter_mut().zip(row) {
                sums.iter_mut().zip(row).for_each(|(sum, &b)| *sum = a.mul_add(b, *sum));
            }
        }
        sums
    };
    (0..blocks.cols().div_ceil(STRIP)).map(|block| of(blocks.strip(block))).collect()
}

impl Factored {
    /// From rows that span the inputs, or the inputs themselves. `None` where there is no energy in them, or too much for f32.
    pub fn new(level: Level, rows: &Inputs) -> Option<Self> {
        let row = rows.row;
        let blocks = rows.packed();
        let packed = &blocks;
        let common = at_level!(level, common, (packed: &Packed) -> Vec<[StripRow; STRIP]>);
        let diagonal: Vec<f64> = (0..row).map(|j| f64::from(common[j / STRIP][j % STRIP][j % STRIP])).collect();
        let mean = diagonal.iter().sum::<f64>() / row.max(1) as f64;
        let lambda = DAMPING * mean;
        let fits = lambda > f64::from(f32::MIN_POSITIVE) && diagonal.iter().all(|&d| d < MOST_ENERGY);
        let inverse = diagonal.iter().map(|d| (1.0 / (d + lambda)) as f32).collect();
        fits.then(|| Self { rank: rows.rows, blocks, common, transposed: rows.transposed(), inverse, lambda: lambda as f32 })
    }

    /// Sweeps all columns of some panels, which hold codes; what their rows lose in the output before and after.
    #[inline(always)]
    pub(crate) fn sweep(&self, panels: &mut [Panel], n: usize, coding: &Coding, times: usize, sums: &mut Vec<Vec<Sums>>) -> Vec<Errors> {
        gather(&self.transposed, &(0..self.transposed.cols()), &losses(panels), sums);
        let mut residuals: Vec<Vec<Column>> = sums.iter().map(|s| s.iter().flatten().take(self.rank).copied().collect()).collect();
        let before: Vec<[f64; LANES]> = residuals.iter().map(|r| energy(r)).collect();
        for (panels, residuals) in panels.chunks_mut(TOGETHER).zip(residuals.chunks_mut(TOGETHER)) {
            match (<&mut [_; TOGETHER]>::try_from(&mut *panels), <&mut [_; TOGETHER]>::try_from(&mut *residuals)) {
                (Ok(panels), Ok(residuals)) => self.descend(panels, residuals, n, coding, times),
                _ => {
                    // Not a closure: it would be compiled for what every machine has.
                    for (panel, residuals) in panels.iter_mut().zip(residuals) {
                        self.descend(from_mut(panel), from_mut(residuals), n, coding, times);
                    }
                }
            }
        }
        before.into_iter().zip(&residuals).map(|(before, r)| Errors { before, after: energy(r).map(|e| e * DRIFT) }).collect()
    }

    /// Columns are taken eight at a time: their gradients by one product with the residuals, kept current among themselves by what the
    /// columns of `F` have in common, and the residuals brought up to date once for all eight, on the way to the next product. Each rounding
    /// waits for the one before it; those of other panels fill the time.
    #[inline(always)]
    fn descend<const P: usize>(&self, panels: &mut [Panel; P], residuals: &mut [Vec<Column>; P], n: usize, coding: &Coding, times: usize) {
        let blocks = self.common.len();
        let mut gradients: [Sums; P] = [[[0.0; LANES]; STRIP]; P];
        for (residuals, gradients) in residuals.iter().zip(&mut gradients) {
            product(self.blocks.strip(0), residuals, gradients);
        }
        for block in (0..blocks).cycle().take(times * blocks) {
            let first = block * STRIP;
            let mut changes: [Sums; P] = [[[0.0; LANES]; STRIP]; P];
            for i in 0..STRIP.min(self.inverse.len() - first) {
                let j = first + i;
                for ((panel, gradients), changes) in panels.iter_mut().zip(&mut gradients).zip(&mut changes) {
                    let (grid, gradient) = (panel.grids[j / n], fused(self.lambda, panel.d[j], gradients[i]));
                    let change = panel.round_again(j, &grid, gradient, self.inverse[j], coding);
                    changes[i] = change;
                    for (gradient, common) in gradients.iter_mut().zip(&self.common[block][i]).skip(i + 1) {
                        *gradient = fused(-common, change, *gradient);
                    }
                }
            }
            let strips = [self.blocks.strip(block), self.blocks.strip((block + 1) % blocks)];
            for ((residuals, changes), gradients) in residuals.iter_mut().zip(&changes).zip(&mut gradients) {
                *gradients = follow(strips, changes, residuals);
            }
        }
    }
}

/// Residuals after the values of eight columns changed, and their product with the next eight columns.
#[inline(always)]
fn follow([strip, next]: [&[StripRow]; 2], changes: &Sums, residuals: &mut [Column]) -> Sums {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = *changes;
    let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6, mut s7] = [[0.0; LANES]; STRIP];
    for ((r, f), a) in residuals.iter_mut().zip(strip).zip(next) {
        let mut b = *r;
        b = fused(-f[0], c0, b);
        b = fused(-f[1], c1, b);
        b = fused(-f[2], c2, b);
        b = fused(-f[3], c3, b);
        b = fused(-f[4], c4, b);
        b = fused(-f[5], c5, b);
        b = fused(-f[6], c6, b);
        b = fused(-f[7], c7, b);
        *r = b;
        s0 = fused(a[0], b, s0);
        s1 = fused(a[1], b, s1);
        s2 = fused(a[2], b, s2);
        s3 = fused(a[3], b, s3);
        s4 = fused(a[4], b, s4);
        s5 = fused(a[5], b, s5);
        s6 = fused(a[6], b, s6);
        s7 = fused(a[7], b, s7);
    }
    [s0, s1, s2, s3, s4, s5, s6, s7]
}
