//! ggml's block types: decoded as ggml decodes them, and encoded no worse than stated.

use aq_core::Method;
use aq_kernels::Level;
use aq_kernels::ggml::{BlockType, decode, encode};
use aq_testkit::{gauss, heavy};

/// Random blocks and FNV-1a of what ggml's own library makes of them (`bench/ggml.py --golden`).
const GOLDEN: &str = include_str!("ggml.txt");

fn hash(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn blocks_are_decoded_to_the_bits_that_ggml_gives() {
    let mut seen = 0;
    for line in GOLDEN.lines() {
        let [name, hex, wanted] = line.split(' ').collect::<Vec<_>>()[..] else { unreachable!("{line}") };
        let kind = BlockType::ALL.into_iter().find(|t| t.name() == name).unwrap();
        let blocks: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let mut values = vec![0.0; blocks.len() / kind.bytes() * kind.weights()];
        decode(kind, &blocks, &mut values);
        assert_eq!(format!("{:016x}", hash(&values)), wanted, "{name}");
        assert_eq!(BlockType::of(kind.id()), Some(kind));
        seen += 1;
    }
    assert_eq!(seen, BlockType::ALL.len());
}

fn sqnr(kind: BlockType, level: Level, w: &[f32]) -> (Vec<u8>, f64) {
    let mut blocks = vec![0xaa; w.len() / kind.weights() * kind.bytes()];
    encode(level, kind, Method::Mse, w, &mut blocks);
    let mut values = vec![0.0; w.len()];
    decode(kind, &blocks, &mut values);
    let (signal, error) = w.iter().zip(&values).fold((0.0, 0.0), |(s, e), (w, v)| {
        let (w, v) = (f64::from(*w), f64::from(*v));
        (s + w * w, e + (w - v) * (w - v))
    });
    (blocks, 10.0 * (signal / error).log10())
}

#[test]
fn every_level_gives_the_same_blocks_whatever_stands_beside_them() {
    for kind in BlockType::ALL {
        // A number of blocks that fills no tile.
        let w = heavy(37, 256, 5);
        let (wanted, _) = sqnr(kind, Level::GENERIC, &w);
        for level in Level::available() {
            assert!(sqnr(kind, level, &w).0 == wanted, "{} {}", kind.name(), level.name());
        }
        let alone: Vec<u8> = w.chunks(256).flat_map(|w| sqnr(kind, Level::current(), w).0).collect();
        assert!(alone == wanted, "{}", kind.name());
    }
}

#[test]
fn errors_are_those_of_the_bits() {
    let w = gauss(64, 768, 1);
    for (kind, least) in [
        (BlockType::Q8_0, 45.2),
        (BlockType::Q6K, 35.0),
        (BlockType::Q5_1, 29.1),
        (BlockType::Q5_0, 27.6),
        (BlockType::Q5K, 28.9),
        (BlockType::Q4_1, 22.9),
        (BlockType::Q4_0, 21.6),
        (BlockType::Q4K, 22.8),
        (BlockType::Q3K, 16.6),
        (BlockType::Q2K, 11.4),
    ] {
        let (_, found) = sqnr(kind, Level::current(), &w);
        println!("{}: {found:.2} dB", kind.name());
        assert!(found > least, "{}: {found:.2} dB", kind.name());
    }
}

#[test]
fn awkward_blocks_stay_finite() {
    for kind in BlockType::ALL {
        let n = 2 * kind.weights();
        let ramp: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let rows = [
            vec![0.0; n],
            vec![-0.0; n],
            vec![0.5; n],
            vec![-3.0; n],
            ramp.iter().map(|v| v + 5.0).collect(),
            ramp.iter().map(|v| -v - 5.0).collect(),
            ramp.iter().map(|v| v * 1e-12).collect(),
            ramp.iter().map(|v| v * 1e30).collect(),
            (0..n).map(|i| if i == 7 { f32::MAX } else { 1.0 }).collect(),
        ];
        for row in rows {
            let (blocks, _) = sqnr(kind, Level::current(), &row);
            let mut values = vec![0.0; n];
            decode(kind, &blocks, &mut values);
            assert!(values.iter().all(|v| v.is_finite()), "{} {row:?}", kind.name());
            if row[0] == 0.0 && row[1] == 0.0 {
                assert!(values.iter().all(|v| *v == 0.0), "{}", kind.name());
            }
        }
    }
}

#[test]
fn a_constant_group_costs_its_neighbours_nothing() {
    for kind in BlockType::ALL.into_iter().filter(|k| k.weights() > k.group()) {
        for constant in [0.0, 0.01, -0.01] {
            let mut w = gauss(16, 768, 1).iter().map(|w| 0.1 * w).collect::<Vec<f32>>();
            let (_, plain) = sqnr(kind, Level::current(), &w);
            w.chunks_mut(256).for_each(|w| w[64..64 + kind.group()].fill(constant));
            let (_, beside) = sqnr(kind, Level::current(), &w);
            assert!(beside > plain - 0.1, "{}: {plain:.2} dB, beside groups of {constant} {beside:.2}", kind.name());
        }
    }
}

#[test]
fn minima_and_maxima_alone_lose_more_than_the_search() {
    let w = gauss(64, 768, 1);
    for kind in BlockType::ALL.into_iter().filter(|k| *k != BlockType::Q8_0) {
        let mut blocks = vec![0; w.len() / kind.weights() * kind.bytes()];
        assert_eq!(encode(Level::current(), kind, Method::Rtn, &w, &mut blocks), None);
        let mut values = vec![0.0; w.len()];
        decode(kind, &blocks, &mut values);
        let (signal, error) = w.iter().zip(&values).fold((0.0, 0.0), |(s, e), (w, v)| (s + w * w, e + (w - v) * (w - v)));
        let (plain, (_, searched)) = (10.0 * (signal / error).log10(), sqnr(kind, Level::current(), &w));
        println!("{}: {plain:.2} dB by range, {searched:.2} by search", kind.name());
        assert!(f64::from(plain) < searched && f64::from(plain) > searched - 4.0, "{}: {plain:.2} {searched:.2}", kind.name());
    }
}

#[test]
fn scales_beyond_a_half_are_told() {
    for kind in BlockType::ALL {
        let mut w = vec![1.0; 4 * 256];
        w[3 * 256 + 5] = 3e38;
        let mut blocks = vec![0; w.len() / kind.weights() * kind.bytes()];
        let first = encode(Level::current(), kind, Method::Mse, &w, &mut blocks);
        assert_eq!(first, Some(3 * 256 / kind.weights()), "{}", kind.name());
    }
}
