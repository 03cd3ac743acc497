//! Values to blocks: our own search in ggml's layouts.
//!
//! The groups of a block stand side by side in the lanes of a tile and are searched as everywhere else, scale and minimum free. Where a super
//! block stores them in a few bits of its own scales, they are rounded to those, with minima moved by single steps as long as the error falls, and the
//! two scales of the super block are fitted by least squares; errors are those of the stored values throughout.

use super::pack::{Block, pack};
use super::{BlockType, SUPER, signed};
use crate::group::Params;
use crate::level::{Level, at_level};
use crate::round::{byte, code};
use crate::search::{Outcome, Wanted, Weigh, search};
use crate::tile::{Column, Tile, WIDTH};
use aq_core::{Method, ScaleDtype};
use half::f16;

/// The largest half.
const MOST_HALF: f32 = 65504.0;
/// Rounds of moving single steps and fitting anew, where there are minima.
const ROUNDS: usize = 2;

/// How the groups of a type are coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    /// Weights of a group.
    pub group: usize,
    /// The largest code, from 0.
    pub max: u8,
    /// The code of 0, where there is no minimum.
    pub zero: Option<u8>,
    /// Least and largest of the numbers that a super block stores as scales of its groups; `None`: each group has a half of its own.
    pub scales: Option<[i32; 2]>,
    /// The largest stored minimum.
    pub most_min: i32,
}

/// The coding of a type.
pub(super) const fn coding(kind: BlockType) -> Coding {
    let (max, zero) = match kind {
        BlockType::Q8_0 => (254, Some(127)),
        _ => (((1 << kind.bits()) - 1) as u8, if kind.symmetric() { Some(1 << (kind.bits() - 1)) } else { None }),
    };
    let (scales, most_min) = match kind {
        BlockType::Q2K => (Some([0, 15]), 15),
        BlockType::Q3K => (Some([-32, 31]), 0),
        BlockType::Q4K | BlockType::Q5K => (Some([0, 63]), 63),
        BlockType::Q6K => (Some([-128, 127]), 0),
        _ => (None, 0),
    };
    Coding { group: kind.group(), max, zero, scales, most_min }
}

/// Encodes whole blocks: by search, or from minima and maxima alone ([`Method::Rtn`]). Returns the first block whose scale or minimum passes
/// what a half holds, and is the largest one instead.
///
/// # Panics
/// If lengths disagree: the caller's invariant.
pub fn encode(level: Level, kind: BlockType, method: Method, values: &[f32], out: &mut [u8]) -> Option<usize> {
    assert!(values.len().is_multiple_of(kind.weights()) && values.len() / kind.weights() * kind.bytes() == out.len());
    at_level!(level, encode_all, (kind: BlockType, method: Method, values: &[f32], out: &mut [u8]) -> Option<usize>)
}

#[inline(always)]
fn encode_all(kind: BlockType, method: Method, values: &[f32], out: &mut [u8]) -> Option<usize> {
    let coding = coding(kind);
    let mut work = Work { searches: method != Method::Rtn, ..Work::default() };
    let mut beyond = None;
    // Whole super blocks, as many as fill the lanes.
    let (weights, blocks) = (WIDTH * coding.group, WIDTH * coding.group / kind.weights());
    for (part, (values, out)) in values.chunks(weights).zip(out.chunks_mut(blocks * kind.bytes())).enumerate() {
        work.raw.fill(values, coding.group);
        let found = match coding.scales {
            None => work.alone(&coding),
            Some(range) => work.together(&coding, range, SUPER / coding.group),
        };
        work.code(values, &coding, &found);
        let groups = kind.weights() / coding.group;
        for (b, out) in out.chunks_exact_mut(kind.bytes()).enumerate() {
            let lanes = b * groups..(b + 1) * groups;
            let codes = &work.codes[b * kind.weights()..(b + 1) * kind.weights()];
            let (scale, min) = if coding.scales.is_some() { (found.d[b], found.dmin[b]) } else { (found.scale[b], found.offset[b]) };
            if scale.abs().max(min.abs()) >= MOST_HALF {
                beyond = beyond.or(Some(part * blocks + b));
            }
            let block = Block { codes, scale, min, scales: &found.scales[lanes.clone()], mins: &found.mins[lanes] };
            pack(kind, &block, out);
        }
    }
    beyond
}

/// Scales of the groups of a tile, as decoded, and what they are stored as.
#[derive(Debug, Clone, Copy)]
struct Found {
    scale: Column,
    /// What is added to scale times code.
    offset: Column,
    scales: [i32; WIDTH],
    mins: [i32; WIDTH],
    /// Of each super block.
    d: Column,
    dmin: Column,
}

impl Found {
    const NONE: Self =
        Self { scale: [0.0; WIDTH], offset: [0.0; WIDTH], scales: [0; WIDTH], mins: [0; WIDTH], d: [0.0; WIDTH], dmin: [0.0; WIDTH] };

    /// Scale and offset from what is stored, as the decoder has them; `per`: groups of a super block.
    #[inline(always)]
    fn decoded(mut self, per: usize) -> Self {
        for j in 0..WIDTH {
            self.scale[j] = self.d[j / per] * self.scales[j] as f32;
            self.offset[j] = -(self.dmin[j / per] * self.mins[j] as f32);
        }
        self
    }
}

/// Buffers.
#[derive(Debug, Default)]
struct Work {
    searches: bool,
    /// The groups side by side.
    raw: Tile,
    /// The same under search.
    tile: Tile,
    params: Vec<Params>,
    codes: Vec<u8>,
}

#[inline(always)]
fn stored(value: f32) -> f32 {
    let value = f16::from_f32(value);
    if value.is_finite() { value } else { f16::MAX.copysign(value) }.to_f32()
}

impl Work {
    /// Scale and offset of each group, before they are rounded.
    #[inline(always)]
    fn free(&mut self, coding: &Coding, dtype: ScaleDtype) -> (Column, Column) {
        let range = self.raw.min_max();
        let (mut scale, mut offset) = by_range(coding, range);
        if self.searches && coding.zero.is_some() {
            scale = signed::scales(&self.raw.w, coding, &scale);
        } else if self.searches {
            self.tile.w.clone_from(&self.raw.w);
            self.params.clear();
            let wanted = Wanted { max: coding.max, dtype, symmetric: false, whole: false };
            search(&mut self.tile, WIDTH, wanted, Weigh::Alike, &mut Outcome { params: &mut self.params, moments: None });
            for (j, p) in self.params.iter().enumerate() {
                // Of a constant group, what the range says.
                if range.0[j] < range.1[j] {
                    (scale[j], offset[j]) = (p.scale, p.zero);
                }
            }
        }
        (scale, offset)
    }

    /// Groups that have halves of their own.
    #[inline(always)]
    fn alone(&mut self, coding: &Coding) -> Found {
        if coding.max == 254 {
            // Eight bits: the largest magnitude, as ggml has it; the other side of a two's complement is not used, since dot products are not
            // made for it.
            let mut scale = [0.0f32; WIDTH];
            for w in &self.raw.w {
                for j in 0..WIDTH {
                    scale[j] = scale[j].max(w[j].abs());
                }
            }
            return Found { scale: scale.map(|s| stored(s / 127.0)), ..Found::NONE };
        }
        let (scale, offset) = self.free(coding, ScaleDtype::F16);
        Found { scale: scale.map(stored), offset: offset.map(stored), ..Found::NONE }
    }

    /// Groups whose scales stand for parts of that of their super block.
    #[inline(always)]
    fn together(&mut self, coding: &Coding, [least, most]: [i32; 2], per: usize) -> Found {
        let (mut scale, mut offset) = self.free(coding, ScaleDtype::F32);
        if coding.zero.is_none() {
            // Minima are stored as what is taken away: a group above 0 begins at 0.
            let (_, hi) = self.raw.min_max();
            for j in 0..WIDTH {
                if offset[j] > 0.0 {
                    (scale[j], offset[j]) = (hi[j] / f32::from(coding.max), 0.0);
                }
            }
        }
        let mut found = Found::NONE;
        for s in 0..WIDTH / per {
            let lanes = s * per..(s + 1) * per;
            let largest = lanes.clone().map(|j| scale[j]).fold(0.0f32, |m, v| if v.abs() > m.abs() { v } else { m });
            // The side with one number more takes the largest.
            found.d[s] = stored(largest / if least < 0 { least } else { most } as f32);
            let lowest = lanes.clone().map(|j| -offset[j]).fold(0.0f32, f32::max);
            found.dmin[s] = if coding.most_min > 0 { stored(lowest / coding.most_min as f32) } else { 0.0 };
            for j in lanes {
                found.scales[j] = nearest(scale[j], found.d[s], least, most);
                if coding.most_min > 0 {
                    found.mins[j] = nearest(-offset[j], found.dmin[s], 0, coding.most_min);
                }
            }
        }
        found = found.decoded(per);
        if !self.searches {
            return found;
        }
        if coding.zero.is_some() {
            // Scales of many steps: moving them gains 0.04 dB and takes a third of the time. The fit is never worse, but for its rounding.
            return self.fitted(coding, &found, per).decoded(per);
        }
        let mut error = self.error(coding, &found.scale, &found.offset);
        for _ in 0..ROUNDS {
            for (by_scale, by_min) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
                let mut moved = found;
                for j in 0..WIDTH {
                    moved.scales[j] = (found.scales[j] + by_scale).clamp(least, most);
                    moved.mins[j] = (found.mins[j] + by_min).clamp(0, coding.most_min);
                }
                moved = moved.decoded(per);
                let next = self.error(coding, &moved.scale, &moved.offset);
                for j in 0..WIDTH {
                    if next[j] < error[j] {
                        (error[j], found.scales[j], found.mins[j]) = (next[j], moved.scales[j], moved.mins[j]);
                        (found.scale[j], found.offset[j]) = (moved.scale[j], moved.offset[j]);
                    }
                }
            }
            let fitted = self.fitted(coding, &found, per).decoded(per);
            let next = self.error(coding, &fitted.scale, &fitted.offset);
            for s in 0..WIDTH / per {
                let lanes = s * per..(s + 1) * per;
                if next[lanes.clone()].iter().sum::<f32>() < error[lanes.clone()].iter().sum::<f32>() {
                    (found.d[s], found.dmin[s]) = (fitted.d[s], fitted.dmin[s]);
                    error[lanes.clone()].copy_from_slice(&next[lanes]);
                }
            }
            found = found.decoded(per);
        }
        found
    }

    /// Squared error of each group.
    #[inline(always)]
    fn error(&self, coding: &Coding, scale: &Column, offset: &Column) -> Column {
        let (max, zero, inverse) = bounds(coding, scale);
        let mut error = [0.0; WIDTH];
        for w in &self.raw.w {
            for j in 0..WIDTH {
                let q = code((w[j] - offset[j]) * inverse[j] + zero, max) - zero;
                let d = w[j] - (q * scale[j] + offset[j]);
                error[j] += d * d;
            }
        }
        error
    }

    /// Least squares of a super block's two scales for its codes.
    #[inline(always)]
    fn fitted(&self, coding: &Coding, found: &Found, per: usize) -> Found {
        let (max, zero, inverse) = bounds(coding, &found.scale);
        let (mut sq, mut sqq, mut sqw, mut sw) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
        for w in &self.raw.w {
            for j in 0..WIDTH {
                let q = code((w[j] - found.offset[j]) * inverse[j] + zero, max) - zero;
                sq[j] += q;
                sqq[j] += q * q;
                sqw[j] += q * w[j];
                sw[j] += w[j];
            }
        }
        let (mut fitted, n) = (*found, coding.group as f64);
        for s in 0..WIDTH / per {
            let lanes = s * per..(s + 1) * per;
            let [mut a, mut p] = [0.0f64; 2];
            for j in lanes.clone() {
                let x = f64::from(found.scales[j]);
                a += x * x * f64::from(sqq[j]);
                p += x * f64::from(sqw[j]);
            }
            let [mut b, mut c, mut q] = [0.0f64; 3];
            if coding.zero.is_none() {
                for j in lanes {
                    let (x, y) = (f64::from(found.scales[j]), f64::from(found.mins[j]));
                    b += x * y * f64::from(sq[j]);
                    c += y * y * n;
                    q += y * f64::from(sw[j]);
                }
            }
            let det = a * c - b * b;
            if det > 1e-9 * a * c {
                fitted.d[s] = stored(((p * c - q * b) / det) as f32);
                fitted.dmin[s] = stored(((p * b - q * a) / det) as f32).max(0.0);
            } else if a > 0.0 {
                fitted.d[s] = stored(((p + f64::from(found.dmin[s]) * b) / a) as f32);
            }
        }
        fitted
    }

    /// Codes of all groups, group after group.
    #[inline(always)]
    fn code(&mut self, values: &[f32], coding: &Coding, found: &Found) {
        let (max, zero, inverse) = bounds(coding, &found.scale);
        self.codes.resize(WIDTH * coding.group, 0);
        for (j, (w, codes)) in values.chunks_exact(coding.group).zip(self.codes.chunks_exact_mut(coding.group)).enumerate() {
            let (offset, inverse) = (found.offset[j], inverse[j]);
            for (w, to) in w.iter().zip(codes) {
                *to = byte(code((w - offset) * inverse + zero, max));
            }
        }
    }
}

/// Scale and offset from the least and the largest value of each group.
#[inline(always)]
fn by_range(coding: &Coding, (lo, hi): (Column, Column)) -> (Column, Column) {
    let (mut scale, mut offset) = ([0.0; WIDTH], [0.0; WIDTH]);
    for j in 0..WIDTH {
        if let Some(zero) = coding.zero {
            // The side with a code more takes the largest magnitude.
            let largest = if hi[j] > -lo[j] { hi[j] } else { lo[j] };
            scale[j] = -largest / f32::from(zero);
        } else {
            (scale[j], offset[j]) = ((hi[j] - lo[j]) / f32::from(coding.max), lo[j]);
        }
    }
    (scale, offset)
}

/// The largest code, that of zero, and reciprocals of scales; of a scale of 0 it is 0, which gives the code of zero.
#[inline(always)]
pub(super) fn bounds(coding: &Coding, scale: &Column) -> (f32, f32, Column) {
    let mut inverse = [0.0; WIDTH];
    for j in 0..WIDTH {
        inverse[j] = if scale[j] == 0.0 { 0.0 } else { 1.0 / scale[j] };
    }
    (f32::from(coding.max), f32::from(coding.zero.unwrap_or(0)), inverse)
}

/// The number that stands for a value in steps.
#[inline(always)]
fn nearest(value: f32, step: f32, least: i32, most: i32) -> i32 {
    if step == 0.0 { 0 } else { ((value / step).round_ties_even() as i32).clamp(least, most) }
}
