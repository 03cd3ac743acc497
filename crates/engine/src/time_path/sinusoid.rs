//! The embedding of a step: cosines and sines of frequencies that fall geometrically (`get_timestep_embedding` of diffusers, in f32 as there).

/// The longest period.
const MAX_PERIOD: f32 = 10_000.0;

/// How the sinusoid of a family is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sinusoid {
    /// Numbers of it.
    pub width: usize,
    /// Cosines first.
    pub flip: bool,
    /// What is taken off half the width when frequencies are spaced.
    pub shift: f32,
}

impl Sinusoid {
    /// Appends the embedding of a step.
    pub fn push(&self, step: f32, out: &mut Vec<f32>) {
        let half = self.width / 2;
        let angle = |i: usize| step * (-MAX_PERIOD.ln() * i as f32 / (half as f32 - self.shift)).exp();
        let (sines, cosines) = ((0..half).map(|i| angle(i).sin()), (0..half).map(|i| angle(i).cos()));
        if self.flip {
            out.extend(cosines.chain(sines));
        } else {
            out.extend(sines.chain(cosines));
        }
        out.extend((half * 2..self.width).map(|_| 0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let of = |width, flip, shift, step| {
            let mut out = Vec::new();
            Sinusoid { width, flip, shift }.push(step, &mut out);
            out
        };
        // Frequencies 1 and 1/100 with half the width 2, 1 and 1/10000 with a shift of 1.
        let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&of(4, true, 0.0, 3.0), &[3f32.cos(), 0.03f32.cos(), 3f32.sin(), 0.03f32.sin()]));
        assert!(near(&of(5, false, 1.0, 3.0), &[3f32.sin(), 0.0003f32.sin(), 3f32.cos(), 0.0003f32.cos(), 0.0]));
    }
}
