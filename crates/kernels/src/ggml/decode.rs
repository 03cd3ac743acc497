//! Blocks to values, in ggml's own order of operations: its decoder gives the same bits.

use super::{BlockType, SUPER};
use half::f16;

/// Decodes whole blocks.
///
/// # Panics
/// If lengths disagree: the caller's invariant.
pub fn decode(kind: BlockType, blocks: &[u8], out: &mut [f32]) {
    assert!(blocks.len().is_multiple_of(kind.bytes()) && blocks.len() / kind.bytes() * kind.weights() == out.len());
    let pairs = blocks.chunks_exact(kind.bytes()).zip(out.chunks_exact_mut(kind.weights()));
    match kind {
        BlockType::Q4_0 => pairs.for_each(|(b, y)| simple(&b[2..], None, y, |q| (q - 8) as f32 * half(b, 0))),
        BlockType::Q4_1 => pairs.for_each(|(b, y)| simple(&b[4..], None, y, |q| q as f32 * half(b, 0) + half(b, 2))),
        BlockType::Q5_0 => pairs.for_each(|(b, y)| simple(&b[6..], Some(&b[2..6]), y, |q| (q - 16) as f32 * half(b, 0))),
        BlockType::Q5_1 => pairs.for_each(|(b, y)| simple(&b[8..], Some(&b[4..8]), y, |q| q as f32 * half(b, 0) + half(b, 2))),
        BlockType::Q8_0 => pairs.for_each(|(b, y)| {
            let d = half(b, 0);
            y.iter_mut().zip(&b[2..]).for_each(|(y, &q)| *y = f32::from(q as i8) * d);
        }),
        BlockType::Q2K => pairs.for_each(|(b, y)| q2(b, y)),
        BlockType::Q3K => pairs.for_each(|(b, y)| q3(b, y)),
        BlockType::Q4K => pairs.for_each(|(b, y)| q45(b, &b[16..], None, y)),
        BlockType::Q5K => pairs.for_each(|(b, y)| q45(b, &b[48..], Some(&b[16..48]), y)),
        BlockType::Q6K => pairs.for_each(|(b, y)| q6(b, y)),
    }
}

/// The half at a place of a block.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 32 codes of four bits, the lower halves first; with fifth bits where there are some.
fn simple(low: &[u8], high: Option<&[u8]>, out: &mut [f32], value: impl Fn(i32) -> f32) {
    let fifth = |i: usize| high.map_or(0, |h| i32::from(h[i / 8] >> (i % 8) & 1) << 4);
    let (first, second) = out.split_at_mut(16);
    for (i, ((&byte, a), b)) in low.iter().zip(first).zip(second).enumerate() {
        *a = value(i32::from(byte & 15) | fifth(i));
        *b = value(i32::from(byte >> 4) | fifth(i + 16));
    }
}

/// Groups of 16 as `Q2_K` and `Q3_K` have them: which of 32 bytes and which two bits of them hold the codes of group `g` of 16.
pub(super) const fn two_bits(g: usize) -> (usize, usize) {
    (g / 8 * 32 + g % 2 * 16, g % 8 / 2 * 2)
}

fn q2(b: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(b, 80), half(b, 82));
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let (scale, min) = (d * f32::from(b[g] & 15), dmin * f32::from(b[g] >> 4));
        let (at, shift) = two_bits(g);
        for (y, &byte) in out.iter_mut().zip(&b[16 + at..]) {
            *y = scale * f32::from(byte >> shift & 3) - min;
        }
    }
}

/// The six-bit scale of group `g` of a `Q3_K` block, 0 to 63.
pub(super) fn scale_of_q3(scales: &[u8], g: usize) -> u8 {
    let low = scales[g % 8] >> (g / 8 * 4) & 15;
    low | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4
}

fn q3(b: &[u8], out: &mut [f32]) {
    let d = half(b, 108);
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * (f32::from(scale_of_q3(&b[96..108], g)) - 32.0);
        let (at, shift) = two_bits(g);
        let (mask, bit) = (&b[at % 32..], g / 2);
        for ((y, &byte), &high) in out.iter_mut().zip(&b[32 + at..]).zip(mask) {
            let code = i32::from(byte >> shift & 3) - if high >> bit & 1 == 1 { 0 } else { 4 };
            *y = scale * code as f32;
        }
    }
}

/// The six-bit scale and minimum of group `g` of 32 of a `Q4_K` or `Q5_K` block.
pub(super) fn scale_and_min(s: &[u8], g: usize) -> (u8, u8) {
    if g < 4 { (s[g] & 63, s[g + 4] & 63) } else { (s[g + 4] & 15 | s[g - 4] >> 6 << 4, s[g + 4] >> 4 | s[g] >> 6 << 4) }
}

fn q45(b: &[u8], low: &[u8], high: Option<&[u8]>, out: &mut [f32]) {
    let (d, dmin) = (half(b, 0), half(b, 2));
    for (g, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&b[4..16], g);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, (y, &byte)) in out.iter_mut().zip(&low[g / 2 * 32..]).enumerate() {
            let code = byte >> (g % 2 * 4) & 15 | high.map_or(0, |h| (h[i] >> g & 1) << 4);
            *y = scale * f32::from(code) - min;
        }
    }
}

fn q6(b: &[u8], out: &mut [f32]) {
    debug_assert_eq!(out.len(), SUPER);
    let d = half(b, 208);
    for (g, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(b[192 + g] as i8);
        let (half_block, part, place) = (g / 8, g % 8 / 2, g % 2 * 16);
        let low = &b[half_block * 64 + part % 2 * 32 + place..];
        let high = &b[128 + half_block * 32 + place..];
        for ((y, &low), &high) in out.iter_mut().zip(low).zip(high) {
            let code = i32::from(low >> (part / 2 * 4) & 15) | i32::from(high >> (part * 2) & 3) << 4;
            *y = scale * (code - 32) as f32;
        }
    }
}
