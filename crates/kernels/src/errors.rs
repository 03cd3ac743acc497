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
        at_level!(level, row_sums, (w: &[f32], v: &[f32]) -> RowSums)
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

#[inline(always)]
fn row_sums(w: &[f32], v: &[f32]) -> RowSums {
    let mut sums = [[0.0; LANES]; 4];
    let mut most = [0.0; LANES];
    let ((blocks_w, rest_w), (blocks_v, rest_v)) = (w.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    for (w, v) in blocks_w.iter().zip(blocks_v) {
        for j in 0..LANES {
            add(f64::from(w[j]), f64::from(v[j]), j, &mut sums, &mut most);
        }
    }
    for (j, (&w, &v)) in rest_w.iter().zip(rest_v).enumerate() {
        add(f64::from(w), f64::from(v), j, &mut sums, &mut most);
    }
    let [ww, vv, wv, ee] = sums;
    let max_abs = most.iter().fold(0.0, |m, &v| if v > m { v } else { m });
    RowSums { ww: fold(ww), vv: fold(vv), wv: fold(wv), ee: fold(ee), max_abs }
}

#[inline(always)]
fn add(w: f64, v: f64, j: usize, sums: &mut [[f64; LANES]; 4], most: &mut [f64; LANES]) {
    let d = w - v;
    sums[0][j] += w * w;
    sums[1][j] += v * v;
    sums[2][j] += w * v;
    sums[3][j] += d * d;
    most[j] = if d.abs() > most[j] { d.abs() } else { most[j] };
}

#[inline(always)]
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
