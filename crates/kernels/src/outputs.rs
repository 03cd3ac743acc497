//! Outputs of a layer: a row of weights and the same row decoded, each times rows of inputs.

use crate::lanes::{Acc, LANES, fold};
use crate::level::{Level, at_level};

/// Rows of inputs that are taken together.
pub const TOGETHER: usize = 4;

/// `w x` and `v x` for each row `x`: what is loaded serves several sums. Element `i` goes to lane `i % 16`; lanes are folded by halves.
/// Whatever rows stand beside it, the sums of one are the same.
pub fn dots(level: Level, w: &[f32], v: &[f32], x: &[&[f32]], mut found: impl FnMut(f32, f32)) {
    for x in x.chunks(TOGETHER) {
        if let Ok(x) = <[&[f32]; TOGETHER]>::try_from(x) {
            let sums = at_level!(level, lanes::<TOGETHER>, (w: &[f32], v: &[f32], x: [&[f32]; TOGETHER]) -> [[Acc; 2]; TOGETHER]);
            sums.iter().for_each(|[a, b]| found(fold(a), fold(b)));
            continue;
        }
        for &x in x {
            let [[a, b]] = at_level!(level, one, (w: &[f32], v: &[f32], x: &[f32]) -> [[Acc; 2]; 1]);
            found(fold(&a), fold(&b));
        }
    }
}

#[inline(always)]
fn one(w: &[f32], v: &[f32], x: &[f32]) -> [[Acc; 2]; 1] {
    lanes(w, v, [x])
}

/// The rest of a row is padded with zeros, which leave every sum as it is; an index that depends on the row's length would keep the lanes out
/// of vector registers. Folded outside: merged into the loop, the tree of sums makes the compiler take every lane by itself.
#[inline(always)]
fn lanes<const N: usize>(w: &[f32], v: &[f32], x: [&[f32]; N]) -> [[Acc; 2]; N] {
    let mut sums = [[[0.0; LANES]; 2]; N];
    let ((w, w_rest), (v, v_rest)) = (w.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    let (whole, x_rest) = (x.map(|x| &x.as_chunks::<LANES>().0[..w.len()]), x.map(|x| x.as_chunks::<LANES>().1));
    for (i, (w, v)) in w.iter().zip(v).enumerate() {
        for ([a, b], x) in sums.iter_mut().zip(&whole) {
            *a = step(*a, w, &x[i]);
            *b = step(*b, v, &x[i]);
        }
    }
    if !w_rest.is_empty() {
        for ([a, b], x) in sums.iter_mut().zip(&x_rest) {
            let x = padded(x);
            *a = step(*a, &padded(w_rest), &x);
            *b = step(*b, &padded(v_rest), &x);
        }
    }
    sums
}

#[inline(always)]
fn step(mut acc: Acc, w: &[f32; LANES], x: &[f32; LANES]) -> Acc {
    for j in 0..LANES {
        acc[j] += w[j] * x[j];
    }
    acc
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
            let of = |level: Level, x: &[&[f32]]| {
                let mut list = Vec::new();
                dots(level, &w, &v, x, |y, v| list.push((y, v)));
                list
            };
            let wanted = of(Level::GENERIC, &[&x]);
            assert!((f64::from(wanted[0].0) - w.iter().zip(&x).map(|(a, b)| f64::from(a * b)).sum::<f64>()).abs() < 1e-4);
            let other = row(n, 5);
            for level in Level::available() {
                assert_eq!(of(level, &[&x]), wanted, "{}", level.name());
                let many = of(level, &[&other, &x, &other, &other, &w, &x]);
                assert_eq!((many.len(), many[1], many[5]), (6, wanted[0], wanted[0]), "{}", level.name());
            }
        }
    }
}
