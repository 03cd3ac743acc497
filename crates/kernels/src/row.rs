//! Output rows: from source order to codes, scales and zeros, and back.
//!
//! A row of a convolution stands in the file as (channel, tap); groups run along the channels, separately for each tap. Rows are therefore
//! brought to (tap, channel) first, where every group is contiguous. Codes go back to source order, scales to (group, tap): the orders in
//! which the SDNQ layout stores them. For linear layers both are the identity. A rotation comes before all this and is undone after it: its
//! blocks run along the row as it stands in the file.

use crate::convert::first_non_finite;
use crate::gain::{GroupMoments, stretch};
use crate::group::{self, Params};
use crate::level::{Level, at_level};
use crate::rotate::rotate;
use crate::round::{byte, code};
use crate::search::{self, Outcome, Wanted, Weigh};
use crate::tile::{self, Tile};
use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};

/// Switches of the search, for the benchmarks that measure each alone. The defaults are what jobs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct Tuning {
    /// Restore the row's gain after the search (2 and 4 bits).
    pub gain: bool,
    /// Weight errors by magnitude at 2 bits.
    pub magnitude: bool,
    /// Sweep after compensating (`gptq`).
    pub sweep: bool,
    /// Refit scales and zeros when sweeping (2 and 4 bits).
    pub refit: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { gain: true, magnitude: true, sweep: true, refit: true }
    }
}

/// What a row asks of its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowFlags {
    /// A scale or zero does not keep its precision in f16: the layer should store f32.
    pub needs_f32: bool,
    /// The group, in stored order, whose scale or zero no stored type holds.
    pub overflow: Option<usize>,
    /// A rotated value is larger than f32 holds: the layer should not be rotated.
    pub rotated_too_large: bool,
}

impl RowFlags {
    /// What rows ask for together with the rows after them.
    pub fn join(&mut self, after: Self) {
        self.needs_f32 |= after.needs_f32;
        self.overflow = self.overflow.or(after.overflow);
        self.rotated_too_large |= after.rotated_too_large;
    }
}

/// Below this a scale in f16 has fewer than seven bits left.
const LEAST_F16_SCALE: f32 = 1.0 / 262_144.0; // 2^-18

/// Buffers reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    rotated: Vec<f32>,
    canonical: Vec<f32>,
    codes: Vec<f32>,
    params: Vec<Params>,
    moments: Vec<GroupMoments>,
    tile: Tile,
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

    pub(crate) const fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(crate) const fn tuning(&self) -> Tuning {
        self.tuning
    }

    pub(crate) fn with_method(&self, method: Method) -> Self {
        Self { scheme: Scheme { method, ..self.scheme }, ..*self }
    }

    /// Encodes `rows` (source order, finite), each as if it were alone. `codes` gets `rows.len()` codes in source order, unsigned also where
    /// the scheme is symmetric; `scales` and `zeros` get [`Geometry::scales_per_row`] values a row, in (group, tap) order, already rounded to
    /// their stored type.
    ///
    /// # Panics
    /// If a length disagrees with the geometry, or a rotation's block does not divide the channels: the caller's invariant.
    pub fn encode(&self, rows: &[f32], scratch: &mut Scratch, codes: &mut [u8], scales: &mut [f32], zeros: &mut [f32]) -> RowFlags {
        self.encode_at(Level::current(), rows, scratch, codes, scales, zeros)
    }

    /// [`RowCodec::encode`] at a level.
    ///
    /// # Panics
    /// As [`RowCodec::encode`] does.
    pub fn encode_at(
        &self,
        level: Level,
        rows: &[f32],
        scratch: &mut Scratch,
        codes: &mut [u8],
        scales: &mut [f32],
        zeros: &mut [f32],
    ) -> RowFlags {
        let g = self.geometry;
        assert!(self.scheme.rotation.is_none_or(|n| n.is_power_of_two() && g.channels.is_multiple_of(n)));
        let grids = rows.len() / g.row() * g.scales_per_row();
        assert!(rows.len().is_multiple_of(g.row()) && codes.len() == rows.len() && scales.len() == grids && zeros.len() == grids);
        let codec = self;
        at_level!(level, RowCodec::encode_rows, (
            codec: &RowCodec,
            rows: &[f32],
            scratch: &mut Scratch,
            codes: &mut [u8],
            scales: &mut [f32],
            zeros: &mut [f32],
        ) -> RowFlags)
    }

    /// Rows that are searched together: as few as fill whole tiles, and some of them, where that does not take much memory.
    const fn batch(&self) -> usize {
        const SOME: usize = 4 * tile::WIDTH;
        const MUCH: usize = 32 * tile::WIDTH;
        let groups = self.geometry.scales_per_row();
        let shared = groups.trailing_zeros();
        let whole = if shared >= tile::WIDTH.trailing_zeros() { 1 } else { tile::WIDTH >> shared };
        if whole * groups > MUCH { SOME.div_ceil(groups) } else { whole * SOME.div_ceil(whole * groups) }
    }

    #[inline(always)]
    fn encode_rows(&self, rows: &[f32], scratch: &mut Scratch, codes: &mut [u8], scales: &mut [f32], zeros: &mut [f32]) -> RowFlags {
        let g = self.geometry;
        let batch = self.batch();
        let mut flags = RowFlags::default();
        let rows = rows.chunks(batch * g.row()).zip(codes.chunks_mut(batch * g.row()));
        let grids = scales.chunks_mut(batch * g.scales_per_row()).zip(zeros.chunks_mut(batch * g.scales_per_row()));
        for ((rows, codes), (scales, zeros)) in rows.zip(grids) {
            self.canonical(rows, scratch);
            if self.scheme.rotation.is_some() {
                flags.rotated_too_large |= first_non_finite(&scratch.rotated).is_some();
            }
            self.fit(scratch);
            self.assign(scratch);
            if self.restores_gain() {
                self.restore_gain(scratch);
            }
            self.emit(scratch, codes);
            for (i, p) in scratch.params.iter().enumerate() {
                let (row, i) = (i / g.scales_per_row(), i % g.scales_per_row());
                let (tap, group) = (i / g.groups(), i % g.groups());
                let at = group * g.taps + tap;
                (scales[row * g.scales_per_row() + at], zeros[row * g.scales_per_row() + at]) = (p.scale, p.zero);
                self.note(*p, at, &mut flags);
            }
        }
        flags
    }

    /// Rows rotated, as the scheme says, and in (tap, channel) order.
    #[inline(always)]
    pub(crate) fn canonical<'s>(&self, rows: &[f32], scratch: &'s mut Scratch) -> &'s [f32] {
        let Some(block) = self.scheme.rotation else { return self.arranged(rows, scratch) };
        scratch.rotated.clear();
        scratch.rotated.extend_from_slice(rows);
        rotate(&mut scratch.rotated, block);
        self.arrange(&scratch.rotated, &mut scratch.canonical);
        &scratch.canonical
    }

    /// Rows in (tap, channel) order.
    #[inline(always)]
    pub(crate) fn arranged<'s>(&self, rows: &[f32], scratch: &'s mut Scratch) -> &'s [f32] {
        self.arrange(rows, &mut scratch.canonical);
        &scratch.canonical
    }

    /// What a row with these scales and zeros asks for.
    pub(crate) fn flags(&self, scales: &[f32], zeros: &[f32]) -> RowFlags {
        let mut flags = RowFlags::default();
        for (at, (&scale, &zero)) in scales.iter().zip(zeros).enumerate() {
            self.note(Params { scale, zero }, at, &mut flags);
        }
        flags
    }

    /// What rows ask for, of their scales and zeros as [`RowCodec::encode`] gives them: for those that were encoded elsewhere.
    pub fn flags_of(&self, scales: &[f32], zeros: &[f32]) -> RowFlags {
        let (g, mut flags) = (self.geometry, RowFlags::default());
        let rows = scales.chunks_exact(g.scales_per_row()).zip(zeros.chunks_exact(g.scales_per_row()));
        for (scales, zeros) in rows {
            // In the order in which groups are encoded, so that the same one is named.
            for at in (0..g.taps).flat_map(|tap| (0..g.groups()).map(move |group| group * g.taps + tap)) {
                self.note(Params { scale: scales[at], zero: zeros[at] }, at, &mut flags);
            }
        }
        flags
    }

    /// Codes in source order.
    #[inline(always)]
    fn emit(&self, scratch: &Scratch, codes: &mut [u8]) {
        let g = self.geometry;
        if g.taps == 1 {
            for (to, from) in codes.iter_mut().zip(&scratch.codes) {
                *to = byte(*from);
            }
            return;
        }
        for (from, codes) in scratch.codes.chunks_exact(g.row()).zip(codes.chunks_exact_mut(g.row())) {
            for (channel, codes) in codes.chunks_exact_mut(g.taps).enumerate() {
                for (tap, to) in codes.iter_mut().enumerate() {
                    *to = byte(from[tap * g.channels + channel]);
                }
            }
        }
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
        self.decode_codes(codes, scales, zeros, out);
        if let Some(block) = self.scheme.rotation {
            rotate(out, block);
        }
    }

    /// Values of codes, still rotated.
    #[inline(always)]
    pub(crate) fn decode_codes(&self, codes: &[u8], scales: &[f32], zeros: &[f32], out: &mut [f32]) {
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
    fn arrange(&self, rows: &[f32], canonical: &mut Vec<f32>) {
        canonical.clear();
        if self.geometry.taps == 1 {
            canonical.extend_from_slice(rows);
            return;
        }
        let (channels, taps) = (self.geometry.channels, self.geometry.taps);
        canonical.resize(rows.len(), 0.0);
        for (row, canonical) in rows.chunks_exact(self.geometry.row()).zip(canonical.chunks_exact_mut(self.geometry.row())) {
            for (channel, row) in row.chunks_exact(taps).enumerate() {
                for (tap, value) in row.iter().enumerate() {
                    canonical[tap * channels + channel] = *value;
                }
            }
        }
    }

    #[inline(always)]
    fn fit(&self, s: &mut Scratch) {
        let Scheme { bits, method, scale_dtype, .. } = self.scheme;
        let n = self.geometry.group;
        s.params.clear();
        match method {
            Method::Rtn => s.params.extend(s.canonical.chunks_exact(n).map(|w| {
                if self.scheme.symmetric() {
                    group::symmetric(w, (bits.max_code() / 2) as f32, scale_dtype)
                } else {
                    group::asymmetric(w, bits.max_code() as f32, scale_dtype, self.wanted().whole)
                }
            })),
            // Without moments at hand: what is compared with, and what remains where they help nothing.
            Method::Mse | Method::Gptq => {
                let weigh = if self.weighs_by_magnitude() { Weigh::ByMagnitude } else { Weigh::Alike };
                s.moments.clear();
                let moments = self.restores_gain().then_some(&mut s.moments);
                let mut out = Outcome { params: &mut s.params, moments };
                for groups in s.canonical.chunks(tile::WIDTH * n) {
                    s.tile.fill(groups, n);
                    search::search(&mut s.tile, groups.len() / n, self.wanted(), weigh, &mut out);
                }
            }
        }
    }

    #[inline(always)]
    fn assign(&self, s: &mut Scratch) {
        let max = self.scheme.bits.max_code() as f32;
        let middle = if self.scheme.symmetric() { f32::midpoint(max, 1.0) } else { 0.0 };
        s.codes.resize(s.canonical.len(), 0.0);
        let n = self.geometry.group;
        for ((w, codes), p) in s.canonical.chunks_exact(n).zip(s.codes.chunks_exact_mut(n)).zip(&s.params) {
            let inverse = 1.0 / p.scale;
            for (w, c) in w.iter().zip(codes) {
                *c = code((w - p.zero) * inverse + middle, max);
            }
        }
    }

    fn wanted(&self) -> Wanted {
        let Scheme { bits, scale_dtype, zero, .. } = self.scheme;
        Wanted { max: bits.max_code() as u8, dtype: scale_dtype, symmetric: self.scheme.symmetric(), whole: zero == ZeroKind::Integer }
    }

    /// Whether the search weighs errors by the magnitude of their weights.
    pub fn weighs_by_magnitude(&self) -> bool {
        self.scheme.bits == BitWidth::Two && self.tuning.magnitude
    }

    /// Whether the row's gain is restored after the search.
    pub fn restores_gain(&self) -> bool {
        self.scheme.method != Method::Rtn && self.tuning.gain && self.scheme.bits != BitWidth::Eight
    }

    #[inline(always)]
    fn restore_gain(&self, s: &mut Scratch) {
        let groups = self.geometry.scales_per_row();
        for (moments, params) in s.moments.chunks_exact(groups).zip(s.params.chunks_exact_mut(groups)) {
            stretch(moments, params, self.wanted());
        }
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
