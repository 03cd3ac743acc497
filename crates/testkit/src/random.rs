//! Weights that are the same in every run.

use std::f64::consts::TAU;

/// The `SplitMix64` generator.
#[derive(Debug, Clone)]
pub struct SplitMix {
    state: u64,
    spare: Option<f64>,
}

impl SplitMix {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    pub const fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// An integer below `n`.
    pub const fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let angle = TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// Student's t with 5 degrees of freedom.
    pub fn student5(&mut self) -> f64 {
        let chi: f64 = (0..5).map(|_| self.normal().powi(2)).sum();
        self.normal() / (chi / 5.0).sqrt()
    }
}

/// Independent normal weights, deviation 0.02: what a freshly initialised or very regular layer looks like.
pub fn gauss(rows: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    (0..rows * cols).map(|_| (0.02 * random.normal()) as f32).collect()
}

/// Student-t weights with log-normal row (0.5) and column (0.3) scales and 1 column in 1000 times 8: the outliers of trained layers,
/// exaggerated.
pub fn heavy(rows: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    let row_scales: Vec<f64> = (0..rows).map(|_| (0.5 * random.normal()).exp()).collect();
    let mut column_scales: Vec<f64> = (0..cols).map(|_| (0.3 * random.normal()).exp()).collect();
    let mut order: Vec<usize> = (0..cols).collect();
    for i in 0..(cols / 1000).max(1).min(cols) {
        order.swap(i, i + random.below(cols - i));
        column_scales[order[i]] *= 8.0;
    }
    let mut weights = Vec::with_capacity(rows * cols);
    for row in &row_scales {
        weights.extend(column_scales.iter().map(|column| (0.02 * random.student5() * row * column) as f32));
    }
    weights
}

/// Weights that all four float types hold exactly: seven bits and a sign over 4096.
pub fn exact(rows: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    (0..rows * cols).map(|_| (random.below(255) as f32 - 127.0) / 4096.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(w: &[f32]) -> f64 {
        (w.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / w.len() as f64).sqrt()
    }

    /// Fourth moment over the second squared: 3 for a normal variable.
    fn kurtosis(w: &[f32]) -> f64 {
        w.iter().map(|v| f64::from(*v).powi(4)).sum::<f64>() / w.len() as f64 / deviation(w).powi(4)
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn distributions_are_what_they_say() {
        let w = gauss(300, 400, 1);
        assert!((deviation(&w) - 0.02).abs() < 2e-4 && (kurtosis(&w) - 3.0).abs() < 0.1);
        assert_eq!(w, gauss(300, 400, 1));
        assert_ne!(w, gauss(300, 400, 2));
        let w = heavy(300, 400, 1);
        assert!(w.len() == 120_000 && w.iter().all(|v| v.is_finite()) && kurtosis(&w) > 20.0);
        let columns: Vec<f64> = (0..400).map(|c| deviation(&w.iter().skip(c).step_by(400).copied().collect::<Vec<_>>())).collect();
        let mut sorted = columns.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted[399] > 2.0 * sorted[398], "one column in 400 stands out: {:?}", &sorted[395..]);
    }
}
