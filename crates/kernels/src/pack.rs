//! Codes to bytes: least significant bits first, C order, no padding between rows.

use crate::level::{Level, at_level};
use aq_core::BitWidth;

/// Bytes that hold `codes` codes.
pub const fn packed_len(codes: usize, bits: BitWidth) -> usize {
    codes.div_ceil(bits.codes_per_byte())
}

/// Packs codes; a last partial byte is filled with zeros.
///
/// # Panics
/// If `out` has not [`packed_len`] bytes: the caller's invariant.
pub fn pack(codes: &[u8], bits: BitWidth, out: &mut [u8]) {
    pack_at(Level::current(), codes, bits, out);
}

/// [`pack`] at a level.
///
/// # Panics
/// As [`pack`] does.
pub fn pack_at(level: Level, codes: &[u8], bits: BitWidth, out: &mut [u8]) {
    assert_eq!(out.len(), packed_len(codes.len(), bits));
    at_level!(level, pack_all, (codes: &[u8], bits: BitWidth, out: &mut [u8]) -> ());
}

#[inline(always)]
fn pack_all(codes: &[u8], bits: BitWidth, out: &mut [u8]) {
    match bits {
        BitWidth::Eight => out.copy_from_slice(codes),
        BitWidth::Four => {
            let (whole, rest) = codes.as_chunks::<2>();
            for (c, o) in whole.iter().zip(&mut *out) {
                *o = (c[0] & 15) | ((c[1] & 15) << 4);
            }
            if let ([c], [.., o]) = (rest, out) {
                *o = c & 15;
            }
        }
        BitWidth::Two => {
            let (whole, rest) = codes.as_chunks::<4>();
            for (c, o) in whole.iter().zip(&mut *out) {
                *o = (c[0] & 3) | ((c[1] & 3) << 2) | ((c[2] & 3) << 4) | ((c[3] & 3) << 6);
            }
            if let (false, [.., o]) = (rest.is_empty(), out) {
                *o = rest.iter().enumerate().fold(0, |byte, (i, v)| byte | ((v & 3) << (2 * i)));
            }
        }
    }
}

/// The reverse of [`pack`].
///
/// # Panics
/// If `bytes` holds fewer codes than `codes` has room for: the caller's invariant.
pub fn unpack(bytes: &[u8], bits: BitWidth, codes: &mut [u8]) {
    unpack_at(Level::current(), bytes, bits, codes);
}

/// [`unpack`] at a level.
///
/// # Panics
/// As [`unpack`] does.
pub fn unpack_at(level: Level, bytes: &[u8], bits: BitWidth, codes: &mut [u8]) {
    assert_eq!(bytes.len(), packed_len(codes.len(), bits));
    at_level!(level, unpack_all, (bytes: &[u8], bits: BitWidth, codes: &mut [u8]) -> ());
}

#[inline(always)]
fn unpack_all(bytes: &[u8], bits: BitWidth, codes: &mut [u8]) {
    match bits {
        BitWidth::Eight => codes.copy_from_slice(bytes),
        BitWidth::Four => {
            let (whole, rest) = codes.as_chunks_mut::<2>();
            for (b, c) in bytes.iter().zip(whole) {
                *c = [b & 15, b >> 4];
            }
            if let ([c], [.., b]) = (rest, bytes) {
                *c = b & 15;
            }
        }
        BitWidth::Two => {
            let (whole, rest) = codes.as_chunks_mut::<4>();
            for (b, c) in bytes.iter().zip(whole) {
                *c = [b & 3, (b >> 2) & 3, (b >> 4) & 3, b >> 6];
            }
            if let [.., b] = bytes {
                rest.iter_mut().enumerate().for_each(|(i, c)| *c = (b >> (2 * i)) & 3);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_format_note() {
        let mut out = [0; 2];
        pack(&[1, 2, 3, 15], BitWidth::Four, &mut out);
        assert_eq!(out, [0x21, 0xf3]);
        let mut out = [0; 1];
        pack(&[1, 2, 3, 0], BitWidth::Two, &mut out);
        assert_eq!(out, [0b00_11_10_01]);
    }
}
