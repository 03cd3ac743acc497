//! Codes and scales of one block to its bytes.

use super::BlockType;
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
#[inline(always)]
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
            let number = |g: usize| (scales[g] + 32) as u8;
            for (g, to) in out[96..104].iter_mut().enumerate() {
                *to = number(g) & 15 | (number(g + 8) & 15) << 4;
            }
            for (g, to) in out[104..108].iter_mut().enumerate() {
                *to = [0, 4, 8, 12].into_iter().map(|n| number(g + n) >> 4 << (n / 2)).fold(0, |a, b| a | b);
            }
            low_two(codes, &mut out[32..96]);
            high_bits::<2>(codes, &mut out[..32]);
        }
        BlockType::Q4K => {
            header(out, block);
            nibbles(codes, &mut out[16..]);
        }
        BlockType::Q5K => {
            header(out, block);
            high_bits::<4>(codes, &mut out[16..48]);
            nibbles(codes, &mut out[48..]);
        }
        BlockType::Q6K => {
            half(out, 208, scale);
            out[192..208].iter_mut().zip(scales).for_each(|(to, scale)| *to = *scale as i8 as u8);
            let (low, high) = out.split_at_mut(128);
            for ((low, high), c) in low.chunks_exact_mut(64).zip(high.chunks_exact_mut(32)).zip(codes.chunks_exact(128)) {
                for i in 0..64 {
                    low[i] = c[i] & 15 | c[i + 64] << 4;
                }
                for i in 0..32 {
                    high[i] = c[i] >> 4 | c[i + 32] >> 4 << 2 | c[i + 64] >> 4 << 4 | c[i + 96] >> 4 << 6;
                }
            }
        }
    }
}

#[inline(always)]
fn half(out: &mut [u8], at: usize, value: f32) {
    out[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Four bits of 32 codes, the first sixteen in the lower halves.
#[inline(always)]
fn simple(codes: &[u8], out: &mut [u8]) {
    let (first, second) = codes.split_at(16);
    for ((to, a), b) in out.iter_mut().zip(first).zip(second) {
        *to = a & 15 | (b & 15) << 4;
    }
}

#[inline(always)]
fn fifth(codes: &[u8], out: &mut [u8]) {
    for (i, code) in codes.iter().enumerate() {
        out[i / 8] |= (code >> 4) << (i % 8);
    }
}

/// What is above some bits of each code: of 32 codes one bit of each byte.
#[inline(always)]
fn high_bits<const ABOVE: u32>(c: &[u8], out: &mut [u8]) {
    let (c, out) = (&c[..256], &mut out[..32]);
    for i in 0..32 {
        let bit = |n: usize| (c[32 * n + i] >> ABOVE) << n;
        out[i] = bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(5) | bit(6) | bit(7);
    }
}

/// Two bits of each code: of 128, those of 32 neighbours in one place of 32 bytes ([`super::decode::two_bits`]).
#[inline(always)]
fn low_two(codes: &[u8], out: &mut [u8]) {
    for (to, c) in out.chunks_exact_mut(32).zip(codes.chunks_exact(128)) {
        for i in 0..32 {
            to[i] = c[i] & 3 | (c[i + 32] & 3) << 2 | (c[i + 64] & 3) << 4 | c[i + 96] << 6;
        }
    }
}

/// Four bits of each code: of 64, the first 32 in the lower halves.
#[inline(always)]
fn nibbles(codes: &[u8], out: &mut [u8]) {
    for (to, codes) in out.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = codes[i] & 15 | (codes[i + 32] & 15) << 4;
        }
    }
}

/// Scales and minima of a `Q4_K` or `Q5_K` block.
#[inline(always)]
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
