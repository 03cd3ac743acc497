//! Codes to bytes: least significant bits first, C order, no padding between rows.

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
    assert_eq!(out.len(), packed_len(codes.len(), bits));
    match bits {
        BitWidth::Eight => out.copy_from_slice(codes),
        BitWidth::Four => {
            for (c, o) in codes.chunks(2).zip(out) {
                *o = (c[0] & 15) | (c.get(1).map_or(0, |v| v & 15) << 4);
            }
        }
        BitWidth::Two => {
            for (c, o) in codes.chunks(4).zip(out) {
                *o = c.iter().enumerate().fold(0, |byte, (i, v)| byte | ((v & 3) << (2 * i)));
            }
        }
    }
}

/// The reverse of [`pack`].
///
/// # Panics
/// If `bytes` holds fewer codes than `codes` has room for: the caller's invariant.
pub fn unpack(bytes: &[u8], bits: BitWidth, codes: &mut [u8]) {
    assert_eq!(bytes.len(), packed_len(codes.len(), bits));
    match bits {
        BitWidth::Eight => codes.copy_from_slice(bytes),
        BitWidth::Four => {
            for (b, c) in bytes.iter().zip(codes.chunks_mut(2)) {
                for (i, c) in c.iter_mut().enumerate() {
                    *c = (b >> (4 * i)) & 15;
                }
            }
        }
        BitWidth::Two => {
            for (b, c) in bytes.iter().zip(codes.chunks_mut(4)) {
                for (i, c) in c.iter_mut().enumerate() {
                    *c = (b >> (2 * i)) & 3;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_of_the_format_note() {
        let mut out = [0; 2];
        pack(&[1, 2, 3, 15], BitWidth::Four, &mut out);
        assert_eq!(out, [0x21, 0xf3]);
        let mut out = [0; 1];
        pack(&[1, 2, 3, 0], BitWidth::Two, &mut out);
        assert_eq!(out, [0b00_11_10_01]);
    }

    proptest! {
        #[test]
        fn round_trip(codes in proptest::collection::vec(0u8..=255, 0..300), which in 0usize..3) {
            let bits = BitWidth::ALL[which];
            let codes: Vec<u8> = codes.into_iter().map(|c| c & bits.max_code() as u8).collect();
            let mut bytes = vec![0xaa; packed_len(codes.len(), bits)];
            pack(&codes, bits, &mut bytes);
            let mut back = vec![0; codes.len()];
            unpack(&bytes, bits, &mut back);
            prop_assert_eq!(back, codes);
        }
    }
}
