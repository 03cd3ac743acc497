//! Sweeps in factored form: with `F` of `r` rows and `F' F` near `H`, a column's gradient is `F_j R + lambda d_j` from the residuals
//! `R = F d`, and its update one outer product. `O(r)` a weight instead of `O(K)`, and no factorisation.

use super::moments::{DAMPING, MOST_ENERGY};
use super::packed::{Inputs, Packed, STRIP, StripRow};
use super::panel::{Coding, Panel};
use super::product::{Sums, fused, gather, product};
use crate::lanes::LANES;
use crate::tile::Column;

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

/// Products of the columns of a strip with each other.
fn common(strip: &[StripRow]) -> [StripRow; STRIP] {
    let mut sums = [[0.0; STRIP]; STRIP];
    for row in strip {
        for (sums, &a) in sums.iter_mut().zip(row) {
            sums.iter_mut().zip(row).for_each(|(sum, &b)| *sum = a.mul_add(b, *sum));
        }
    }
    sums
}

impl Factored {
    /// From rows that span the inputs, or the inputs themselves. `None` where there is no energy in them, or too much for f32.
    pub fn new(rows: &Inputs) -> Option<Self> {
        let row = rows.row;
        let blocks = rows.packed();
        let common: Vec<[StripRow; STRIP]> = (0..row.div_ceil(STRIP)).map(|block| common(blocks.strip(block))).collect();
        let diagonal: Vec<f64> = (0..row).map(|j| f64::from(common[j / STRIP][j % STRIP][j % STRIP])).collect();
        let mean = diagonal.iter().sum::<f64>() / row.max(1) as f64;
        let lambda = DAMPING * mean;
        let fits = lambda > f64::from(f32::MIN_POSITIVE) && diagonal.iter().all(|&d| d < MOST_ENERGY);
        let inverse = diagonal.iter().map(|d| (1.0 / (d + lambda)) as f32).collect();
        fits.then(|| Self { rank: rows.rows, blocks, common, transposed: rows.transposed(), inverse, lambda: lambda as f32 })
    }

    /// `F'`, for measuring.
    pub(crate) const fn transposed(&self) -> &Packed {
        &self.transposed
    }

    /// Sweeps all columns of some panels, once or more.
    #[inline(always)]
    pub(crate) fn sweep(&self, panels: &mut [Panel], n: usize, coding: &Coding, times: usize, sums: &mut Vec<Vec<Sums>>) {
        for panel in panels {
            gather(&self.transposed, &(0..self.transposed.cols()), &[panel.d.as_slice()], sums);
            let mut residuals: Vec<Column> = sums.iter().flatten().flatten().take(self.rank).copied().collect();
            for _ in 0..times {
                self.once(panel, &mut residuals, n, coding);
            }
        }
    }

    /// Columns are taken eight at a time: their gradients by one product with the residuals, kept current among themselves by what the
    /// columns of `F` have in common, and the residuals brought up to date once for all eight.
    #[inline(always)]
    fn once(&self, panel: &mut Panel, residuals: &mut [Column], n: usize, coding: &Coding) {
        for block in 0..self.common.len() {
            let strip = self.blocks.strip(block);
            let first = block * STRIP;
            let count = STRIP.min(self.inverse.len() - first);
            let mut gradients: Sums = [[0.0; LANES]; STRIP];
            product(strip, residuals, &mut gradients);
            let mut changes: Sums = [[0.0; LANES]; STRIP];
            for i in 0..count {
                let j = first + i;
                let (grid, gradient) = (panel.grids[j / n], fused(self.lambda, panel.d[j], gradients[i]));
                let Some(change) = panel.round_again(j, &grid, gradient, self.inverse[j], coding) else { continue };
                changes[i] = change;
                for (gradient, common) in gradients.iter_mut().zip(&self.common[block][i]).skip(i + 1) {
                    *gradient = fused(-common, change, *gradient);
                }
            }
            let [c0, c1, c2, c3, c4, c5, c6, c7] = changes;
            for (r, f) in residuals.iter_mut().zip(strip) {
                let mut sum = *r;
                sum = fused(-f[0], c0, sum);
                sum = fused(-f[1], c1, sum);
                sum = fused(-f[2], c2, sum);
                sum = fused(-f[3], c3, sum);
                sum = fused(-f[4], c4, sum);
                sum = fused(-f[5], c5, sum);
                sum = fused(-f[6], c6, sum);
                *r = fused(-f[7], c7, sum);
            }
        }
    }
}
