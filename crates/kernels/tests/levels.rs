//! One suite for every level of this machine: each gives the bits of the generic one, on random and on awkward rows; and those are the
//! bits of the golden file, so that another machine can check itself.

mod common;

use aq_core::{BitWidth, Dtype, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::pack::{pack_at, packed_len, unpack_at};
use aq_kernels::second::{Encoded, Factor, Factored, Inputs, Moments, Second, Span};
use aq_kernels::{Level, RowCodec, RowSums, Scratch, Tuning, convert};
use common::{Lcg, SHAPES, rotations, rows, schemes};
use std::fmt::Write as _;

fn number(bits: u32) -> u32 {
    if f32::from_bits(bits).is_nan() { u32::MAX } else { bits }
}

/// Everything that encoding and decoding a row gives, as bits; one NaN is as good as another.
fn encoded(level: Level, shape: &[usize], scheme: Scheme, row: &[f32]) -> Vec<u32> {
    let geometry = Geometry::of(shape, scheme.group_size).expect("a shape with rows");
    let codec = RowCodec::new(geometry, scheme, Tuning::default());
    let n = geometry.scales_per_row();
    let (mut codes, mut scales, mut zeros, mut back) = (vec![0; row.len()], vec![0.0; n], vec![0.0; n], vec![0.0; row.len()]);
    let flags = codec.encode_at(level, row, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
    if flags.rotated_too_large {
        return vec![u32::MAX];
    }
    codec.decode_at(level, &codes, &scales, &zeros, &mut back);
    let sums = RowSums::of_at(level, row, &back);
    let mut packed = vec![0; packed_len(codes.len(), scheme.bits)];
    pack_at(level, &codes, scheme.bits, &mut packed);
    let mut unpacked = vec![0xff; codes.len()];
    unpack_at(level, &packed, scheme.bits, &mut unpacked);
    assert_eq!(unpacked, codes);
    let mut bits: Vec<u32> = codes.iter().chain(&packed).map(|c| u32::from(*c)).collect();
    bits.extend(scales.iter().chain(&zeros).chain(&back).map(|v| number(v.to_bits())));
    for sum in [sums.ww, sums.vv, sums.wv, sums.ee, sums.max_abs] {
        let whole = if sum.is_nan() { u64::MAX } else { sum.to_bits() };
        bits.extend([whole as u32, (whole >> 32) as u32]);
    }
    bits.push(u32::from(flags.needs_f32) + 2 * flags.overflow.map_or(0, |g| g as u32 + 1));
    bits
}

#[test]
fn every_level_gives_the_same_bits() {
    let levels = Level::available();
    println!("levels: {:?}", levels.iter().map(|l| l.name()).collect::<Vec<_>>());
    // Miri is a thousand times slower: the smallest shape with kernel positions, and two rows.
    let (shapes, few) = if cfg!(miri) { (&SHAPES[8..], 2) } else { (&SHAPES[..], usize::MAX) };
    for shape in shapes {
        for (i, row) in rows(shape.iter().product()).iter().take(few).enumerate() {
            for scheme in schemes().into_iter().flat_map(|s| rotations(shape[1], s)) {
                let wanted = encoded(Level::GENERIC, shape, scheme, row);
                for &level in &levels {
                    assert!(encoded(level, shape, scheme, row) == wanted, "{} {shape:?} row {i} {scheme:?}", level.name());
                }
            }
        }
    }
}

#[test]
fn every_level_reads_every_type_alike() {
    let mut random = Lcg(5);
    for n in [0, 1, 7, 16, 33, 512, 1025] {
        for (dtype, size) in [(Dtype::F64, 8), (Dtype::F32, 4), (Dtype::F16, 2), (Dtype::Bf16, 2)] {
            let bytes: Vec<u8> = (0..n * size).map(|_| (random.next() * 128.0) as i8 as u8).collect();
            let read = |level| {
                let mut out = vec![0.0; n];
                convert::to_f32_at(level, &bytes, dtype, &mut out);
                out.iter().map(|v: &f32| number(v.to_bits())).collect::<Vec<_>>()
            };
            for level in Level::available() {
                assert_eq!(read(level), read(Level::GENERIC), "{} {dtype:?} {n}", level.name());
            }
        }
    }
}

/// Sums as the specification states them, element by element.
#[test]
fn error_sums_follow_the_stated_order() {
    for n in [0, 1, 7, 8, 9, 64, 97] {
        let (w, v) = (Lcg(1).weights(n, 1.0), Lcg(2).weights(n, 1.0));
        let mut lanes = [[0.0f64; 8]; 4];
        for i in 0..n {
            let (a, b) = (f64::from(w[i]), f64::from(v[i]));
            for (sums, x) in lanes.iter_mut().zip([a * a, b * b, a * b, (a - b) * (a - b)]) {
                sums[i % 8] += x;
            }
        }
        let fold = |a: [f64; 8]| {
            let four: Vec<f64> = (0..4).map(|j| a[j] + a[j + 4]).collect();
            (four[0] + four[2]) + (four[1] + four[3])
        };
        for level in Level::available() {
            let sums = RowSums::of_at(level, &w, &v);
            assert_eq!([sums.ww, sums.vv, sums.wv, sums.ee], lanes.map(fold), "{} {n}", level.name());
        }
    }
}

/// Everything that encoding under second moments gives, as bits.
fn second(level: Level, shape: &[usize], bits: BitWidth, factored: bool) -> Vec<u32> {
    let geometry = Geometry::of(shape, 32).expect("a shape with rows");
    let (row, grids) = (geometry.row(), geometry.scales_per_row());
    let (w, x) = (Lcg(3).weights(geometry.out * row, 0.02), Lcg(4).weights(60 * row, 1.0));
    let mut inputs = Inputs::new(geometry);
    assert!(inputs.push(level, &x, geometry, None, 1.0 / 60.0));
    let second = if factored {
        let span = Span::of(level, &inputs, 16);
        Second::Factored(Box::new(Factored::new(level, &span.rows).expect("energy")))
    } else {
        let mut moments = Moments::new(row);
        let packed = inputs.packed();
        moments.parts().into_iter().enumerate().for_each(|(i, part)| Moments::fill(level, &packed, i, part));
        assert!(moments.damp());
        let order = (bits != BitWidth::Two).then(|| moments.falling());
        let natural: Vec<usize> = (0..row).collect();
        let mut factor = Factor::new(moments.matrix(), order.as_ref().unwrap_or(&natural));
        for first in factor.panels() {
            assert!(factor.panel(level, first));
            let (rest, parts) = factor.later(first);
            parts.into_iter().for_each(|(row, part)| rest.subtract(level, row, part));
        }
        Second::full(moments, Some(&factor), order, &inputs)
    };
    let scale_dtype = ScaleDtype::for_bits(bits);
    let scheme = Scheme { bits, group_size: 32, zero: ZeroKind::Float, method: Method::Gptq, scale_dtype, rotation: None, blocks: None };
    let codec = RowCodec::new(geometry, scheme, Tuning::default());
    let (mut codes, mut scales, mut zeros) = (vec![0; w.len()], vec![0.0; geometry.out * grids], vec![0.0; geometry.out * grids]);
    let out = Encoded { codes: &mut codes, scales: &mut scales, zeros: &mut zeros };
    codec.encode_second(level, &second, &w, &mut Scratch::default(), out);
    codes.into_iter().map(u32::from).chain(scales.iter().chain(&zeros).map(|v| number(v.to_bits()))).collect()
}

/// FNV-1a: enough to tell one result from another, and written down in three lines.
fn hash(words: &[u32]) -> u64 {
    words.iter().flat_map(|w| w.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn the_golden_file_holds() {
    let mut found = String::new();
    for shape in SHAPES {
        for scheme in schemes().into_iter().flat_map(|s| rotations(shape[1], s)) {
            let words: Vec<u32> =
                rows(shape.iter().product()).iter().flat_map(|row| encoded(Level::current(), shape, scheme, row)).collect();
            let Scheme { bits, group_size, zero, method, rotation, .. } = scheme;
            let rotated = rotation.map_or(String::new(), |n| format!(" rotated by {n}"));
            let _ = writeln!(found, "{shape:?} {bits} bits g{group_size} {zero:?} {method:?}{rotated} {:016x}", hash(&words));
        }
    }
    for shape in [[48, 96, 1, 1], [18, 20, 3, 3], [5, 33, 1, 1]] {
        for bits in BitWidth::ALL {
            for factored in [false, true] {
                let form = if factored { "factored" } else { "full" };
                let _ = writeln!(found, "{shape:?} {bits} bits {form} {:016x}", hash(&second(Level::current(), &shape, bits, factored)));
            }
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt");
    if std::env::var_os("AQ_BLESS").is_some() {
        std::fs::write(&path, &found).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there").replace("\r\n", "\n");
    for (found, golden) in found.lines().zip(golden.lines()) {
        assert_eq!(found, golden);
    }
    assert_eq!(found.lines().count(), golden.lines().count());
}

/// Sixteen groups are searched side by side, of as many rows as it takes.
#[test]
fn rows_together_are_each_as_if_alone() {
    for shape in [&[37, 65][..], &[5, 640], &[130, 32], &[7, 24, 3, 3]] {
        let data = Lcg(9).weights(shape.iter().product(), 0.1);
        for zero in [ZeroKind::Float, ZeroKind::None] {
            for bits in BitWidth::ALL {
                let scheme = Scheme {
                    bits,
                    group_size: 32,
                    zero,
                    method: Method::Mse,
                    scale_dtype: ScaleDtype::for_bits(bits),
                    rotation: None,
                    blocks: None,
                };
                let g = Geometry::of(shape, 32).expect("a shape with rows");
                let codec = RowCodec::new(g, scheme, Tuning::default());
                let encode = |w: &[f32]| {
                    let n = w.len() / g.row() * g.scales_per_row();
                    let (mut codes, mut scales, mut zeros) = (vec![0; w.len()], vec![0.0; n], vec![0.0; n]);
                    codec.encode(w, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
                    (codes, scales, zeros)
                };
                let mut alone = (vec![], vec![], vec![]);
                for w in data.chunks(g.row()) {
                    let (codes, scales, zeros) = encode(w);
                    alone.0.extend(codes);
                    alone.1.extend(scales);
                    alone.2.extend(zeros);
                }
                assert!(encode(&data) == alone, "{shape:?} {scheme:?}");
            }
        }
    }
}
