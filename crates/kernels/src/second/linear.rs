//! A linear layer on many rows, by the one product.

use super::packed::{Packed, STRIP};
use super::product::{Sums, gather};
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::tile::{Column, Tile};

/// `x w' + bias`, row after row. `transposed`: the weights, a row for each input channel.
///
/// # Panics
/// If lengths disagree: the caller's invariant.
pub fn linear(level: Level, x: &[f32], transposed: &Packed, bias: &[f32], out: &mut [f32]) {
    assert_eq!(bias.len(), transposed.cols());
    assert_eq!(x.len() * transposed.cols(), out.len() * transposed.rows());
    at_level!(level, rows, (x: &[f32], transposed: &Packed, bias: &[f32], out: &mut [f32]) -> ());
}

#[inline(always)]
fn rows(x: &[f32], transposed: &Packed, bias: &[f32], out: &mut [f32]) {
    const PANELS: usize = 4;
    let (from, to) = (transposed.rows(), transposed.cols());
    let mut sums: Vec<Vec<Sums>> = Vec::new();
    for (x, out) in x.chunks(PANELS * LANES * from).zip(out.chunks_mut(PANELS * LANES * to)) {
        let lanes: Vec<Tile> = x
            .chunks(LANES * from)
            .map(|rows| {
                let mut tile = Tile::default();
                tile.fill(rows, from);
                tile
            })
            .collect();
        let rights: Vec<&[Column]> = lanes.iter().map(|t| t.w.as_slice()).collect();
        gather(transposed, &(0..to), &rights, &mut sums);
        for (out, sums) in out.chunks_mut(LANES * to).zip(&sums) {
            for (lane, out) in out.chunks_exact_mut(to).enumerate() {
                for (i, (o, b)) in out.iter_mut().zip(bias).enumerate() {
                    *o = sums[i / STRIP][i % STRIP][lane] + b;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::Inputs;
    use super::*;
    use aq_testkit::gauss;

    #[test]
    fn every_level_multiplies_as_a_loop_does() {
        for (n, from, to) in [(1, 5, 3), (70, 33, 20), (16, 300, 9)] {
            let (x, w, bias) = (gauss(n, from, 1), gauss(to, from, 2), gauss(1, to, 3));
            let packed = Inputs { rows: to, row: from, data: w.clone() }.transposed();
            for level in Level::available() {
                let mut out = vec![0.0; n * to];
                linear(level, &x, &packed, &bias, &mut out);
                for (i, got) in out.iter().enumerate() {
                    let (x, w) = (&x[i / to * from..][..from], &w[i % to * from..][..from]);
                    let wanted = x.iter().zip(w).fold(0.0f32, |sum, (x, w)| w.mul_add(*x, sum)) + bias[i % to];
                    assert_eq!(got.to_bits(), wanted.to_bits(), "{}", level.name());
                }
            }
        }
    }
}
