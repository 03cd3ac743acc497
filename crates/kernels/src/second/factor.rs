//! `H = U D U'` with a unit upper triangular `U`, in f64: what a column inherits from the errors of those before it.
//!
//! A Cholesky factorisation from the last column to the first, by panels: the matrix is turned around, factored as `L L'` from its first
//! column on, and read back. Right-looking, so that every element is a sum in a stated order; a panel's own columns are factored one by one,
//! then subtracted from every later row with sixteen of its elements in registers.

use super::packed::{Packed, STRIP};
use crate::level::{Level, at_level};

/// Columns of a panel.
const PANEL: usize = 64;
/// Elements of a row that are worked on together, and rows.
const WIDTH: usize = 16;
const HEIGHT: usize = 4;

/// The factorisation on its way. Row `j` holds column `j` of `L` from element `j` on.
#[derive(Debug)]
pub struct Factor {
    n: usize,
    /// Length of a row: whole blocks of [`WIDTH`].
    stride: usize,
    data: Vec<f64>,
    /// The finished panel: blocks of [`WIDTH`] elements, each with all its columns.
    panel: Vec<[f64; WIDTH]>,
}

impl Factor {
    /// Bytes that a factorisation of this size takes.
    pub const fn bytes(n: usize) -> u64 {
        let stride = n.next_multiple_of(WIDTH);
        ((n + PANEL) * stride * size_of::<f64>()) as u64
    }

    /// Of a symmetric matrix, its columns taken in this order.
    pub fn new(matrix: &Packed, order: &[usize]) -> Self {
        let n = order.len();
        let stride = n.next_multiple_of(WIDTH);
        let mut data = vec![0.0; n * stride];
        for (row, &a) in data.chunks_exact_mut(stride).zip(order.iter().rev()) {
            for (to, &b) in row.iter_mut().zip(order.iter().rev()) {
                *to = f64::from(matrix.at(a, b));
            }
        }
        Self { n, stride, data, panel: Vec::new() }
    }

    /// First columns of the panels, each to be finished by [`Factor::panel`] and then taken off all later rows by [`Factor::later`].
    pub fn panels(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.n).step_by(PANEL)
    }

    /// Factors the columns of a panel. False where the matrix is not positive definite.
    pub fn panel(&mut self, level: Level, first: usize) -> bool {
        let (data, panel, stride, n) = (&mut self.data, &mut self.panel, self.stride, self.n);
        at_level!(level, factor_panel, (data: &mut [f64], panel: &mut Vec<[f64; WIDTH]>, stride: usize, n: usize, first: usize) -> bool)
    }

    /// The rows after a panel in parts, each with its first row; every part is for [`Remainder::subtract`], by any thread.
    pub fn later(&mut self, first: usize) -> (Remainder<'_>, Vec<(usize, &mut [f64])>) {
        let after = (first + PANEL).min(self.n);
        let rest = Remainder { panel: &self.panel, stride: self.stride, width: after - first, base: first / WIDTH };
        let rows = self.data[after * self.stride..].chunks_mut(4 * HEIGHT * self.stride);
        (rest, rows.enumerate().map(|(i, rows)| (after + i * 4 * HEIGHT, rows)).collect())
    }

    /// The unit upper triangular factor in f32, rows and columns in the order that was given.
    pub fn upper(&self) -> Packed {
        let (n, mut packed) = (self.n, Packed::zeros(self.n, self.n));
        for (s, strip) in packed.strips_mut().enumerate() {
            for (i, j) in (s * STRIP..n.min((s + 1) * STRIP)).enumerate() {
                // Column j of U is row n - 1 - j of what is stored, from its end to its diagonal.
                let row = &self.data[(n - 1 - j) * self.stride..][..n];
                let diagonal = row[n - 1 - j];
                for (r, out) in strip[..=j].iter_mut().enumerate() {
                    out[i] = (row[n - 1 - r] / diagonal) as f32;
                }
            }
        }
        packed
    }
}

/// A finished panel, to be taken off the rows after it.
#[derive(Debug, Clone, Copy)]
pub struct Remainder<'a> {
    panel: &'a [[f64; WIDTH]],
    stride: usize,
    /// Columns of the panel.
    width: usize,
    /// Blocks before its first one.
    base: usize,
}

impl Remainder<'_> {
    /// Takes the panel's products off some rows, the first of which is row `first` of the matrix.
    pub fn subtract(&self, level: Level, first: usize, rows: &mut [f64]) {
        let rest = self;
        at_level!(level, subtract, (rest: &Remainder<'_>, first: usize, rows: &mut [f64]) -> ());
    }

    /// A block of elements for all columns of the panel.
    #[inline(always)]
    fn block(&self, block: usize) -> &[[f64; WIDTH]] {
        &self.panel[(block - self.base) * self.width..][..self.width]
    }
}

#[inline(always)]
fn factor_panel(data: &mut [f64], panel: &mut Vec<[f64; WIDTH]>, stride: usize, n: usize, first: usize) -> bool {
    let end = n.min(first + PANEL);
    for k in first..end {
        let (done, later) = data[first * stride..end * stride].split_at_mut((k + 1 - first) * stride);
        let row = &mut done[(k - first) * stride..];
        let pivot = row[k];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        let inverse = 1.0 / pivot.sqrt();
        // Whole blocks, so that the loops have no ends; what stands before the diagonal is never read.
        let from = k / WIDTH * WIDTH;
        row[from..].iter_mut().for_each(|v| *v *= inverse);
        for (j, other) in (k + 1..end).zip(later.chunks_exact_mut(stride)) {
            let factor = -row[j];
            for (o, r) in other[from..].iter_mut().zip(&row[from..]) {
                *o = factor.mul_add(*r, *o);
            }
        }
    }
    let blocks = first / WIDTH..stride / WIDTH;
    panel.clear();
    for block in blocks {
        for row in data[first * stride..end * stride].chunks_exact(stride) {
            let mut values = [0.0; WIDTH];
            values.copy_from_slice(&row[block * WIDTH..(block + 1) * WIDTH]);
            panel.push(values);
        }
    }
    true
}

#[inline(always)]
fn subtract(rest: &Remainder<'_>, first: usize, rows: &mut [f64]) {
    for (i, rows) in rows.chunks_mut(HEIGHT * rest.stride).enumerate() {
        let first = first + i * HEIGHT;
        let count = rows.len() / rest.stride;
        let own = rest.block(first / WIDTH);
        for block in first / WIDTH..rest.stride / WIDTH {
            let mut acc = [[0.0; WIDTH]; HEIGHT];
            for (r, acc) in acc.iter_mut().enumerate().take(count) {
                acc.copy_from_slice(&rows[r * rest.stride + block * WIDTH..][..WIDTH]);
            }
            for (values, own) in rest.block(block).iter().zip(own) {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let factor = -own[(first % WIDTH + r) % WIDTH];
                    for j in 0..WIDTH {
                        acc[j] = factor.mul_add(values[j], acc[j]);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate().take(count) {
                rows[r * rest.stride + block * WIDTH..][..WIDTH].copy_from_slice(acc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::gauss;

    /// `x' x` of random rows, damped.
    fn matrix(n: usize, rows: usize) -> Packed {
        let x = gauss(rows, n, 5);
        let mut packed = Packed::zeros(n, n);
        for (s, strip) in packed.strips_mut().enumerate() {
            for (r, out) in strip.iter_mut().enumerate() {
                for (i, c) in (s * STRIP..n.min((s + 1) * STRIP)).enumerate() {
                    let sum: f32 = x.chunks_exact(n).map(|x| x[r] * x[c]).sum();
                    out[i] = sum + if r == c { 0.1 * rows as f32 } else { 0.0 };
                }
            }
        }
        packed
    }

    fn factored(level: Level, h: &Packed, order: &[usize]) -> Factor {
        let mut factor = Factor::new(h, order);
        for first in factor.panels() {
            assert!(factor.panel(level, first));
            let (rest, parts) = factor.later(first);
            parts.into_iter().for_each(|(row, part)| rest.subtract(level, row, part));
        }
        factor
    }

    #[test]
    fn the_factor_multiplied_out_is_the_matrix_at_every_level_and_order() {
        for n in [1, 7, 16, 64, 65, 130, 200] {
            let h = matrix(n, 40);
            for order in [
                (0..n).collect::<Vec<_>>(),
                (0..n).rev().collect(),
                (0..n).map(|i| (i * 3 + i / 7) % n).collect::<std::collections::BTreeSet<_>>().into_iter().rev().collect(),
            ] {
                if order.len() < n {
                    continue;
                }
                let factor = factored(Level::GENERIC, &h, &order);
                let u = factor.upper();
                let d = |j: usize| factor.data[(n - 1 - j) * factor.stride + n - 1 - j].powi(2);
                for a in 0..n {
                    for b in 0..n {
                        let sum: f64 = (a.max(b)..n).map(|j| f64::from(u.at(a, j)) * d(j) * f64::from(u.at(b, j))).sum();
                        let wanted = f64::from(h.at(order[a], order[b]));
                        assert!((sum - wanted).abs() < 1e-5 * f64::from(h.at(order[a], order[a])).max(1.0), "{n} {a} {b}: {sum} {wanted}");
                    }
                    assert!(a == 0 || u.at(a, a - 1) == 0.0);
                    assert_eq!(u.at(a, a), 1.0);
                }
                for level in Level::available() {
                    assert_eq!(factored(level, &h, &order).upper(), u, "{}", level.name());
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_told() {
        let mut factor = Factor::new(&Packed::zeros(20, 20), &(0..20).collect::<Vec<_>>());
        assert!(!factor.panel(Level::GENERIC, 0));
    }
}
