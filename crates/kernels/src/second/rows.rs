//! Rows of a layer encoded under the second moments of its inputs.

use super::compensate::Ordered;
use super::factor::Factor;
use super::factored::Factored;
use super::moments::Moments;
use super::packed::{Inputs, Packed, STRIP};
use super::panel::{Coding, Errors, Grid, Panel, losses, squares};
use super::product::{Sums, gather};
use super::sweep::sweep;
use crate::lanes::LANES;
use crate::level::{Level, at_level};
use crate::row::{RowCodec, RowFlags, Scratch};
use aq_core::{BitWidth, Geometry, Method};
use std::ops::Range;

/// Panels that share what is loaded of a matrix.
const PANELS: usize = 4;
/// Sweeps where there was no compensation before them.
const SWEEPS_ALONE: usize = 2;
/// Sweeps in factored form: two more gain 0.1 dB (`algorithms.md` section 7).
const SWEEPS_FACTORED: usize = 2;

/// What is known of a layer's inputs, ready to encode its rows.
#[derive(Debug, Clone)]
pub enum Second {
    /// All of it.
    Full(Box<Full>),
    /// Rows that span them.
    Factored(Box<Factored>),
}

/// The moments, and their factor.
#[derive(Debug, Clone)]
pub struct Full {
    moments: Moments,
    ordered: Option<Ordered>,
    /// `x'`, where rows are fewer than columns: errors cost less by them.
    inputs: Option<Packed>,
}

impl Second {
    /// From damped moments. `factor`: of them, in this order (`None`: as columns stand); without one there are sweeps only.
    pub fn full(moments: Moments, factor: Option<&Factor>, order: Option<Vec<usize>>, inputs: &Inputs) -> Self {
        let ordered = factor.map(|f| Ordered { upper: f.upper(), order });
        let inputs = (inputs.rows < inputs.row).then(|| inputs.transposed());
        Self::Full(Box::new(Full { moments, ordered, inputs }))
    }

    /// Bytes that the full form takes while it is made, and afterwards.
    pub const fn full_bytes(rows: usize, row: usize) -> [u64; 2] {
        // Both matrices, the factorisation, and the inputs as they came, in strips, and the other way around.
        let held = 2 * Packed::bytes(row, row) + Packed::bytes(rows, row);
        [held + Factor::bytes(row) + 2 * Packed::bytes(rows, row), held]
    }

    /// Bytes that the factored form of some rows takes while it is made from `all`, and afterwards.
    pub const fn factored_bytes(all: usize, rank: usize, row: usize) -> [u64; 2] {
        // Both orders, what columns of a strip have in common, and the rows themselves; the inputs twice where they are spanned.
        let held = 3 * Packed::bytes(rank, row) + Packed::bytes(STRIP, row);
        [held + 3 * Packed::bytes(all, row), held]
    }

    /// Rounds all weights of some panels, which hold the codes that a search found without these inputs.
    #[inline(always)]
    fn round(&self, panels: &mut [Panel], codec: &RowCodec, coding: &Coding, sums: &mut Vec<Vec<Sums>>) -> Vec<Errors> {
        let sweeps = if codec.tuning().sweep { SWEEPS_FACTORED } else { 0 };
        match self {
            Self::Factored(factored) => factored.sweep(panels, codec.geometry().group, coding, sweeps, sums),
            Self::Full(full) => {
                let before = full.errors(panels, sums);
                full.round(panels, codec, coding, sums);
                before.into_iter().zip(full.errors(panels, sums)).map(|(before, after)| Errors { before, after }).collect()
            }
        }
    }
}

impl Full {
    #[inline(always)]
    fn errors(&self, panels: &[Panel], sums: &mut Vec<Vec<Sums>>) -> Vec<[f64; LANES]> {
        match &self.inputs {
            Some(inputs) => squares(inputs, panels, sums),
            None => self.moments.errors(panels, sums),
        }
    }

    #[inline(always)]
    fn round(&self, panels: &mut [Panel], codec: &RowCodec, coding: &Coding, sums: &mut Vec<Vec<Sums>>) {
        let (n, tuning) = (codec.geometry().group, codec.tuning());
        panels.iter_mut().for_each(|p| p.grids.clear());
        let sweeps = if let Some(ordered) = &self.ordered {
            ordered.compensate(panels, n, coding, self.moments.weights(), sums);
            usize::from(tuning.sweep)
        } else {
            for panel in panels.iter_mut() {
                panel.search_all(n, coding, Some(self.moments.weights()));
                panel.round_all(n, coding);
            }
            SWEEPS_ALONE
        };
        let refit = tuning.refit && coding.bits != BitWidth::Eight;
        for _ in 0..sweeps {
            sweep(self.moments.matrix(), panels, n, coding, refit, sums);
        }
    }
}

impl Moments {
    /// `d H d'` without the damping.
    #[inline(always)]
    fn errors(&self, panels: &[Panel], sums: &mut Vec<Vec<Sums>>) -> Vec<[f64; LANES]> {
        let h = self.matrix();
        gather(h, &(0..h.cols()), &losses(panels), sums);
        let of = |(panel, sums): (&Panel, &Vec<Sums>)| {
            let mut total = [0.0; LANES];
            for ((d, hd), &added) in panel.d.iter().zip(sums.iter().flatten()).zip(self.added()) {
                for j in 0..LANES {
                    total[j] += f64::from(d[j]) * (f64::from(hd[j]) - f64::from(added) * f64::from(d[j]));
                }
            }
            total
        };
        panels.iter().zip(sums.iter()).map(of).collect()
    }
}

/// Where rows go, as [`RowCodec::encode`] has it.
#[derive(Debug)]
pub struct Encoded<'a> {
    /// Codes in source order.
    pub codes: &'a mut [u8],
    /// Scales, (group, tap) in each row.
    pub scales: &'a mut [f32],
    /// Zeros, in the same order.
    pub zeros: &'a mut [f32],
}

impl RowCodec {
    /// [`RowCodec::encode`] under the second moments of the layer's inputs, which were arranged and rotated as this codec's rows are. A row
    /// that loses less in the output when it is encoded without them is.
    ///
    /// # Panics
    /// As [`RowCodec::encode`] does.
    pub fn encode_second(&self, level: Level, second: &Second, rows: &[f32], scratch: &mut Scratch, out: Encoded<'_>) -> RowFlags {
        let Encoded { codes, scales, zeros } = out;
        let plain = self.with_method(Method::Mse);
        let (width, grids) = (self.geometry().row(), self.geometry().scales_per_row());
        let batch = PANELS * LANES;
        let mut flags = RowFlags::default();
        let parts = rows.chunks(batch * width).zip(codes.chunks_mut(batch * width));
        for ((rows, codes), (scales, zeros)) in parts.zip(scales.chunks_mut(batch * grids).zip(zeros.chunks_mut(batch * grids))) {
            let plainly = plain.encode_at(level, rows, scratch, codes, scales, zeros);
            if plainly.rotated_too_large {
                flags.join(plainly);
                continue;
            }
            let (codec, mut encoded) = (self, Encoded { codes, scales, zeros });
            let out = &mut encoded;
            at_level!(level, encode_batch, (
                codec: &RowCodec,
                second: &Second,
                rows: &[f32],
                scratch: &mut Scratch,
                out: &mut Encoded<'_>,
            ) -> ());
            for (scales, zeros) in encoded.scales.chunks_exact(grids).zip(encoded.zeros.chunks_exact(grids)) {
                flags.join(self.flags(scales, zeros));
            }
        }
        flags
    }
}

/// Encodes the rows of some panels, which `out` holds encoded plainly.
#[inline(always)]
fn encode_batch(codec: &RowCodec, second: &Second, rows: &[f32], scratch: &mut Scratch, out: &mut Encoded<'_>) {
    let (g, coding) = (codec.geometry(), Coding::of(codec.scheme()));
    let (width, grids) = (g.row(), g.scales_per_row());
    let mut panels: Vec<Panel> = Vec::new();
    for rows in codec.canonical(rows, scratch).chunks(LANES * width) {
        let mut panel = Panel::default();
        panel.fill(rows, width);
        panels.push(panel);
    }
    let plainly: Vec<f32> = out.codes.iter().map(|&c| f32::from(c)).collect();
    let codes = codec.arranged(&plainly, scratch).chunks(LANES * width);
    for ((panel, codes), (scales, zeros)) in
        panels.iter_mut().zip(codes).zip(out.scales.chunks(LANES * grids).zip(out.zeros.chunks(LANES * grids)))
    {
        panel.grids.extend((0..grids).map(|i| grid(g, i, scales, zeros)));
        panel.adopt(codes, g.group, &coding);
    }
    let errors = second.round(&mut panels, codec, &coding, &mut Vec::new());
    for (p, (panel, errors)) in panels.iter().zip(&errors).enumerate() {
        let [ww, dd] = panel.energies();
        let codes: Vec<[u8; LANES]> = panel.codes.iter().map(|c| c.map(crate::round::byte)).collect();
        for lane in 0..LANES.min(rows.len() / width - p * LANES) {
            // A row whose weights are lost altogether fits the recorded inputs and no others.
            if errors.after[lane] < errors.before[lane] && dd[lane] < ww[lane] {
                emit(codec, panel, &codes, [lane, p * LANES + lane], out);
            }
        }
    }
}

/// The grid that stands at a place in the order of a panel, of at most sixteen rows.
#[inline(always)]
fn grid(g: Geometry, i: usize, scales: &[f32], zeros: &[f32]) -> Grid {
    let at = stored(g, i);
    let (mut scale, mut zero) = ([1.0; LANES], [0.0; LANES]);
    for (lane, (scales, zeros)) in scales.chunks_exact(g.scales_per_row()).zip(zeros.chunks_exact(g.scales_per_row())).enumerate() {
        (scale[lane], zero[lane]) = (scales[at], zeros[at]);
    }
    Grid::new(scale, zero)
}

/// From (tap, group) to (group, tap).
const fn stored(g: Geometry, i: usize) -> usize {
    let (tap, group) = (i / g.groups(), i % g.groups());
    group * g.taps + tap
}

/// Writes one row of a panel over what stands in its place.
#[inline(always)]
fn emit(codec: &RowCodec, panel: &Panel, codes: &[[u8; LANES]], [lane, row]: [usize; 2], out: &mut Encoded<'_>) {
    let g = codec.geometry();
    for (tap, codes) in codes.chunks_exact(g.channels).enumerate() {
        let places = out.codes[part(row, g.row())].iter_mut().skip(tap).step_by(g.taps);
        places.zip(codes).for_each(|(to, code)| *to = code[lane]);
    }
    let place = part(row, g.scales_per_row());
    let (scales, zeros) = (&mut out.scales[place.clone()], &mut out.zeros[place]);
    for (i, grid) in panel.grids.iter().enumerate() {
        (scales[stored(g, i)], zeros[stored(g, i)]) = (grid.scale[lane], grid.zero[lane]);
    }
}

const fn part(index: usize, len: usize) -> Range<usize> {
    index * len..(index + 1) * len
}
