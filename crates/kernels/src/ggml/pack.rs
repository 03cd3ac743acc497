//! Codes and scales of one block to its bytes.

use super::BlockType;
use super::decode::two_bits;
use half::f16;

/// What a block holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// A code for each weight, from 0.
    pub codes: &'a [u8],
    /// The block's scale.
    pub scale: f32,
    /// The block's minimum, or its scale of minima; what is no member of its type is ignored.
    pub min: f32,
    /// The number that stands for the scale of each group, as a super block has them.
    pub scales: &'a [i32],
    /// The same of minima.
    pub mins: &'a [i32],
}

/// Writes a block; `out` is of its size.
pub(super) fn pack(kind: BlockType, block: &Block<'_>, out: &mut [u8]) {
    out.fill(0);
    let &Block { codes, scale, min, scales, mins } = block;
    match kind {
        BlockType::Q4_0 => {
            half(out, 0, scale);
            simple(codes, &mut out[2..]);
        }
        BlockType::Q4_1 => {
            half(out, 0, scale);
            half(out, 2, min);
            simple(codes, &mut out[4..]);
        }
        BlockType::Q5_0 => {
            half(out, 0, scale);
            fifth(codes, &mut out[2..6]);
            simple(codes, &mut out[6..]);
        }
        BlockType::Q5_1 => {
            half(out, 0, scale);
            half(out, 2, min);
            fifth(codes, &mut out[4..8]);
            simple(codes, &mut out[8..]);
        }
        BlockType::Q8_0 => {
            half(out, 0, scale);
            // As two's complement: 127 stands for 0 here.
            out[2..].iter_mut().zip(codes).for_each(|(to, code)| *to = code.wrapping_sub(127));
        }
        BlockType::Q2K => {
            half(out, 80, scale);
            half(out, 82, min);
            for (to, (scale, min)) in out.iter_mut().zip(scales.iter().zip(mins)) {
                *to = *scale as u8 | (*min as u8) << 4;
            }
            low_two(codes, &mut out[16..80]);
        }
        BlockType::Q3K => {
            half(out, 108, scale);
            for (g, scale) in scales.iter().enumerate() {
                let number = (scale + 32) as u8;
                out[96 + g % 8] |= (number & 15) << (g / 8 * 4);
                out[104 + g % 4] |= (number >> 4) << (g / 4 * 2);
            }
            low_two(codes, &mut out[32..96]);
            high_bits(codes, 2, &mut out[..32]);
        }
        BlockType::Q4K => {
            header(out, block);
            nibbles(codes, &mut out[16..]);
        }
        BlockType::Q5K => {
            header(out, block);
            high_bits(codes, 4, &mut out[16..48]);
            nibbles(codes, &mut out[48..]);
        }
        BlockType::Q6K => {
            half(out, 208, scale);
            out[192..208].iter_mut().zip(scales).for_each(|(to, scale)| *to = *scale as i8 as u8);
            let (low, high) = out.split_at_mut(128);
            for (i, codes) in codes.chunks_exact(32).enumerate() {
                let (half_block, part) = (i / 4, i % 4);
                let low = &mut low[half_block * 64 + part % 2 * 32..];
                low.iter_mut().zip(codes).for_each(|(to, code)| *to |= (code & 15) << (part / 2 * 4));
                high[half_block * 32..].iter_mut().zip(codes).for_each(|(to, code)| *to |= (code >> 4) << (part * 2));
            }
        }
    }
}

fn half(out: &mut [u8], at: usize, value: f32) {
    out[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Four bits of 32 codes, the first sixteen in the lower halves.
fn simple(codes: &[u8], out: &mut [u8]) {
    let (first, second) = codes.split_at(16);
    for ((to, a), b) in out.iter_mut().zip(first).zip(second) {
        *to = a & 15 | (b & 15) << 4;
    }
}

fn fifth(codes: &[u8], out: &mut [u8]) {
    for (i, code) in codes.iter().enumerate() {
        out[i / 8] |= (code >> 4) << (i % 8);
    }
}

/// What is above some bits of each code: of 32 codes one bit of each byte.
fn high_bits(codes: &[u8], above: u32, out: &mut [u8]) {
    for (bit, codes) in codes.chunks_exact(32).enumerate() {
        out.iter_mut().zip(codes).for_each(|(to, code)| *to |= (code >> above) << bit);
    }
}

fn low_two(codes: &[u8], out: &mut [u8]) {
    for (g, codes) in codes.chunks_exact(16).enumerate() {
        let (at, shift) = two_bits(g);
        out[at..].iter_mut().zip(codes).for_each(|(to, code)| *to |= (code & 3) << shift);
    }
}

/// Four bits of each code: of 64, the first 32 in the lower halves.
fn nibbles(codes: &[u8], out: &mut [u8]) {
    for (to, codes) in out.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = codes[i] & 15 | (codes[i + 32] & 15) << 4;
        }
    }
}

/// Scales and minima of a `Q4_K` or `Q5_K` block.
fn header(out: &mut [u8], block: &Block<'_>) {
    half(out, 0, block.scale);
    half(out, 2, block.min);
    let s = &mut out[4..16];
    for (g, (scale, min)) in block.scales.iter().zip(block.mins).enumerate() {
        let (scale, min) = (*scale as u8, *min as u8);
        if g < 4 {
            s[g] |= scale;
            s[g + 4] |= min;
        } else {
            s[g + 4] |= scale & 15 | (min & 15) << 4;
            s[g - 4] |= scale >> 4 << 6;
            s[g] |= min >> 4 << 6;
        }
    }
}
