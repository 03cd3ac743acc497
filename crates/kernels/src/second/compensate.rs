//! Compensated rounding: a column is rounded at its weight plus what it inherits from the errors of the columns before it.

use super::packed::{Packed, STRIP};
use super::panel::{Coding, Grid, Panel, block, lost};
use super::product::{Sums, fused, gather, strips};
use crate::lanes::LANES;
use crate::search::Weigh;
use crate::tile::Column;
use std::ops::Range;

/// Columns that are worked on between two products, where the order is not that of groups.
const BLOCK: usize = 64;

/// The columns in the order of the factor, and the factor.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    /// `U`, rows and columns in this order.
    pub upper: Packed,
    /// Columns by falling diagonal; `None`: as they stand. Only then are scales searched on the way, since a group is met as a whole.
    pub order: Option<Vec<usize>>,
}

impl Ordered {
    /// Rounds all columns of some panels. `weights`: of errors, for the search of scales. `n`: columns of a group.
    #[inline(always)]
    pub fn compensate(&self, panels: &mut [Panel], n: usize, coding: &Coding, weights: &[f32], sums: &mut Vec<Vec<Sums>>) {
        let cols = self.upper.cols();
        let step = if self.order.is_some() { BLOCK } else { n };
        if self.order.is_some() {
            for panel in panels.iter_mut() {
                panel.search_all(n, coding, Some(weights));
            }
        }
        let mut errors: Vec<Vec<Column>> = vec![Vec::with_capacity(cols); panels.len()];
        for first in (0..cols).step_by(step) {
            let range = first..cols.min(first + step);
            let local = block(&self.upper, &range);
            gather(&self.upper, &range, &errors.iter().map(Vec::as_slice).collect::<Vec<_>>(), sums);
            let inherited = strips(&range).start * STRIP;
            for ((panel, errors), sums) in panels.iter_mut().zip(&mut errors).zip(sums.iter()) {
                let sum = |col: usize| sums[(col - inherited) / STRIP][(col - inherited) % STRIP];
                let targets: Vec<Column> = range.clone().map(|at| plus(&panel.w[self.column(at)], &sum(at))).collect();
                if self.order.is_none() {
                    let weigh = Weigh::Given(&weights[range.clone()]);
                    let grid = panel.search(targets.iter().copied(), coding, weigh);
                    panel.grids.push(grid);
                }
                self.round_block(panel, targets, &range, &local, n, coding, errors);
            }
        }
        for (panel, errors) in panels.iter_mut().zip(errors) {
            for (at, error) in errors.into_iter().enumerate() {
                panel.d[self.column(at)] = error;
            }
        }
    }

    /// The column at a place of the order.
    #[inline(always)]
    fn column(&self, at: usize) -> usize {
        self.order.as_ref().map_or(at, |order| order[at])
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the inner loop of `compensate`, apart for its length")]
    fn round_block(
        &self,
        panel: &mut Panel,
        mut targets: Vec<Column>,
        range: &Range<usize>,
        local: &[f32],
        n: usize,
        coding: &Coding,
        errors: &mut Vec<Column>,
    ) {
        for (j, row) in local.chunks_exact(range.len()).enumerate() {
            let column = self.column(range.start + j);
            let grid: &Grid = &panel.grids[column / n];
            let codes = grid.codes(&targets[j], coding);
            let error = lost(&panel.w[column], &grid.values(&codes, coding));
            panel.codes[column] = codes;
            errors.push(error);
            for (target, &u) in targets.iter_mut().zip(row).skip(j + 1) {
                *target = fused(u, error, *target);
            }
        }
    }
}

#[inline(always)]
fn plus(a: &Column, b: &Column) -> Column {
    let mut c = [0.0; LANES];
    for j in 0..LANES {
        c[j] = a[j] + b[j];
    }
    c
}
