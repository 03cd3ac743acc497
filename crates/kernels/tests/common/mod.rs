//! Rows and schemes that both suites go through.

use aq_core::{BitWidth, Method, ScaleDtype, Scheme, ZeroKind, rotation_for};

/// Numbers without a dependency: the top bits of a linear congruential generator.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / 16_777_216.0 - 0.5) * 2.0
    }

    /// Bell-shaped, with a few far outside.
    pub fn weights(&mut self, n: usize, size: f32) -> Vec<f32> {
        let mut one = |i: usize| {
            let bell: f32 = (0..4).map(|_| self.next()).sum();
            bell * size * if i.is_multiple_of(97) { 20.0 } else { 1.0 }
        };
        (0..n).map(&mut one).collect()
    }
}

/// Rows of `n` values: random ones of many magnitudes, and those that break careless kernels.
pub fn rows(n: usize) -> Vec<Vec<f32>> {
    let mut random = Lcg(n as u64 + 1);
    let mut rows: Vec<Vec<f32>> = [1.0, 0.02, 1e-6, 1e-30, 1e20, 3e36].iter().map(|&size| random.weights(n, size)).collect();
    rows.push(vec![0.0; n]);
    rows.push(vec![-0.0; n]);
    rows.push((0..n).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect());
    rows.push(vec![0.5; n]);
    rows.push((0..n).map(|i| if i == n / 2 { 1.0 } else { 0.0 }).collect());
    rows.push((0..n).map(|i| f32::from_bits(i as u32 * 7919 + 1)).collect()); // subnormal
    rows.push((0..n).map(|i| if i % 3 == 0 { f32::MAX } else { f32::MIN }).collect());
    rows.push((0..n).map(|i| i as f32).collect());
    rows.push((0..n).map(|i| (i % 4) as f32 - 1.5).collect()); // exact at 2 bits, ties everywhere
    rows
}

/// Shapes whose groups are whole blocks, part of one, one element, and odd; with and without kernel positions.
pub const SHAPES: [&[usize]; 9] = [&[1, 64], &[1, 256], &[1, 1], &[1, 63], &[1, 65], &[1, 97], &[1, 640], &[1, 32, 3, 3], &[1, 5, 2]];

/// Each scheme as it is, and on rotated rows where the channels allow it.
pub fn rotations(channels: usize, scheme: Scheme) -> impl Iterator<Item = Scheme> {
    let rotated = rotation_for(channels, 256).map(|block| scheme.with_rotation(Some(block)));
    std::iter::once(scheme).chain(rotated)
}

pub fn schemes() -> Vec<Scheme> {
    let mut list = Vec::new();
    for bits in BitWidth::ALL {
        for zero in [ZeroKind::Float, ZeroKind::None, ZeroKind::Integer] {
            for method in [Method::Rtn, Method::Mse] {
                for (group_size, scale_dtype) in [(32, ScaleDtype::F32), (64, ScaleDtype::for_bits(bits))] {
                    list.push(Scheme { bits, group_size, zero, method, scale_dtype, rotation: None, blocks: None });
                }
            }
        }
    }
    list
}
