//! Sweeps in factored form: with `F` of `r` rows and `F' F` near `H`, a column's gradient is `F_j R + lambda d_j` from the residuals
//! `R = F d`, and its update one outer product. `O(r)` a weight instead of `O(K)`, and no factorisation.

use super::moments::DAMPING;
use super::packed::{Inputs, Packed};
use super::panel::{Coding, Panel, lost};
use super::product::{Sums, fused, gather};
use crate::lanes::LANES;
use crate::tile::Column;

/// Partial sums of a gradient: row `i` of `F` goes to sum `i mod 4`, folded 0 with 2, 1 with 3.
const PARTS: usize = 4;

/// `F`, column by column, and what belongs to it.
#[derive(Debug, Clone)]
pub struct Factored {
    rank: usize,
    columns: Vec<f32>,
    transposed: Packed,
    inverse: Vec<f32>,
    lambda: f32,
}

impl Factored {
    /// From rows that span the inputs, or the inputs themselves. `None` where there is no energy in them, or too much for f32.
    pub fn new(rows: &Inputs) -> Option<Self> {
        let (rank, row) = (rows.rows.next_multiple_of(PARTS), rows.row);
        let mut columns = vec![0.0; row * rank];
        for (i, values) in rows.data.chunks_exact(row).enumerate() {
            columns.chunks_exact_mut(rank).zip(values).for_each(|(column, &v)| column[i] = v);
        }
        let diagonal: Vec<f64> = columns.chunks_exact(rank).map(|c| c.iter().map(|&v| f64::from(v).powi(2)).sum()).collect();
        let mean = diagonal.iter().sum::<f64>() / row.max(1) as f64;
        let lambda = DAMPING * mean;
        let fits = lambda > f64::from(f32::MIN_POSITIVE) && diagonal.iter().all(|&d| d < 1e30);
        let inverse = diagonal.iter().map(|d| (1.0 / (d + lambda)) as f32).collect();
        fits.then(|| Self { rank, columns, transposed: rows.transposed(), inverse, lambda: lambda as f32 })
    }

    /// Bytes that it takes.
    pub const fn bytes(rank: usize, row: usize) -> u64 {
        Packed::bytes(row, rank) * 2
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
            let mut residuals: Vec<Column> = sums.iter().flatten().flatten().copied().collect();
            residuals.resize(self.rank, [0.0; LANES]);
            for _ in 0..times {
                self.once(panel, &mut residuals, n, coding);
            }
        }
    }

    #[inline(always)]
    fn once(&self, panel: &mut Panel, residuals: &mut [Column], n: usize, coding: &Coding) {
        for (j, f) in self.columns.chunks_exact(self.rank).enumerate() {
            let grid = panel.grids[j / n];
            let [mut p0, mut p1, mut p2, mut p3] = [[0.0; LANES]; PARTS];
            for (f, r) in f.as_chunks::<PARTS>().0.iter().zip(residuals.as_chunks::<PARTS>().0) {
                p0 = fused(f[0], r[0], p0);
                p1 = fused(f[1], r[1], p1);
                p2 = fused(f[2], r[2], p2);
                p3 = fused(f[3], r[3], p3);
            }
            let old = grid.values(&panel.codes[j], coding);
            let mut target = old;
            for l in 0..LANES {
                let gradient = self.lambda.mul_add(panel.d[j][l], (p0[l] + p2[l]) + (p1[l] + p3[l]));
                target[l] = gradient.mul_add(self.inverse[j], target[l]);
            }
            let codes = grid.codes(&target, coding);
            let new = grid.values(&codes, coding);
            let change = lost(&new, &old);
            if change == [0.0; LANES] {
                continue;
            }
            panel.codes[j] = codes;
            panel.d[j] = lost(&panel.w[j], &new);
            for (r, &f) in residuals.iter_mut().zip(f) {
                *r = fused(-f, change, *r);
            }
        }
    }
}
