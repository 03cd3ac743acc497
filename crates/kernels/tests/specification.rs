//! The specification of rows, written once more with nothing but loops over the elements of one group: every level gives these bits.

#![expect(clippy::float_cmp, reason = "bits are compared")]

mod common;

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::{Level, RowCodec, Scratch, Tuning};
use common::{Lcg, SHAPES, rotations, rows, schemes};
use half::{bf16, f16};

const LEAST_SCALE: f32 = 7.888_609e-31; // 2^-100

fn stored(x: f32, dtype: ScaleDtype) -> f32 {
    match dtype {
        ScaleDtype::Bf16 => bf16::from_f32(x).to_f32(),
        ScaleDtype::F16 => f16::from_f32(x).to_f32(),
        ScaleDtype::F32 => x,
    }
}

/// A zero as stored: of the stored type, or a whole number of steps.
fn zero_of(zero: f32, scale: f32, scheme: Scheme) -> f32 {
    match scheme.zero {
        ZeroKind::Integer => 0.0 - code(-zero * (1.0 / scale), scheme.bits.max_code() as f32) * scale,
        _ => stored(zero, scheme.scale_dtype),
    }
}

fn code(t: f32, max: f32) -> f32 {
    if t > 0.0 { if t < max { t.round_ties_even() } else { max } } else { 0.0 }
}

/// A sum in the order of the elements, from 0.
fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    terms.fold(0.0, |sum, term| sum + term)
}

/// A group around its weighted mean.
struct Group {
    w: Vec<f32>,
    h: Vec<f32>,
    mean: f32,
    s1: f32,
    sww: f32,
    lo: f32,
    hi: f32,
    scheme: Scheme,
}

#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    zero: f32,
    error: f32,
}

impl Group {
    fn new(w: &[f32], scheme: Scheme) -> Self {
        let weighted = scheme.bits == BitWidth::Two;
        let lo = w.iter().fold(f32::INFINITY, |m, &v| if v < m { v } else { m });
        let hi = w.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
        let n = w.len() as f32;
        let plain = sum(w.iter().copied()) / n;
        let (below, above) = ((lo - plain).abs(), (hi - plain).abs());
        let floor = 1e-3 * if above > below { above } else { below };
        let h: Vec<f32> = w.iter().map(|v| if weighted { (v - plain).abs() + floor } else { 1.0 }).collect();
        let s1 = if weighted { sum(h.iter().copied()) } else { n };
        let mean = if scheme.symmetric() { 0.0 } else { sum(h.iter().zip(w).map(|(h, w)| h * w)) / s1 };
        let w: Vec<f32> = w.iter().map(|v| v - mean).collect();
        let sww = sum(h.iter().zip(&w).map(|(h, w)| h * w * w));
        Self { w, h, mean, s1, sww, lo, hi, scheme }
    }

    fn max(&self) -> f32 {
        self.scheme.bits.max_code() as f32
    }

    fn middle(&self) -> f32 {
        f32::midpoint(self.max(), 1.0)
    }

    /// Codes around the middle one.
    fn codes(&self, scale: f32, zero: f32) -> Vec<f32> {
        let inverse = 1.0 / scale;
        let t = |w: f32| if self.scheme.symmetric() { w * inverse + self.middle() } else { (w - zero) * inverse };
        self.w.iter().map(|&w| code(t(w), self.max()) - self.middle()).collect()
    }

    fn fit(&self, scale: f32, zero: f32) -> Fit {
        let q = self.codes(scale, zero);
        let all = || self.w.iter().zip(&self.h).zip(&q);
        let sq = sum(all().map(|((_, h), q)| h * q));
        let sqq = sum(all().map(|((_, h), q)| h * q * q));
        let sqw = sum(all().map(|((w, h), q)| h * w * q));
        if self.scheme.symmetric() {
            let fitted = sqw / sqq;
            return if sqq > 0.0 && sqw > 0.0 {
                Fit { scale: fitted, zero: 0.0, error: self.sww - sqw * fitted }
            } else {
                Fit { scale, zero: 0.0, error: self.sww }
            };
        }
        let mean = sq / self.s1;
        let variance = sqq - sq * mean;
        if variance > 1e-12 * sqq && sqw > 0.0 {
            let fitted = sqw / variance;
            Fit { scale: fitted, zero: -fitted * (mean + self.middle()), error: self.sww - sqw * fitted }
        } else {
            Fit { scale, zero, error: self.sww }
        }
    }

    /// The candidate as stored enters the contest for `best`.
    fn rounded(&self, fit: Fit, best: &mut Fit) -> Fit {
        let dtype = self.scheme.scale_dtype;
        let scale = stored(fit.scale, dtype);
        let symmetric = self.scheme.symmetric();
        let moved = fit.zero * (scale / fit.scale) + self.mean;
        let zero_stored = if symmetric { 0.0 } else { zero_of(moved, scale, self.scheme) };
        if !(scale >= LEAST_SCALE && scale.is_finite() && zero_stored.is_finite()) {
            return fit;
        }
        let zero = zero_stored - self.mean;
        let q = self.codes(scale, zero);
        let d = |w: f32, q: f32| if symmetric { w - q * scale } else { w - (q + self.middle()) * scale - zero };
        let error = sum(self.w.iter().zip(&self.h).zip(&q).map(|((&w, h), &q)| h * d(w, q) * d(w, q)));
        if error < best.error {
            *best = Fit { scale, zero: zero_stored, error };
        }
        self.fit(scale, zero)
    }

    /// Scale, zero, and the moments for the gain.
    fn search(&self) -> (f32, f32, Option<[f32; 4]>) {
        let (max, symmetric) = (self.max(), self.scheme.symmetric());
        let (start_scale, start_zero) = min_max(self.lo, self.hi, self.scheme);
        let most = if -self.lo > self.hi { -self.lo } else { self.hi };
        let wide = if symmetric { most > 0.0 } else { self.hi - self.mean > self.lo - self.mean };
        if !(wide && self.s1.is_finite() && self.sww.is_finite() && self.sww > f32::MIN_POSITIVE) {
            let own = if self.sww.is_finite() { 0.0 } else { f32::INFINITY };
            return (start_scale, start_zero, Some([0.0, 0.0, own, 0.0]));
        }
        let zero = if symmetric { 0.0 } else { start_zero - self.mean };
        let mut fit = Fit { scale: start_scale, zero, error: f32::INFINITY };
        let mut best = fit;
        self.rounded(fit, &mut best);
        let (lo, hi) = (self.lo - self.mean, self.hi - self.mean);
        let clamped = |scale: f32| if scale > LEAST_SCALE { scale } else { LEAST_SCALE };
        let better = |fit: &mut Fit, other: Fit| {
            if other.error < fit.error {
                *fit = other;
            }
        };
        if symmetric {
            let clips: &[f32] = match self.scheme.bits {
                BitWidth::Two => &[0.3, 0.38, 0.46, 0.56, 0.72, 1.0],
                BitWidth::Four => &[0.66, 0.74, 0.82, 0.875, 0.94, 1.0],
                BitWidth::Eight => &[0.9922, 1.0],
            };
            for c in clips {
                better(&mut fit, self.fit(clamped(most * c / (self.scheme.bits.max_code() / 2) as f32), 0.0));
            }
        } else {
            let clips: &[f32] = match self.scheme.bits {
                BitWidth::Two => &[0.45, 0.63, 0.82, 1.0],
                BitWidth::Four => &[0.68, 0.76, 0.84, 0.92, 0.96, 1.0],
                BitWidth::Eight => &[1.0],
            };
            for c in clips {
                better(&mut fit, self.fit(clamped((hi - lo) * c / max), lo * c));
            }
            let first = fit;
            for shift in [-0.2, 0.2, -0.4, 0.4] {
                better(&mut fit, self.fit(clamped(first.scale), first.zero + shift * first.scale));
            }
        }
        for _ in 0..2 {
            fit = self.rounded(fit, &mut best);
        }
        (best.scale, best.zero, Some(self.moments(best.scale, if symmetric { 0.0 } else { best.zero - self.mean })))
    }

    /// Mean of values, mean of codes, energy, product with the decoded values.
    fn moments(&self, scale: f32, zero: f32) -> [f32; 4] {
        let q = self.codes(scale, zero);
        let n = self.w.len() as f32;
        let (sw, sq) = (sum(self.w.iter().copied()), sum(q.iter().copied()));
        let (ww, wq) = (sum(self.w.iter().map(|w| w * w)), sum(self.w.iter().zip(&q).map(|(w, q)| w * q)));
        if self.scheme.symmetric() {
            return [0.0, self.middle(), ww, wq * scale];
        }
        [self.mean + sw / n, sq / n + self.middle(), ww - sw * (sw / n), (wq - sw * (sq / n)) * scale]
    }
}

fn min_max(lo: f32, hi: f32, scheme: Scheme) -> (f32, f32) {
    let dtype = scheme.scale_dtype;
    if scheme.symmetric() {
        let scale = stored((if -lo > hi { -lo } else { hi }) / (scheme.bits.max_code() / 2) as f32, dtype);
        return (if scale >= LEAST_SCALE { scale } else { 1.0 }, 0.0);
    }
    if scheme.zero == ZeroKind::Integer {
        let (lo, hi) = (if lo < 0.0 { lo } else { 0.0 }, if hi > 0.0 { hi } else { 0.0 });
        let scale = stored((hi - lo) / scheme.bits.max_code() as f32, dtype);
        let scale = if scale >= LEAST_SCALE { scale } else { 1.0 };
        return (scale, zero_of(lo, scale, scheme));
    }
    let zero = stored(lo, dtype);
    let scale = stored((hi - zero) / scheme.bits.max_code() as f32, dtype);
    (if lo < hi && scale >= LEAST_SCALE { scale } else { 1.0 }, zero)
}

/// Codes, scales and zeros of a row, in (tap, group) order.
fn row(row: &[f32], g: Geometry, scheme: Scheme) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let by_tap: Vec<f32> = (0..g.taps).flat_map(|tap| (0..g.channels).map(move |c| row[c * g.taps + tap])).collect();
    let (mut codes, mut scales, mut zeros, mut moments) = (vec![], vec![], vec![], vec![]);
    for w in by_tap.chunks(g.group) {
        let group = Group::new(w, scheme);
        let (scale, zero, found) = match scheme.method {
            Method::Mse | Method::Gptq => group.search(),
            Method::Rtn => {
                let (scale, zero) = min_max(group.lo, group.hi, scheme);
                (scale, zero, None)
            }
        };
        let (inverse, middle) = (1.0 / scale, if scheme.symmetric() { group.middle() } else { 0.0 });
        codes.extend(w.iter().map(|w| code((w - zero) * inverse + middle, group.max())));
        scales.push(scale);
        zeros.push(zero);
        moments.extend(found);
    }
    if scheme.method == Method::Mse && scheme.bits != BitWidth::Eight {
        stretch(&moments, scheme, &mut scales, &mut zeros);
    }
    (codes, scales, zeros)
}

/// The row's gain.
fn stretch(moments: &[[f32; 4]], scheme: Scheme, scales: &mut [f32], zeros: &mut [f32]) {
    let own: f64 = moments.iter().map(|m| f64::from(m[2])).fold(0.0, |a, b| a + b);
    let cross: f64 = moments.iter().map(|m| f64::from(m[3])).fold(0.0, |a, b| a + b);
    if !(cross > 0.0 && own.is_finite() && cross.is_finite()) {
        return;
    }
    let k = (own / cross).clamp(0.5, 2.0) as f32;
    for (i, [mean_w, mean_q, own, _]) in moments.iter().enumerate() {
        let scale = stored(scales[i] * k, scheme.scale_dtype);
        let zero = if scheme.symmetric() { 0.0 } else { zero_of(mean_w - scale * mean_q, scale, scheme) };
        if *own > 0.0 && scale.is_finite() && zero.is_finite() && scale > 0.0 {
            (scales[i], zeros[i]) = (scale, zero);
        }
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a == 0.0 && b == 0.0)
}

#[test]
fn every_level_gives_the_bits_of_the_specification() {
    for shape in SHAPES {
        for (i, w) in rows(shape.iter().product()).iter().enumerate() {
            for scheme in schemes().into_iter().flat_map(|s| rotations(shape[1], s)) {
                let g = Geometry::of(shape, scheme.group_size).expect("a shape with rows");
                let turned = scheme.rotation.map_or(w.clone(), |n| rotated(w, n));
                if turned.iter().any(|v| !v.is_finite()) {
                    continue; // flagged, see below
                }
                let (codes, scales, zeros) = row(&turned, g, scheme);
                let n = g.scales_per_row();
                for level in Level::available() {
                    let (mut got, mut got_scales, mut got_zeros) = (vec![0; w.len()], vec![0.0; n], vec![0.0; n]);
                    let codec = RowCodec::new(g, scheme, Tuning::default());
                    codec.encode_at(level, w, &mut Scratch::default(), &mut got, &mut got_scales, &mut got_zeros);
                    let context = format!("{} {shape:?} row {i} {scheme:?}", level.name());
                    for (at, want) in codes.iter().enumerate() {
                        let (tap, channel) = (at / g.channels, at % g.channels);
                        assert_eq!(f32::from(got[channel * g.taps + tap]), *want, "code {at}: {context}");
                    }
                    for at in 0..n {
                        let (tap, group) = (at / g.groups(), at % g.groups());
                        let there = group * g.taps + tap;
                        assert!(same(got_scales[there], scales[at]), "scale {at} {} {}: {context}", got_scales[there], scales[at]);
                        assert!(same(got_zeros[there], zeros[at]), "zero {at} {} {}: {context}", got_zeros[there], zeros[at]);
                    }
                }
            }
        }
    }
}

/// Blocks of `n`, one cascade after another; each value is written as what it is made of.
fn rotated(row: &[f32], n: usize) -> Vec<f32> {
    let (mut v, base) = (row.to_vec(), if n.trailing_zeros().is_multiple_of(2) { 4 } else { 2 });
    let mut stride = 1;
    while stride < n {
        let at = |i: usize, digit: usize| v[i - i / stride % base * stride + digit * stride];
        v = (0..v.len())
            .map(|i| match (base, i / stride % base) {
                (2, 0) => at(i, 0) + at(i, 1),
                (2, _) => at(i, 0) - at(i, 1),
                (_, 0) => (at(i, 0) + at(i, 1)) + (at(i, 2) - at(i, 3)),
                (_, 1) => (at(i, 0) + at(i, 1)) - (at(i, 2) - at(i, 3)),
                (_, 2) => (at(i, 0) - at(i, 1)) + (at(i, 2) + at(i, 3)),
                (_, _) => (at(i, 2) + at(i, 3)) - (at(i, 0) - at(i, 1)),
            })
            .collect();
        stride *= base;
    }
    v.iter().map(|v| v * (1.0 / (n as f32).sqrt())).collect()
}

/// The matrix of the format: Kronecker powers as the loader multiplies them out. Decoding what an 8-bit scheme keeps turns back.
#[test]
fn the_rotation_is_the_matrix_of_the_format_and_is_undone_by_decoding() {
    for n in [4_usize, 8, 16, 32, 64, 128, 256] {
        let small: &[&[f64]] = if n.trailing_zeros() % 2 == 0 {
            &[&[1., 1., 1., -1.], &[1., 1., -1., 1.], &[1., -1., 1., 1.], &[-1., 1., 1., 1.]]
        } else {
            &[&[1., 1.], &[1., -1.]]
        };
        let base = small.len();
        let entry = |mut i: usize, mut j: usize| {
            let mut product = 1.0 / (n as f64).sqrt();
            for _ in 0..n.ilog(base) {
                product *= small[i % base][j % base];
                (i, j) = (i / base, j / base);
            }
            product
        };
        let w = Lcg(n as u64).weights(2 * n, 0.1);
        for (block, got) in w.chunks(n).zip(rotated(&w, n).chunks(n)) {
            for (i, got) in got.iter().enumerate() {
                let want: f64 = block.iter().enumerate().map(|(j, v)| f64::from(*v) * entry(i, j)).fold(0.0, |a, b| a + b);
                assert!((f64::from(*got) - want).abs() < 1e-5, "{n} {i}: {got} {want}");
            }
        }
        let scheme = Scheme {
            bits: BitWidth::Eight,
            group_size: 32,
            zero: ZeroKind::Float,
            method: Method::Mse,
            scale_dtype: ScaleDtype::F32,
            rotation: Some(n),
            blocks: None,
        };
        let g = Geometry::of(&[1, 2 * n], 32).expect("a shape with rows");
        let codec = RowCodec::new(g, scheme, Tuning::default());
        let (mut codes, mut back) = (vec![0; w.len()], vec![0.0; w.len()]);
        let (mut scales, mut zeros) = (vec![0.0; g.scales_per_row()], vec![0.0; g.scales_per_row()]);
        codec.encode(&w, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
        codec.decode(&codes, &scales, &zeros, &mut back);
        let off = w.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.05, "{n}: {off}");
    }
}

#[test]
fn rows_too_large_to_be_rotated_are_told_of() {
    let g = Geometry::of(&[1, 64], 64).expect("a shape with rows");
    let scheme = schemes()[0].with_rotation(Some(64));
    let flags = |value: f32| {
        let (mut codes, mut scales, mut zeros) = (vec![0; 64], vec![0.0], vec![0.0]);
        RowCodec::new(g, scheme, Tuning::default()).encode(&[value; 64], &mut Scratch::default(), &mut codes, &mut scales, &mut zeros)
    };
    assert!(flags(f32::MAX).rotated_too_large && !flags(1e30).rotated_too_large);
}
