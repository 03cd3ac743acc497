//! The matrix of second moments, damped.

use super::packed::{Packed, STRIP, StripRow};
use super::product::{Sums, product};
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::tile::Column;

/// What is added to the diagonal, as a part of its mean. Below 1e-3 compensation leaves the range of codes and runs away, 0.1 costs a
/// decibel (`algorithms.md` section 7: measured on trained models).
pub const DAMPING: f64 = 0.01;
/// A diagonal below this part of the largest is that of a dead channel.
const DEAD: f64 = 1e-12;
/// Energy of a column at which moments end: a square of what is here must be within f32, too.
pub(crate) const MOST_ENERGY: f64 = 1e30;
/// Floor of the weights for the search, as a part of the largest.
const LEAST_WEIGHT: f32 = 1e-12;
/// Strips of a part: enough that what is laid out for them does not count.
const PART: usize = 16;

/// `H = x' x`, damped: the mean of the diagonal times [`DAMPING`] is added to it; where a channel is dead, its diagonal is that mean first.
#[derive(Debug, Clone)]
pub struct Moments {
    matrix: Packed,
    weights: Vec<f32>,
    added: Vec<f32>,
}

impl Moments {
    /// An empty matrix for rows of this length, to be filled strip by strip.
    pub fn new(row: usize) -> Self {
        Self { matrix: Packed::zeros(row, row), weights: Vec::new(), added: Vec::new() }
    }

    /// Its parts, each to be filled by [`Moments::fill`], by any thread.
    pub fn parts(&mut self) -> Vec<&mut [[f32; STRIP]]> {
        self.matrix.parts_mut(PART).collect()
    }

    /// Fills one of the parts. `inputs`: [`Inputs::packed`] of the recorded ones.
    pub fn fill(level: Level, inputs: &Packed, part: usize, out: &mut [[f32; STRIP]]) {
        at_level!(level, fill, (inputs: &Packed, part: usize, out: &mut [StripRow]) -> ());
    }

    /// Damps the full matrix. False where there is no energy in it, or too much for f32.
    pub fn damp(&mut self) -> bool {
        let n = self.matrix.rows();
        let diagonal: Vec<f32> = (0..n).map(|i| self.matrix.at(i, i)).collect();
        let (most, mean) = (
            diagonal.iter().fold(0.0f64, |m, &d| m.max(f64::from(d))),
            diagonal.iter().map(|&d| f64::from(d)).sum::<f64>() / n.max(1) as f64,
        );
        if !(mean > f64::from(f32::MIN_POSITIVE) && most < MOST_ENERGY) {
            return false;
        }
        self.weights = diagonal.iter().map(|&d| d.max(LEAST_WEIGHT * most as f32)).collect();
        let damped = |&d: &f32| (if f64::from(d) <= DEAD * most { mean } else { f64::from(d) } + DAMPING * mean) as f32;
        let damped: Vec<f32> = diagonal.iter().map(damped).collect();
        damped.iter().enumerate().for_each(|(i, &d)| self.set(i, d));
        self.added = damped.iter().zip(&diagonal).map(|(a, b)| a - b).collect();
        true
    }

    fn set(&mut self, i: usize, value: f32) {
        if let Some(strip) = self.matrix.strips_mut().nth(i / STRIP) {
            strip[i][i % STRIP] = value;
        }
    }

    /// The matrix.
    pub const fn matrix(&self) -> &Packed {
        &self.matrix
    }

    /// What errors of each column weigh by themselves: the diagonal before damping, kept from zero.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// What damping added to the diagonal.
    pub(crate) fn added(&self) -> &[f32] {
        &self.added
    }

    /// Columns by falling diagonal; of equal ones the first.
    pub fn falling(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.matrix.rows()).collect();
        order.sort_by(|&a, &b| self.matrix.at(b, b).total_cmp(&self.matrix.at(a, a)));
        order
    }
}

#[inline(always)]
fn fill(inputs: &Packed, part: usize, out: &mut [StripRow]) {
    let cols = inputs.cols();
    for first in (0..cols).step_by(LANES) {
        let b: Vec<Column> = inputs.lanes(first);
        let height = LANES.min(cols - first);
        for (s, strip) in out.chunks_exact_mut(cols).enumerate() {
            let mut sums: Sums = [[0.0; LANES]; STRIP];
            product(inputs.strip(part * PART + s), &b, &mut sums);
            for (j, out) in strip[first..first + height].iter_mut().enumerate() {
                *out = sums.map(|s| s[j]);
            }
        }
    }
}
