//! A sweep of coordinate descent: every column is rounded once more at its optimum given all others, group by group, and each group's scale
//! and zero are refitted under `H` before the next group is looked at. Neither step makes the damped error larger.

use super::packed::{Packed, STRIP};
use super::panel::{Coding, Grid, Panel, block, losses, lost};
use super::product::{Sums, fused, gather, strips};
use crate::group::LEAST_SCALE;
use crate::lanes::LANES;
use crate::round::all_to_stored;
use crate::search::choose;
use crate::tile::Column;
use std::array::from_fn;
use std::ops::Range;

/// Sweeps all groups of some panels once. `h`: damped moments; `n`: columns of a group.
#[inline(always)]
pub(crate) fn sweep(h: &Packed, panels: &mut [Panel], n: usize, coding: &Coding, refit: bool, sums: &mut Vec<Vec<Sums>>) {
    for group in 0..h.cols() / n {
        let range = Panel::group(group, n);
        let local = block(h, &range);
        gather(h, &range, &losses(panels), sums);
        let before = range.start - strips(&range).start * STRIP;
        for (panel, sums) in panels.iter_mut().zip(sums.iter()) {
            let mut gradient: Vec<Column> = sums.iter().flatten().skip(before).take(n).copied().collect();
            descend(panel, &range, &local, &mut gradient, group, coding);
            if refit {
                fit_again(panel, &range, &local, &gradient, group, coding);
            }
        }
    }
}

/// Rounds the columns of one group again, its gradient `H d` kept current.
#[inline(always)]
fn descend(panel: &mut Panel, range: &Range<usize>, local: &[f32], gradient: &mut [Column], group: usize, coding: &Coding) {
    let grid = panel.grids[group];
    for (j, row) in local.chunks_exact(range.len()).enumerate() {
        let column = range.start + j;
        let change = panel.round_again(column, &grid, gradient[j], 1.0 / row[j], coding);
        if !any(&change) {
            continue;
        }
        for (g, &h) in gradient.iter_mut().zip(row) {
            *g = fused(-h, change, *g);
        }
    }
}

/// Whether a lane is not zero; without a way out of the loop, so that lanes are looked at together.
#[inline(always)]
fn any(column: &Column) -> bool {
    let mut most = 0.0;
    for v in column {
        most = f32::max(most, v.abs());
    }
    most != 0.0
}

#[inline(always)]
fn around(mut codes: Column, middle: f32) -> Column {
    for code in &mut codes {
        *code -= middle;
    }
    codes
}

/// Least squares of the group's scale and zero for its codes under `H`, rounded to their stored type, where that lowers the error.
#[inline(always)]
fn fit_again(panel: &mut Panel, range: &Range<usize>, local: &[f32], gradient: &[Column], group: usize, coding: &Coding) {
    let middle = f32::midpoint(coding.max, 1.0);
    let codes = &panel.codes[range.clone()];
    // Around the middle code, else the two unknowns are nearly one.
    let (mut a11, mut a12, mut b1, mut b2) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let mut a22 = 0.0;
    for ((row, q), g) in local.chunks_exact(range.len()).zip(codes).zip(gradient) {
        let mut hq = [0.0; LANES];
        for (&h, other) in row.iter().zip(codes) {
            a22 += h;
            hq = fused(h, around(*other, middle), hq);
        }
        for l in 0..LANES {
            let u = q[l] - middle;
            a11[l] = u.mul_add(hq[l], a11[l]);
            a12[l] += hq[l];
            b1[l] = u.mul_add(g[l], b1[l]);
            b2[l] += g[l];
        }
    }
    let grid = panel.grids[group];
    let (mut scale, mut zero) = (grid.scale, grid.zero);
    for l in 0..LANES {
        let det = a11[l] * a22 - a12[l] * a12[l];
        let (fits, by_scale, by_zero) = if coding.symmetric {
            (a11[l] > 0.0, b1[l] / a11[l], 0.0)
        } else {
            (det > 1e-6 * a11[l] * a22, (a22 * b1[l] - a12[l] * b2[l]) / det, (a11[l] * b2[l] - a12[l] * b1[l]) / det)
        };
        scale[l] = if fits { grid.scale[l] + by_scale } else { grid.scale[l] };
        zero[l] = if fits { grid.zero[l] + middle * grid.scale[l] + by_zero } else { grid.zero[l] + middle * grid.scale[l] };
    }
    let scale = all_to_stored(scale, coding.dtype);
    for l in 0..LANES {
        zero[l] = if coding.symmetric { 0.0 } else { zero[l] - middle * scale[l] };
    }
    let zero = all_to_stored(zero, coding.dtype);
    let better: [bool; LANES] = from_fn(|l| {
        let by_scale = scale[l] - grid.scale[l];
        let by_zero = if coding.symmetric { 0.0 } else { zero[l] - grid.zero[l] + middle * by_scale };
        let gain = 2.0 * (by_scale * b1[l] + by_zero * b2[l])
            - (by_scale * by_scale * a11[l] + 2.0 * by_scale * by_zero * a12[l] + by_zero * by_zero * a22);
        gain > 0.0 && scale[l] >= LEAST_SCALE && scale[l].is_finite() && zero[l].is_finite()
    });
    let mut next = (grid.scale, grid.zero);
    choose(&better, &scale, &mut next.0);
    choose(&better, &zero, &mut next.1);
    let next = Grid::new(next.0, next.1);
    panel.grids[group] = next;
    for column in range.clone() {
        panel.d[column] = lost(&panel.w[column], &next.values(&panel.codes[column], coding));
    }
}
