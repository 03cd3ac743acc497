//! Outputs of a layer: a row of weights and the same row decoded, each times one row of inputs.

use crate::lanes::{Acc, LANES, fold};
use crate::level::{Level, at_level};

/// `w x` and `v x` at once: `x` is loaded once for both. Element `i` goes to lane `i % 16`; lanes are folded by halves.
pub fn dots(level: Level, w: &[f32], v: &[f32], x: &[f32]) -> (f32, f32) {
    let [a, b] = at_level!(level, lanes, (w: &[f32], v: &[f32], x: &[f32]) -> [Acc; 2]);
    (fold(&a), fold(&b))
}

/// The rest of a row is padded with zeros, which leave every sum as it is; an index that depends on the row's length would keep the lanes out
/// of vector registers. Folded outside: merged into the loop, the tree of sums makes the compiler take every lane by itself.
#[inline(always)]
fn lanes(w: &[f32], v: &[f32], x: &[f32]) -> [Acc; 2] {
    let (mut a, mut b): (Acc, Acc) = ([0.0; LANES], [0.0; LANES]);
    let ((w, w_rest), (v, v_rest), (x, x_rest)) = (w.as_chunks::<LANES>(), v.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    for ((w, v), x) in w.iter().zip(v).zip(x) {
        step(&mut a, w, x);
        step(&mut b, v, x);
    }
    if !x_rest.is_empty() {
        let x = padded(x_rest);
        step(&mut a, &padded(w_rest), &x);
        step(&mut b, &padded(v_rest), &x);
    }
    [a, b]
}

#[inline(always)]
fn step(acc: &mut Acc, w: &[f32; LANES], x: &[f32; LANES]) {
    for j in 0..LANES {
        acc[j] += w[j] * x[j];
    }
}

#[inline(always)]
fn padded(rest: &[f32]) -> [f32; LANES] {
    let mut block = [0.0; LANES];
    block[..rest.len()].copy_from_slice(rest);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_gives_the_same_bits() {
        let row = |n: usize, k: u32| (0..n).map(|i| ((i as u32 * 37 + k) % 101) as f32 * 0.013 - 0.6).collect::<Vec<f32>>();
        for n in [1, 15, 16, 17, 64, 333] {
            let (w, v, x) = (row(n, 1), row(n, 2), row(n, 3));
            let wanted = dots(Level::GENERIC, &w, &v, &x);
            assert!((f64::from(wanted.0) - w.iter().zip(&x).map(|(a, b)| f64::from(a * b)).sum::<f64>()).abs() < 1e-4);
            for level in Level::available() {
                assert_eq!(dots(level, &w, &v, &x), wanted, "{}", level.name());
            }
        }
    }
}
