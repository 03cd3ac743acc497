//! Sixteen rows of weights side by side: column `i` of all of them in one register.

use super::packed::Packed;
use super::product::{Sums, fused, gather};
use crate::group::Params;
use crate::lanes::LANES;
use crate::round::code;
use crate::search::{Outcome, Wanted, Weigh, search};
use crate::tile::{Column, Tile};
use aq_core::{BitWidth, ScaleDtype, Scheme};
use std::ops::Range;

/// What codes of a layer stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coding {
    pub bits: BitWidth,
    pub dtype: ScaleDtype,
    pub symmetric: bool,
    pub max: f32,
    /// The code of 0 in a symmetric scheme, else 0.
    pub offset: f32,
}

impl Coding {
    pub fn of(scheme: &Scheme) -> Self {
        let (max, symmetric) = (scheme.bits.max_code() as f32, scheme.symmetric());
        let offset = if symmetric { f32::midpoint(max, 1.0) } else { 0.0 };
        Self { bits: scheme.bits, dtype: scheme.scale_dtype, symmetric, max, offset }
    }
}

/// Scale and zero of one group of each row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grid {
    pub scale: Column,
    pub inverse: Column,
    pub zero: Column,
}

impl Grid {
    #[inline(always)]
    pub fn new(scale: Column, zero: Column) -> Self {
        let mut inverse = [0.0; LANES];
        for j in 0..LANES {
            inverse[j] = 1.0 / scale[j];
        }
        Self { scale, inverse, zero }
    }

    /// Codes of some values.
    #[inline(always)]
    pub fn codes(&self, t: &Column, coding: &Coding) -> Column {
        let mut codes = [0.0; LANES];
        for j in 0..LANES {
            codes[j] = code((t[j] - self.zero[j]) * self.inverse[j] + coding.offset, coding.max);
        }
        codes
    }

    /// What codes stand for, as the decoder has it.
    #[inline(always)]
    pub fn values(&self, codes: &Column, coding: &Coding) -> Column {
        let mut values = [0.0; LANES];
        for j in 0..LANES {
            values[j] = if coding.symmetric { (codes[j] - coding.offset) * self.scale[j] } else { codes[j] * self.scale[j] + self.zero[j] };
        }
        values
    }
}

/// What the rows of a panel lose in the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errors {
    pub before: [f64; LANES],
    pub after: [f64; LANES],
}

/// Sixteen rows; lanes without one hold zeros.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    /// Weights.
    pub w: Vec<Column>,
    /// What they lose: weights less decoded values.
    pub d: Vec<Column>,
    pub codes: Vec<Column>,
    /// One for each group.
    pub grids: Vec<Grid>,
    tile: Tile,
    params: Vec<Params>,
}

impl Panel {
    /// Lays out at most sixteen rows.
    #[inline(always)]
    pub fn fill(&mut self, rows: &[f32], row: usize) {
        self.tile.fill(rows, row);
        std::mem::swap(&mut self.w, &mut self.tile.w);
        self.d.resize(row, [0.0; LANES]);
        self.codes.resize(row, [0.0; LANES]);
        self.grids.clear();
    }

    /// Takes the codes of its rows, in the order of the columns, with the grids that were pushed.
    #[inline(always)]
    pub fn adopt(&mut self, codes: &[f32], n: usize, coding: &Coding) {
        self.tile.fill(codes, self.w.len());
        std::mem::swap(&mut self.codes, &mut self.tile.w);
        let weights = self.w.chunks_exact(n).zip(&self.grids);
        for ((w, grid), (d, codes)) in weights.zip(self.d.chunks_exact_mut(n).zip(self.codes.chunks_exact(n))) {
            for ((w, d), c) in w.iter().zip(d).zip(codes) {
                *d = lost(w, &grid.values(c, coding));
            }
        }
    }

    /// The columns of a group.
    pub const fn group(group: usize, n: usize) -> Range<usize> {
        group * n..(group + 1) * n
    }

    /// Searches scale and zero for some columns that stand for a group.
    #[inline(always)]
    pub fn search(&mut self, columns: impl Iterator<Item = Column>, coding: &Coding, weigh: Weigh<'_>) -> Grid {
        self.tile.w.clear();
        self.tile.w.extend(columns);
        self.params.clear();
        let wanted = Wanted { max: coding.max as u8, dtype: coding.dtype, symmetric: coding.symmetric, whole: false };
        search(&mut self.tile, LANES, wanted, weigh, &mut Outcome { params: &mut self.params, moments: None });
        let mut grid = ([1.0; LANES], [0.0; LANES]);
        for (j, p) in self.params.iter().enumerate() {
            (grid.0[j], grid.1[j]) = (p.scale, p.zero);
        }
        Grid::new(grid.0, grid.1)
    }

    /// Searches every group on the weights themselves.
    #[inline(always)]
    pub fn search_all(&mut self, n: usize, coding: &Coding, weights: Option<&[f32]>) {
        let w = std::mem::take(&mut self.w);
        for (group, columns) in w.chunks_exact(n).enumerate() {
            let weigh = weights.map_or(Weigh::Alike, |h| Weigh::Given(&h[Self::group(group, n)]));
            let grid = self.search(columns.iter().copied(), coding, weigh);
            self.grids.push(grid);
        }
        self.w = w;
    }

    /// Rounds every weight to its nearest code.
    #[inline(always)]
    pub fn round_all(&mut self, n: usize, coding: &Coding) {
        let weights = self.w.chunks_exact(n).zip(&self.grids);
        for ((w, grid), (d, codes)) in weights.zip(self.d.chunks_exact_mut(n).zip(self.codes.chunks_exact_mut(n))) {
            for ((w, d), c) in w.iter().zip(d).zip(codes) {
                *c = grid.codes(w, coding);
                *d = lost(w, &grid.values(c, coding));
            }
        }
    }

    /// Rounds a column again, at its decoded value plus `step * gradient`; what that value changes by.
    #[inline(always)]
    pub fn round_again(&mut self, column: usize, grid: &Grid, gradient: Column, step: f32, coding: &Coding) -> Column {
        let old = grid.values(&self.codes[column], coding);
        let codes = grid.codes(&fused(step, gradient, old), coding);
        let new = grid.values(&codes, coding);
        self.codes[column] = codes;
        self.d[column] = lost(&self.w[column], &new);
        lost(&new, &old)
    }

    /// Squared weights and squared losses of each row.
    #[inline(always)]
    pub fn energies(&self) -> [[f64; LANES]; 2] {
        let (mut ww, mut dd) = ([0.0; LANES], [0.0; LANES]);
        for (w, d) in self.w.iter().zip(&self.d) {
            for j in 0..LANES {
                ww[j] += f64::from(w[j]) * f64::from(w[j]);
                dd[j] += f64::from(d[j]) * f64::from(d[j]);
            }
        }
        [ww, dd]
    }
}

/// `w - v`
#[inline(always)]
pub(crate) fn lost(w: &Column, v: &Column) -> Column {
    let mut d = [0.0; LANES];
    for j in 0..LANES {
        d[j] = w[j] - v[j];
    }
    d
}

/// What the rows of each panel lose.
#[inline(always)]
pub(crate) fn losses(panels: &[Panel]) -> Vec<&[Column]> {
    panels.iter().map(|p| p.d.as_slice()).collect()
}

/// `sum over the columns of a packed matrix of (a' d)^2`, for each row of each panel.
#[inline(always)]
pub(crate) fn squares(a: &Packed, panels: &[Panel], sums: &mut Vec<Vec<Sums>>) -> Vec<[f64; LANES]> {
    gather(a, &(0..a.cols()), &losses(panels), sums);
    sums.iter().map(|sums| energy(sums.as_flattened())).collect()
}

/// Sum of squares in each lane.
#[inline(always)]
pub(crate) fn energy(columns: &[Column]) -> [f64; LANES] {
    let mut total = [0.0; LANES];
    for y in columns {
        for j in 0..LANES {
            total[j] += f64::from(y[j]) * f64::from(y[j]);
        }
    }
    total
}

/// A square block of a packed matrix, row after row.
#[inline(always)]
pub(crate) fn block(a: &Packed, range: &Range<usize>) -> Vec<f32> {
    range.clone().flat_map(|r| range.clone().map(move |c| a.at(r, c))).collect()
}
