//! Matrices as strips of eight columns, each contiguous from the first row to the last: what a product walks over.

use crate::convert::first_non_finite;
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::rotate::rotate;
use crate::tile::Column;
use aq_core::Geometry;

/// Columns of a strip.
pub const STRIP: usize = 8;

/// One row of a strip.
pub(crate) type StripRow = [f32; STRIP];

/// A matrix of f32 in strips; what the last strip lacks are zeros.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packed {
    rows: usize,
    cols: usize,
    data: Vec<StripRow>,
}

impl Packed {
    /// Zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![[0.0; STRIP]; rows * cols.div_ceil(STRIP)] }
    }

    /// Rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of a matrix of this size.
    pub const fn bytes(rows: usize, cols: usize) -> u64 {
        (rows * cols.div_ceil(STRIP) * STRIP * size_of::<f32>()) as u64
    }

    /// Some rows of the strip that begins at column `8 * strip`.
    #[inline(always)]
    pub(crate) fn strip(&self, strip: usize) -> &[StripRow] {
        &self.data[strip * self.rows..(strip + 1) * self.rows]
    }

    /// The strips, to be filled one by one.
    pub(crate) fn strips_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [StripRow]> {
        self.data.chunks_exact_mut(self.rows.max(1))
    }

    /// Some strips together.
    pub(crate) fn parts_mut(&mut self, strips: usize) -> impl Iterator<Item = &mut [StripRow]> {
        self.data.chunks_mut((self.rows * strips).max(1))
    }

    /// Sixteen columns from `first` on, a multiple of eight, as lanes; zeros where there are fewer.
    #[inline(always)]
    pub(crate) fn lanes(&self, first: usize) -> Vec<Column> {
        let mut lanes = vec![[0.0; LANES]; self.rows];
        for half in 0..LANES / STRIP {
            let strip = first / STRIP + half;
            if strip * STRIP < self.cols {
                for (to, from) in lanes.iter_mut().zip(self.strip(strip)) {
                    to[half * STRIP..(half + 1) * STRIP].copy_from_slice(from);
                }
            }
        }
        lanes
    }

    /// An element.
    #[inline(always)]
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.data[col / STRIP * self.rows + row][col % STRIP]
    }
}

/// Recorded inputs of a layer: rows as long as those of its weights, brought to the order of its groups and rotated as its weights are, each
/// multiplied by the root of its share. So `H = x' x`.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Number of rows.
    pub rows: usize,
    /// Length of a row.
    pub row: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

impl Inputs {
    /// For a layer of this geometry, with its rotation.
    pub const fn new(geometry: Geometry) -> Self {
        Self { rows: 0, row: geometry.row(), data: Vec::new() }
    }

    /// Appends rows as they were recorded, each counting as `share` of the whole. Whether they are within f32 when rotated.
    pub fn push(&mut self, level: Level, rows: &[f32], geometry: Geometry, rotation: Option<usize>, share: f64) -> bool {
        let at = self.data.len();
        self.data.resize(at + rows.len(), 0.0);
        let (to, factor) = (&mut self.data[at..], share.sqrt() as f32);
        at_level!(level, arrange, (rows: &[f32], to: &mut [f32], geometry: Geometry, rotation: Option<usize>, factor: f32) -> ());
        self.rows += rows.len() / self.row.max(1);
        first_non_finite(&self.data[at..]).is_none()
    }

    /// Rows that were not rotated, rotated as a layer of this geometry is; `None` where they leave f32.
    pub fn rotated(&self, level: Level, geometry: Geometry, rotation: Option<usize>) -> Option<Self> {
        let mut stored = vec![0.0; self.data.len()];
        for (from, to) in self.data.chunks_exact(self.row).zip(stored.chunks_exact_mut(self.row)) {
            for (tap, from) in from.chunks_exact(geometry.channels).enumerate() {
                to.iter_mut().skip(tap).step_by(geometry.taps).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        let mut rotated = Self::new(geometry);
        rotated.push(level, &stored, geometry, rotation, 1.0).then_some(rotated)
    }

    /// `x` in strips: a row for each recorded one.
    pub fn packed(&self) -> Packed {
        let mut packed = Packed::zeros(self.rows, self.row);
        for (s, strip) in packed.strips_mut().enumerate() {
            let cols = s * STRIP..self.row.min((s + 1) * STRIP);
            for (to, from) in strip.iter_mut().zip(self.data.chunks_exact(self.row)) {
                to[..cols.len()].copy_from_slice(&from[cols.clone()]);
            }
        }
        packed
    }

    /// `x'` in strips: a row for each column of the layer.
    pub fn transposed(&self) -> Packed {
        let mut packed = Packed::zeros(self.row, self.rows);
        for (strip, rows) in packed.strips_mut().zip(self.data.chunks(STRIP * self.row)) {
            for (i, row) in rows.chunks_exact(self.row).enumerate() {
                strip.iter_mut().zip(row).for_each(|(to, &from)| to[i] = from);
            }
        }
        packed
    }
}

/// Rotates rows as they stand in the file, scales them, and brings them to (tap, channel).
#[inline(always)]
fn arrange(rows: &[f32], to: &mut [f32], g: Geometry, rotation: Option<usize>, factor: f32) {
    let mut turned = Vec::new();
    for (from, to) in rows.chunks_exact(g.row()).zip(to.chunks_exact_mut(g.row())) {
        turned.clear();
        turned.extend_from_slice(from);
        if let Some(block) = rotation {
            rotate(&mut turned, block);
        }
        for (channel, taps) in turned.chunks_exact(g.taps).enumerate() {
            for (tap, value) in taps.iter().enumerate() {
                to[tap * g.channels + channel] = value * factor;
            }
        }
    }
}
