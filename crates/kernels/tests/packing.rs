//! Packing at every level and of every length: what the format says, and nothing lost on the way there and back.

use aq_core::BitWidth;
use aq_kernels::Level;
use aq_kernels::pack::{pack_at, packed_len, unpack_at};
use proptest::collection::vec;
use proptest::prelude::*;

fn packed(level: Level, codes: &[u8], bits: BitWidth) -> Vec<u8> {
    // Not zero, so that a byte that is not written is seen.
    let mut bytes = vec![0xaa; packed_len(codes.len(), bits)];
    pack_at(level, codes, bits, &mut bytes);
    bytes
}

fn unpacked(level: Level, bytes: &[u8], bits: BitWidth, count: usize) -> Vec<u8> {
    let mut codes = vec![0xaa; count];
    unpack_at(level, bytes, bits, &mut codes);
    codes
}

/// Code `i` of `n` a byte stands `i % n` widths up in byte `i / n`; there is no room for more of it than its width.
fn by_definition(codes: &[u8], bits: BitWidth) -> Vec<u8> {
    let byte = |codes: &[u8]| codes.iter().rev().fold(0u32, |byte, code| byte << bits.bits() | u32::from(*code) & bits.max_code()) as u8;
    codes.chunks(bits.codes_per_byte()).map(byte).collect()
}

/// Longer than several registers, and every remainder of them.
const LENGTHS: std::ops::Range<usize> = 0..700;

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn codes_come_back(any in vec(any::<u8>(), LENGTHS)) {
        for bits in BitWidth::ALL {
            let codes: Vec<u8> = any.iter().map(|c| c & bits.max_code() as u8).collect();
            for level in Level::available() {
                let bytes = packed(level, &codes, bits);
                prop_assert_eq!(&unpacked(level, &bytes, bits, codes.len()), &codes, "{} {}", level.name(), bits);
            }
        }
    }

    #[test]
    fn bytes_come_back(bytes in vec(any::<u8>(), LENGTHS)) {
        for bits in BitWidth::ALL {
            for level in Level::available() {
                let codes = unpacked(level, &bytes, bits, bytes.len() * bits.codes_per_byte());
                prop_assert!(codes.iter().all(|c| u32::from(*c) <= bits.max_code()));
                prop_assert_eq!(&packed(level, &codes, bits), &bytes, "{} {}", level.name(), bits);
            }
        }
    }

    #[test]
    fn every_code_has_its_place_and_no_more(codes in vec(any::<u8>(), LENGTHS)) {
        for bits in BitWidth::ALL {
            for level in Level::available() {
                prop_assert_eq!(packed(level, &codes, bits), by_definition(&codes, bits), "{} {}", level.name(), bits);
            }
        }
    }
}
