//! One output row: from source order to codes, scales and zeros, and back.
//!
//! A row of a convolution stands in the file as (channel, tap); groups run along the channels, separately for each tap. Rows are therefore
//! brought to (tap, channel) first, where every group is contiguous. Codes go back to source order, scales to (group, tap): the orders in
//! which the SDNQ layout stores them. For linear layers both are the identity.

use crate::gain::{GroupMoments, moments, stretch};
use crate::group::{self, Params};
use crate::level::{Level, at_level};
use crate::round::{byte, code};
use crate::search::{self, GroupBuffers};
use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme};

/// Switches of the search, for the benchmarks that measure each alone. The defaults are what jobs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Restore the row's gain after the search (2 and 4 bits).
    pub gain: bool,
    /// Weight errors by magnitude at 2 bits.
    pub magnitude: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { gain: true, magnitude: true }
    }
}

/// What a row asks of its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowFlags {
    /// A scale or zero does not keep its precision in f16: the layer should store f32.
    pub needs_f32: bool,
    /// The group, in stored order, whose scale or zero no stored type holds.
    pub overflow: Option<usize>,
}

/// Below this a scale in f16 has fewer than seven bits left.
const LEAST_F16_SCALE: f32 = 1.0 / 262_144.0; // 2^-18

/// Buffers reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    canonical: Vec<f32>,
    codes: Vec<f32>,
    params: Vec<Params>,
    moments: Vec<GroupMoments>,
    group: GroupBuffers,
}

/// Encodes and decodes the rows of one layer.
#[derive(Debug, Clone, Copy)]
pub struct RowCodec {
    geometry: Geometry,
    scheme: Scheme,
    tuning: Tuning,
}

impl RowCodec {
    /// For a layer's geometry and scheme.
    pub const fn new(geometry: Geometry, scheme: Scheme, tuning: Tuning) -> Self {
        Self { geometry, scheme, tuning }
    }

    /// Encodes `row` (source order, finite). `codes` gets `row.len()` codes in source order, unsigned also where the scheme is symmetric;
    /// `scales` and `zeros` get [`Geometry::scales_per_row`] values each, in (group, tap) order, already rounded to their stored type.
    ///
    /// # Panics
    /// If a length disagrees with the geometry: the caller's invariant.
    pub fn encode(&self, row: &[f32], scratch: &mut Scratch, codes: &mut [u8], scales: &mut [f32], zeros: &mut [f32]) -> RowFlags {
        self.encode_at(Level::current(), row, scratch, codes, scales, zeros)
    }

    /// [`RowCodec::encode`] at a level.
    ///
    /// # Panics
    /// As [`RowCodec::encode`] does.
    pub fn encode_at(
        &self,
        level: Level,
        row: &[f32],
        scratch: &mut Scratch,
        codes: &mut [u8],
        scales: &mut [f32],
        zeros: &mut [f32],
    ) -> RowFlags {
        let g = self.geometry;
        assert!(row.len() == g.row() && codes.len() == g.row());
        assert!(scales.len() == g.scales_per_row() && zeros.len() == g.scales_per_row());
        let codec = self;
        at_level!(level, RowCodec::encode_row, (
            codec: &RowCodec,
            row: &[f32],
            scratch: &mut Scratch,
            codes: &mut [u8],
            scales: &mut [f32],
            zeros: &mut [f32],
        ) -> RowFlags)
    }

    #[inline(always)]
    fn encode_row(&self, row: &[f32], scratch: &mut Scratch, codes: &mut [u8], scales: &mut [f32], zeros: &mut [f32]) -> RowFlags {
        let g = self.geometry;
        self.arrange(row, &mut scratch.canonical);
        self.fit(scratch);
        self.assign(scratch);
        if self.scheme.method == Method::Mse && self.tuning.gain && self.scheme.bits != BitWidth::Eight {
            self.restore_gain(scratch);
        }
        if g.taps == 1 {
            for (to, from) in codes.iter_mut().zip(&scratch.codes) {
                *to = byte(*from);
            }
        } else {
            for (channel, codes) in codes.chunks_exact_mut(g.taps).enumerate() {
                for (tap, to) in codes.iter_mut().enumerate() {
                    *to = byte(scratch.codes[tap * g.channels + channel]);
                }
            }
        }
        let mut flags = RowFlags::default();
        for (i, p) in scratch.params.iter().enumerate() {
            let (tap, group) = (i / g.groups(), i % g.groups());
            let at = group * g.taps + tap;
            (scales[at], zeros[at]) = (p.scale, p.zero);
            self.note(*p, at, &mut flags);
        }
        flags
    }

    /// Decodes codes in source order with scales in (group, tap) order: the definition every layout shares.
    ///
    /// # Panics
    /// If a length disagrees with the geometry: the caller's invariant.
    pub fn decode(&self, codes: &[u8], scales: &[f32], zeros: &[f32], out: &mut [f32]) {
        self.decode_at(Level::current(), codes, scales, zeros, out);
    }

    /// [`RowCodec::decode`] at a level.
    ///
    /// # Panics
    /// As [`RowCodec::decode`] does.
    pub fn decode_at(&self, level: Level, codes: &[u8], scales: &[f32], zeros: &[f32], out: &mut [f32]) {
        let g = self.geometry;
        assert!(codes.len() == g.row() && out.len() == g.row() && scales.len() == g.scales_per_row());
        let codec = self;
        at_level!(level, RowCodec::decode_row, (codec: &RowCodec, codes: &[u8], scales: &[f32], zeros: &[f32], out: &mut [f32]) -> ());
    }

    #[inline(always)]
    fn decode_row(&self, codes: &[u8], scales: &[f32], zeros: &[f32], out: &mut [f32]) {
        let g = self.geometry;
        let middle = (1u32 << (self.scheme.bits.bits() - 1)) as f32;
        let symmetric = self.scheme.symmetric();
        if g.taps == 1 {
            for (group, (codes, out)) in codes.chunks_exact(g.group).zip(out.chunks_exact_mut(g.group)).enumerate() {
                let scale = scales[group];
                if symmetric {
                    codes.iter().zip(out).for_each(|(c, o)| *o = (f32::from(*c) - middle) * scale);
                } else {
                    let zero = zeros[group];
                    codes.iter().zip(out).for_each(|(c, o)| *o = f32::from(*c) * scale + zero);
                }
            }
            return;
        }
        let stride = g.group * g.taps;
        for (group, (codes, out)) in codes.chunks_exact(stride).zip(out.chunks_exact_mut(stride)).enumerate() {
            let base = group * g.taps;
            for (codes, out) in codes.chunks_exact(g.taps).zip(out.chunks_exact_mut(g.taps)) {
                for (tap, (c, o)) in codes.iter().zip(out).enumerate() {
                    let q = f32::from(*c);
                    *o = if symmetric { (q - middle) * scales[base + tap] } else { q * scales[base + tap] + zeros[base + tap] };
                }
            }
        }
    }

    #[inline(always)]
    fn arrange(&self, row: &[f32], canonical: &mut Vec<f32>) {
        canonical.clear();
        if self.geometry.taps == 1 {
            canonical.extend_from_slice(row);
            return;
        }
        let (channels, taps) = (self.geometry.channels, self.geometry.taps);
        canonical.resize(row.len(), 0.0);
        for (channel, row) in row.chunks_exact(taps).enumerate() {
            for (tap, value) in row.iter().enumerate() {
                canonical[tap * channels + channel] = *value;
            }
        }
    }

    #[inline(always)]
    fn fit(&self, s: &mut Scratch) {
        let Scheme { bits, method, scale_dtype, .. } = self.scheme;
        let by_magnitude = bits == BitWidth::Two && self.tuning.magnitude;
        s.params.clear();
        for w in s.canonical.chunks_exact(self.geometry.group) {
            s.params.push(match (method, self.scheme.symmetric()) {
                (Method::Rtn, false) => group::asymmetric(w, bits.max_code() as f32, scale_dtype),
                (Method::Rtn, true) => group::symmetric(w, (bits.max_code() / 2) as f32, scale_dtype),
                (Method::Mse, false) => search::asymmetric(w, bits, scale_dtype, by_magnitude, &mut s.group),
                (Method::Mse, true) => search::symmetric(w, bits, scale_dtype, by_magnitude, &mut s.group),
            });
        }
    }

    #[inline(always)]
    fn assign(&self, s: &mut Scratch) {
        let max = self.scheme.bits.max_code() as f32;
        let middle = if self.scheme.symmetric() { f32::midpoint(max, 1.0) } else { 0.0 };
        s.codes.clear();
        for (w, p) in s.canonical.chunks_exact(self.geometry.group).zip(&s.params) {
            let inverse = 1.0 / p.scale;
            s.codes.extend(w.iter().map(|w| code((w - p.zero) * inverse + middle, max)));
        }
    }

    #[inline(always)]
    fn restore_gain(&self, s: &mut Scratch) {
        let symmetric = self.scheme.symmetric();
        let middle = symmetric.then_some((1u32 << (self.scheme.bits.bits() - 1)) as f32);
        let n = self.geometry.group;
        s.moments.clear();
        for ((w, q), p) in s.canonical.chunks_exact(n).zip(s.codes.chunks_exact(n)).zip(&s.params) {
            s.moments.push(moments(w, q, *p, middle));
        }
        stretch(&s.moments, &mut s.params, symmetric, self.scheme.scale_dtype);
    }

    #[inline(always)]
    fn note(&self, p: Params, at: usize, flags: &mut RowFlags) {
        let beyond = !(p.scale.is_finite() && p.zero.is_finite());
        if self.scheme.scale_dtype == ScaleDtype::F16 {
            flags.needs_f32 |= beyond || p.scale < LEAST_F16_SCALE;
        } else if beyond && flags.overflow.is_none() {
            flags.overflow = Some(at);
        }
    }
}
