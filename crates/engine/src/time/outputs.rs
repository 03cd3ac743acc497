//! What decoded weights change in a layer's output, on recorded inputs: sums over the outputs `y = x w` of the original and `v = x w^` of the
//! decoded weights.
//!
//! Order, which makes the sums the same for any number of threads and any split into blocks of whole weight rows: a product of two rows is
//! taken in f32 over 16 lanes as in the kernels (element `i` in lane `i % 16`, folded by halves); the sums of one weight row at one step are
//! taken in f64 over the calibration rows in their order; a total is the sum over weight rows in their order.

use aq_kernels::Level;
use aq_kernels::outputs::{TOGETHER, dots};

/// Bytes of calibration rows that are taken together: they stay in the second cache while the weight rows pass by.
const BLOCK_BYTES: usize = 1 << 18;

/// Recorded inputs of a layer at one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepInputs {
    /// Place on the axis.
    pub step: i32,
    /// Importance of the step.
    pub weight: f32,
    /// Number of rows.
    pub rows: usize,
    /// Row after row.
    pub data: Vec<f32>,
}

/// Sums over outputs of the original, `y`, and of the decoded weights, `v`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OutputSums {
    /// `sum y^2`
    pub yy: f64,
    /// `sum v^2`
    pub vv: f64,
    /// `sum y v`
    pub yv: f64,
    /// `sum (y - v)^2`
    pub ee: f64,
    /// `sum (y - v)`
    pub shift: f64,
}

impl OutputSums {
    fn push(&mut self, y: f32, v: f32) {
        let (y, v) = (f64::from(y), f64::from(v));
        let d = y - v;
        self.yy += y * y;
        self.vv += v * v;
        self.yv += y * v;
        self.ee += d * d;
        self.shift += d;
    }

    /// Adds other sums.
    pub fn add(&mut self, next: &Self) {
        self.yy += next.yy;
        self.vv += next.vv;
        self.yv += next.yv;
        self.ee += next.ee;
        self.shift += next.shift;
    }

    /// Cosine of the angle; exactly 1 between equal outputs, 0 between zero outputs and others, and 0 where an output left the range of
    /// floats: what cannot be compared is not similar.
    pub fn cosine(&self) -> f64 {
        if self.ee == 0.0 {
            1.0
        } else if self.yy == 0.0 || self.vv == 0.0 || !self.is_finite() {
            0.0
        } else {
            (self.yv / (self.yy.sqrt() * self.vv.sqrt())).clamp(-1.0, 1.0)
        }
    }

    /// 10 log10(signal / error), within 200.
    pub fn sqnr_db(&self) -> f64 {
        if self.ee == 0.0 {
            200.0
        } else if self.yy == 0.0 || !self.is_finite() {
            -200.0
        } else {
            (10.0 * (self.yy / self.ee).log10()).clamp(-200.0, 200.0)
        }
    }

    const fn is_finite(&self) -> bool {
        self.yy.is_finite() && self.vv.is_finite() && self.yv.is_finite() && self.ee.is_finite()
    }
}

/// Adds the sums of a block of weight rows to those of every step, row after row. `row`: values of a row of weights and of inputs.
pub fn accumulate(inputs: &[StepInputs], original: &[f32], decoded: &[f32], row: usize, sums: &mut [OutputSums]) {
    for of_row in row_sums(inputs, original, decoded, row).chunks(inputs.len().max(1)) {
        for (sum, next) in sums.iter_mut().zip(of_row) {
            sum.add(next);
        }
    }
}

/// The sums of every weight row of a block at every step: of the first row at all steps, then of the second. For blocks that are computed
/// side by side and added up in row order.
///
/// # Panics
/// If lengths disagree: the caller's invariant.
pub fn row_sums(inputs: &[StepInputs], original: &[f32], decoded: &[f32], row: usize) -> Vec<OutputSums> {
    assert!(row > 0 && original.len() == decoded.len() && original.len().is_multiple_of(row));
    let steps = inputs.len();
    let mut sums = vec![OutputSums::default(); original.len() / row * steps];
    let level = Level::current();
    let block = (BLOCK_BYTES / (row * size_of::<f32>())).max(TOGETHER) / TOGETHER * TOGETHER;
    let mut rows = Vec::new();
    for (s, input) in inputs.iter().enumerate() {
        assert_eq!(input.data.len(), input.rows * row);
        rows.extend(input.data.chunks_exact(row).map(|x| (s, x)));
    }
    for rows in rows.chunks(block) {
        let (steps_of, x): (Vec<usize>, Vec<&[f32]>) = rows.iter().copied().unzip();
        for ((w, v), sums) in original.chunks_exact(row).zip(decoded.chunks_exact(row)).zip(sums.chunks_exact_mut(steps)) {
            let mut step = steps_of.iter();
            dots(level, w, v, &x, |y, v| step.next().into_iter().for_each(|&s| sums[s].push(y, v)));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::{SplitMix, gauss};

    fn inputs(row: usize, rows: &[usize], seed: u64) -> Vec<StepInputs> {
        let of =
            |(i, &rows): (usize, &usize)| StepInputs { step: 100 * i as i32, weight: 1.0, rows, data: gauss(rows, row, seed + i as u64) };
        rows.iter().enumerate().map(of).collect()
    }

    fn noisy(w: &[f32], seed: u64) -> Vec<f32> {
        let mut random = SplitMix::new(seed);
        w.iter().map(|w| w + (0.003 * random.normal()) as f32).collect()
    }

    fn naive(input: &StepInputs, w: &[f32], v: &[f32], row: usize) -> OutputSums {
        let mut sums = OutputSums::default();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for (w, v) in w.chunks(row).zip(v.chunks(row)) {
            for x in input.data.chunks(row) {
                let (y, v) = (dot(x, w), dot(x, v));
                sums.add(&OutputSums { yy: y * y, vv: v * v, yv: y * v, ee: (y - v) * (y - v), shift: y - v });
            }
        }
        sums
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-4 * b.abs()
    }

    #[test]
    fn sums_are_those_of_double_precision() {
        for (out, row) in [(5, 1), (3, 15), (7, 16), (4, 129), (2, 5000)] {
            let (inputs, w) = (inputs(row, &[3, 0, 9, 1], 1), gauss(out, row, 99));
            let v = noisy(&w, 3);
            let mut sums = vec![OutputSums::default(); inputs.len()];
            accumulate(&inputs, &w, &v, row, &mut sums);
            for (input, sum) in inputs.iter().zip(&sums) {
                let want = naive(input, &w, &v, row);
                assert!(near(sum.yy, want.yy) && near(sum.vv, want.vv) && near(sum.ee, want.ee), "{out} {row}: {sum:?} {want:?}");
                assert!((sum.cosine() - want.cosine()).abs() < 1e-6 && (sum.sqnr_db() - want.sqnr_db()).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn blocks_of_rows_do_not_matter() {
        let (row, out) = (200, 24);
        let (inputs, w) = (inputs(row, &[40, 7], 5), gauss(out, row, 6));
        let v = noisy(&w, 7);
        let mut whole = vec![OutputSums::default(); 2];
        accumulate(&inputs, &w, &v, row, &mut whole);
        for rows in [1, 5, 23] {
            let mut cut = vec![OutputSums::default(); 2];
            for (w, v) in w.chunks(rows * row).zip(v.chunks(rows * row)) {
                accumulate(&inputs, w, v, row, &mut cut);
            }
            assert_eq!(cut, whole);
            // Side by side, then added in row order.
            let blocks: Vec<Vec<OutputSums>> =
                w.chunks(rows * row).zip(v.chunks(rows * row)).map(|(w, v)| row_sums(&inputs, w, v, row)).collect();
            let mut added = vec![OutputSums::default(); 2];
            blocks.concat().chunks(2).for_each(|of_row| added.iter_mut().zip(of_row).for_each(|(a, b)| a.add(b)));
            assert_eq!(added, whole);
        }
    }

    #[test]
    fn edges_of_the_figures() {
        let of = |w: &[f32], v: &[f32], x: &[f32]| {
            let mut sums = [OutputSums::default()];
            accumulate(&[StepInputs { step: 0, weight: 1.0, rows: 1, data: x.into() }], w, v, x.len(), &mut sums);
            (sums[0].cosine(), sums[0].sqnr_db())
        };
        let odd = [0.1, 0.7, -0.3];
        assert_eq!(of(&odd, &odd, &[0.3, 0.9, 11.0]), (1.0, 200.0));
        assert_eq!(of(&[0.0; 3], &[0.0; 3], &odd), (1.0, 200.0));
        assert_eq!(of(&[0.0; 3], &odd, &odd), (0.0, -200.0));
        assert_eq!(of(&odd, &[0.0; 3], &odd), (0.0, 0.0));
        assert_eq!(of(&[f32::MAX; 3], &odd, &[f32::MAX; 3]), (0.0, -200.0));
        assert_eq!(of(&[1.0], &[-1.0], &[2.0]).0, -1.0);
        // No rows: nothing differs.
        assert_eq!(OutputSums::default().cosine(), 1.0);
    }

    #[test]
    #[ignore = "a measurement: run it in release"]
    fn speed() {
        let (inputs, w) = (inputs(512, &[48; 10], 1), gauss(512, 512, 2));
        let v = noisy(&w, 3);
        let mut sums = vec![OutputSums::default(); 10];
        for _ in 0..5 {
            let start = std::time::Instant::now();
            accumulate(&inputs, &w, &v, 512, &mut sums);
            println!("512x512, 10 steps of 48 rows: {:?}, cosine {}", start.elapsed(), sums[0].cosine());
        }
    }
}
