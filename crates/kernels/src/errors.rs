//! Error sums of one row, in f64: element `i` in lane `i % 8`, folded 8 -> 4 -> 2 -> 1.

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
        let (mut ww, mut vv, mut wv, mut ee) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let mut max_abs = 0.0;
        for (w, v) in w.chunks(LANES).zip(v.chunks(LANES)) {
            for (j, (&w, &v)) in w.iter().zip(v).enumerate() {
                let (w, v) = (f64::from(w), f64::from(v));
                let d = w - v;
                ww[j] += w * w;
                vv[j] += v * v;
                wv[j] += w * v;
                ee[j] += d * d;
                max_abs = f64::max(max_abs, d.abs());
            }
        }
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
