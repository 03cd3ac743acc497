//! A few rows that span most of what many rows do: `F = Q' X` with an orthonormal `Q` near the leading left singular vectors of `X`.
//!
//! Subspace iteration (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4) from a fixed start: what a computed time path needs,
//! whose inputs lie near a curve. `F' F` is then `X' X` less a tail, of which the part that was kept is told.

use super::packed::{Inputs, Packed, STRIP};
use super::product::{Sums, gather};
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::tile::Column;

/// Times that the start is drawn towards the leading directions.
const ROUNDS: usize = 2;

/// Rows and how much they hold.
#[derive(Debug, Clone)]
pub struct Span {
    /// The rows, `F`.
    pub rows: Inputs,
    /// Their energy as a part of that of the inputs.
    pub kept: f64,
}

impl Span {
    /// At most `rank` rows, a multiple of sixteen; the inputs themselves where they are not more.
    pub fn of(level: Level, inputs: &Inputs, rank: usize) -> Self {
        if inputs.rows <= rank {
            return Self { rows: inputs.clone(), kept: 1.0 };
        }
        let rows = at_level!(level, rows, (inputs: &Inputs, rank: usize) -> Inputs);
        let energy = |x: &Inputs| x.data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let (part, whole) = (energy(&rows), energy(inputs));
        Self { rows, kept: if whole > 0.0 { part / whole } else { 1.0 } }
    }
}

#[inline(always)]
fn rows(inputs: &Inputs, rank: usize) -> Inputs {
    let (x, xt) = (inputs.packed(), inputs.transposed());
    let mut basis = orthonormal(times(&xt, &start(inputs.row, rank), rank), rank);
    for _ in 0..ROUNDS {
        let right = orthonormal(times(&x, &basis, rank), rank);
        basis = orthonormal(times(&xt, &right, rank), rank);
    }
    // A row for each column of the basis.
    let projected = times(&x, &basis, rank);
    let mut data = vec![0.0; rank * inputs.row];
    for (column, values) in projected.chunks_exact(rank).enumerate() {
        for (i, &v) in values.iter().enumerate() {
            data[i * inputs.row + column] = v;
        }
    }
    Inputs { rows: rank, row: inputs.row, data }
}

/// Numbers in -1..1 without a pattern, the same ones every time.
fn start(rows: usize, rank: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..rows * rank).map(|_| next()).collect()
}

/// `a' b`, `b` and the result row after row of `rank` values.
#[inline(always)]
fn times(a: &Packed, b: &[f32], rank: usize) -> Vec<f32> {
    let lanes = |first: usize| {
        let lanes = |row: &[f32]| {
            let mut column: Column = [0.0; LANES];
            let row = &row[first..rank.min(first + LANES)];
            column[..row.len()].copy_from_slice(row);
            column
        };
        b.chunks_exact(rank).map(lanes).collect::<Vec<Column>>()
    };
    let rights: Vec<Vec<Column>> = (0..rank).step_by(LANES).map(lanes).collect();
    let mut sums: Vec<Vec<Sums>> = Vec::new();
    gather(a, &(0..a.cols()), &rights.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut sums);
    let mut out = vec![0.0; a.cols() * rank];
    for (i, row) in out.chunks_exact_mut(rank).enumerate() {
        for (to, sums) in row.chunks_mut(LANES).zip(&sums) {
            to.copy_from_slice(&sums[i / STRIP][i % STRIP][..to.len()]);
        }
    }
    out
}

/// Columns made orthonormal in f64, twice over (once leaves what rounding left); a column that the others span becomes zeros.
fn orthonormal(values: Vec<f32>, rank: usize) -> Vec<f32> {
    let n = values.len() / rank;
    let mut columns: Vec<Vec<f64>> = (0..rank).map(|i| (0..n).map(|r| f64::from(values[r * rank + i])).collect()).collect();
    for i in 0..rank {
        let (done, rest) = columns.split_at_mut(i);
        let column = &mut rest[0];
        let before = norm(column);
        for _ in 0..2 {
            for other in done.iter() {
                let along = dot(column, other);
                column.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let after = norm(column);
        let factor = if after > 1e-10 * before && before > 0.0 { 1.0 / after } else { 0.0 };
        column.iter_mut().for_each(|v| *v *= factor);
    }
    let mut out = values;
    for (i, column) in columns.iter().enumerate() {
        column.iter().enumerate().for_each(|(r, &v)| out[r * rank + i] = v as f32);
    }
    out
}

fn norm(column: &[f64]) -> f64 {
    dot(column, column).sqrt()
}

/// Summed in eight places, so that no sum waits for the one before it.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; STRIP];
    for (a, b) in a.chunks(STRIP).zip(b.chunks(STRIP)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::gauss;

    #[test]
    fn rows_near_a_plane_are_spanned_by_few_at_every_level() {
        let (n, row, inner) = (150, 90, 20);
        let (a, b, noise) = (gauss(n, inner, 1), gauss(inner, row, 2), gauss(n, row, 3));
        let mut x = Inputs { rows: n, row, data: vec![0.0; n * row] };
        for r in 0..n {
            for c in 0..row {
                x.data[r * row + c] = (0..inner).map(|i| a[r * inner + i] * b[i * row + c]).sum::<f32>() + 1e-5 * noise[r * row + c];
            }
        }
        let span = Span::of(Level::GENERIC, &x, 32);
        assert_eq!((span.rows.rows, span.rows.row), (32, row));
        assert!(span.kept > 1.0 - 1e-5 && span.kept < 1.0 + 1e-5, "{}", span.kept);
        for c in [0, 7, 89] {
            for d in [0, 7, 50] {
                let of = |x: &Inputs| x.data.chunks_exact(row).map(|r| f64::from(r[c]) * f64::from(r[d])).sum::<f64>();
                assert!(
                    (of(&x) - of(&span.rows)).abs()
                        < 1e-5
                            * (0..row).map(|i| x.data.chunks_exact(row).map(|r| f64::from(r[i]).powi(2)).sum::<f64>()).fold(0.0, f64::max),
                    "{c} {d}"
                );
            }
        }
        for level in Level::available() {
            assert_eq!(Span::of(level, &x, 32).rows.data, span.rows.data, "{}", level.name());
        }
        assert_eq!(Span::of(Level::GENERIC, &x, 160).rows.data, x.data);
    }
}
