//! Error sums of one row, in f64: element `i` in lane `i % 8`, folded 8 -> 4 -> 2 -> 1.

use crate::level::{Level, at_level};

const LANES: usize = 8;

/// Sums over one row of original `w` and decoded `v`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowSums {
    /// `sum w^2`
    pub ww: f64,
    /// `sum v^2`
    pub vv: f64,
    /// `sum w v`
    pub wv: f64,
    /// `sum (w - v)^2`
    pub ee: f64,
    /// `max |w - v|`
    pub max_abs: f64,
}

impl RowSums {
    /// Of one row; the slices have equal length.
    pub fn of(w: &[f32], v: &[f32]) -> Self {
        Self::of_at(Level::current(), w, v)
    }

    /// [`RowSums::of`] at a level.
    pub fn of_at(level: Level, w: &[f32], v: &[f32]) -> Self {
        // Folded out here: next to the folds the compiler mixes the sums of the loop, with shuffles before and after.
        let [ww, vv, wv, ee, most] = at_level!(level, lane_sums, (w: &[f32], v: &[f32]) -> [Doubles; 5]);
        let max_abs = most.iter().fold(0.0, |m, &v| if v > m { v } else { m });
        Self { ww: fold(ww), vv: fold(vv), wv: fold(wv), ee: fold(ee), max_abs }
    }

    /// Adds the next row: rows are added one after another, so the total does not depend on how they were cut into blocks.
    pub fn add(&mut self, next: &Self) {
        self.ww += next.ww;
        self.vv += next.vv;
        self.wv += next.wv;
        self.ee += next.ee;
        self.max_abs = self.max_abs.max(next.max_abs);
    }

    /// Cosine of the angle; exactly 1 between equal rows (the quotient may miss it by a bit), 0 between a zero row and another.
    pub fn cosine(&self) -> f64 {
        if self.ee == 0.0 {
            1.0
        } else if self.ww == 0.0 || self.vv == 0.0 {
            0.0
        } else {
            (self.wv / (self.ww.sqrt() * self.vv.sqrt())).clamp(-1.0, 1.0)
        }
    }

    /// 10 log10(signal / error), at most 200.
    pub fn sqnr_db(&self) -> f64 {
        if self.ee == 0.0 {
            200.0
        } else if self.ww == 0.0 {
            -200.0
        } else {
            (10.0 * (self.ww / self.ee).log10()).clamp(-200.0, 200.0)
        }
    }
}

/// One number a lane.
type Doubles = [f64; LANES];

#[inline(always)]
fn lane_sums(w: &[f32], v: &[f32]) -> [Doubles; 5] {
    let [mut ww, mut vv, mut wv, mut ee, mut most] = [[0.0; LANES]; 5];
    let ((blocks_w, rest_w), (blocks_v, rest_v)) = (w.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    // What the last block lacks is filled with zeros, which leave every sum as it is.
    let mut rest = [[0.0; LANES]; 2];
    rest[0][..rest_w.len()].copy_from_slice(rest_w);
    rest[1][..rest_v.len()].copy_from_slice(rest_v);
    for (w, v) in blocks_w.iter().chain([&rest[0]]).zip(blocks_v.iter().chain([&rest[1]])) {
        let (a, b) = (doubles(*w), doubles(*v));
        let d = minus(a, b);
        ww = plus_product(ww, a, a);
        vv = plus_product(vv, b, b);
        wv = plus_product(wv, a, b);
        ee = plus_product(ee, d, d);
        most = larger(most, d);
    }
    [ww, vv, wv, ee, most]
}

#[inline(always)]
fn doubles(x: [f32; LANES]) -> Doubles {
    let mut y = [0.0; LANES];
    for j in 0..LANES {
        y[j] = f64::from(x[j]);
    }
    y
}

#[inline(always)]
fn minus(a: Doubles, b: Doubles) -> Doubles {
    let mut c = [0.0; LANES];
    for j in 0..LANES {
        c[j] = a[j] - b[j];
    }
    c
}

#[inline(always)]
fn plus_product(sum: Doubles, a: Doubles, b: Doubles) -> Doubles {
    let mut c = [0.0; LANES];
    for j in 0..LANES {
        c[j] = sum[j] + a[j] * b[j];
    }
    c
}

#[inline(always)]
fn larger(most: Doubles, d: Doubles) -> Doubles {
    let mut c = [0.0; LANES];
    for j in 0..LANES {
        c[j] = if d[j].abs() > most[j] { d[j].abs() } else { most[j] };
    }
    c
}

fn fold(mut a: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            a[j] += a[j + half];
        }
        half /= 2;
    }
    a[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_rows() {
        let s = RowSums::of(&[3.0, 4.0], &[3.0, 3.0]);
        assert_eq!((s.ww, s.ee, s.max_abs), (25.0, 1.0, 1.0));
        assert!((s.cosine() - 21.0 / (5.0 * 18f64.sqrt())).abs() < 1e-15);
        assert!((s.sqnr_db() - 10.0 * 25f64.log10()).abs() < 1e-12);
        assert_eq!(RowSums::of(&[0.0], &[0.0]).cosine(), 1.0);
        assert_eq!(RowSums::of(&[0.0], &[1.0]).cosine(), 0.0);
        assert_eq!(RowSums::of(&[1.0], &[1.0]).sqnr_db(), 200.0);
    }
}
