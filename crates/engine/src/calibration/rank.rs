//! How many directions rows fill.

use aq_kernels::Level;
use aq_kernels::outputs::dots;

/// The part of the energy that directions must hold.
const ENERGY: f64 = 0.99;

/// So many rows, well chosen, span all but a hundredth of the energy of all: by pivoted Cholesky on their products (Higham 1990), which takes
/// the row that the ones before leave most of. `row`: values of a row.
pub fn rank(rows: &[f32], row: usize) -> usize {
    let list: Vec<&[f32]> = rows.chunks_exact(row.max(1)).collect();
    let (n, level) = (list.len(), Level::current());
    let mut products = vec![0.0; n * n];
    for (i, x) in list.iter().enumerate() {
        let mut j = 0;
        dots(level, x, x, &list[..=i], |y, _| {
            (products[i * n + j], products[j * n + i]) = (f64::from(y), f64::from(y));
            j += 1;
        });
    }
    let mut left: Vec<f64> = (0..n).map(|i| products[i * n + i]).collect();
    let limit = (1.0 - ENERGY) * left.iter().sum::<f64>();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    while left.iter().sum::<f64>() > limit {
        let Some(pivot) = (0..n).max_by(|&a, &b| left[a].total_cmp(&left[b])).filter(|&p| left[p] > 0.0) else { break };
        let root = left[pivot].sqrt();
        let of = |i: usize| (products[i * n + pivot] - columns.iter().map(|c| c[i] * c[pivot]).sum::<f64>()) / root;
        let column: Vec<f64> = (0..n).map(of).collect();
        for (left, c) in left.iter_mut().zip(&column) {
            *left = (*left - c * c).max(0.0);
        }
        left[pivot] = 0.0;
        columns.push(column);
    }
    columns.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::gauss;

    #[test]
    fn directions_are_counted_and_not_rows() {
        let (n, row, inner) = (60, 200, 7);
        let (a, b) = (gauss(n, inner, 1), gauss(inner, row, 2));
        let of = |r: usize, c: usize| (0..inner).map(|i| a[r * inner + i] * b[i * row + c]).sum::<f32>();
        let rows: Vec<f32> = (0..n * row).map(|i| of(i / row, i % row)).collect();
        assert!((5..=7).contains(&rank(&rows, row)), "{}", rank(&rows, row));
        let free = rank(&gauss(n, row, 3), row);
        assert!((55..=60).contains(&free), "{free}");
        assert_eq!(rank(&rows[..row].repeat(9), row), 1);
        assert_eq!((rank(&vec![0.0; 3 * row], row), rank(&[], row), rank(&[], 0)), (0, 0, 0));
    }
}
