//! Every kernel against the CPU's generic level: over the rows and schemes of the golden file, over rows that fill several blocks, and over groups
//! too large for shared memory.

#[path = "../../../../kernels/tests/common/mod.rs"]
mod common;

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_cuda::launch::{self, Slot};
use aq_cuda::{Device, Encoded, Failure, Rows};
use aq_kernels::pack::{pack_at, packed_len};
use aq_kernels::{Level, RowCodec, RowFlags, RowSums, Scratch, Tuning};
use common::{Lcg, SHAPES, rotations, rows, schemes};

/// Shapes with their wanted group: more groups than a block has threads, kernel positions, groups that do not fit.
const LARGE: [([usize; 3], usize); 6] =
    [([37, 256, 1], 64), ([9, 320, 3], 32), ([3, 1021, 1], 64), ([2, 500, 9], 256), ([70, 96, 1], 96), ([33, 192, 1], 128)];

/// How many comparisons were made, or the first that failed.
pub fn run(device: &Device) -> Result<usize, String> {
    let mut compared = 0;
    let mut one = |g: Geometry, scheme: Scheme, tuning: Tuning, weights: &[f32]| {
        compared += 1;
        let context = |what: String| {
            format!("{what} of {} rows of {}x{} in {}, {scheme:?}, {tuning:?}", weights.len() / g.row(), g.channels, g.taps, g.group)
        };
        compare(device, g, scheme, tuning, weights).map_err(context)
    };
    for shape in SHAPES {
        for scheme in schemes().into_iter().flat_map(|s| rotations(shape[1], s)) {
            let g = geometry(shape, scheme.group_size);
            let (kept, beyond): (Vec<_>, Vec<_>) =
                rows(g.row()).into_iter().partition(|row| !here(g, scheme, Tuning::default(), row).flags.rotated_too_large);
            one(g, scheme, Tuning::default(), &kept.concat())?;
            for row in beyond {
                one(g, scheme, Tuning::default(), &row)?;
            }
        }
    }
    for (shape, group_size) in LARGE {
        let (g, weights) = (geometry(&shape, group_size), Lcg(7).weights(shape.iter().product(), 0.02));
        for method in [Method::Rtn, Method::Mse] {
            for (bits, zero) in [(BitWidth::Two, ZeroKind::Float), (BitWidth::Four, ZeroKind::None), (BitWidth::Eight, ZeroKind::Middle)] {
                let scheme =
                    Scheme { bits, group_size, zero, method, scale_dtype: ScaleDtype::for_bits(bits), rotation: None, blocks: None };
                for scheme in rotations(shape[1], scheme) {
                    one(g, scheme, Tuning::default(), &weights)?;
                }
            }
        }
    }
    let (g, weights) = (geometry(&[4, 128], 64), Lcg(3).weights(512, 1.0));
    for (gain, magnitude) in [(false, true), (true, false), (false, false)] {
        for bits in [BitWidth::Two, BitWidth::Four] {
            let scale_dtype = ScaleDtype::Bf16;
            let scheme =
                Scheme { bits, group_size: 64, zero: ZeroKind::Float, method: Method::Mse, scale_dtype, rotation: None, blocks: None };
            one(g, scheme, Tuning { gain, magnitude, ..Tuning::default() }, &weights)?;
        }
    }
    Ok(compared)
}

fn geometry(shape: &[usize], group_size: usize) -> Geometry {
    Geometry::of(shape, group_size).expect("a shape with rows")
}

/// Encoded rows.
struct Found {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    flags: RowFlags,
}

/// What the CPU makes of rows.
fn here(g: Geometry, scheme: Scheme, tuning: Tuning, weights: &[f32]) -> Found {
    let grids = weights.len() / g.row() * g.scales_per_row();
    let (mut codes, mut scales, mut zeros) = (vec![0; weights.len()], vec![0.0; grids], vec![0.0; grids]);
    let codec = RowCodec::new(g, scheme, tuning);
    let flags = codec.encode_at(Level::GENERIC, weights, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
    Found { codes, scales, zeros, flags }
}

/// Encodes, packs, decodes and judges rows here and there; `Err` names what differs.
fn compare(device: &Device, g: Geometry, scheme: Scheme, tuning: Tuning, weights: &[f32]) -> Result<(), String> {
    let failed = |f: Failure| f.to_string();
    let count = weights.len() / g.row();
    let wanted = here(g, scheme, tuning, weights);
    let (mut codes, mut scales, mut zeros) =
        (vec![0xa5; weights.len()], vec![f32::NAN; wanted.scales.len()], vec![f32::NAN; wanted.zeros.len()]);
    device.trim(); // memory of exactly this size, whose end a checker can guard
    let out = Encoded { codes: &mut codes, scales: &mut scales, zeros: &mut zeros };
    let too_large = device.encode(Rows { geometry: g, scheme, tuning, weights }, out).map_err(failed)?;
    equal("the flag", &[too_large], &[wanted.flags.rotated_too_large])?;
    if too_large {
        return Ok(()); // nothing else is used of such rows
    }
    equal("codes", &codes, &wanted.codes)?;
    equal("scales", &bits(&scales), &bits(&wanted.scales))?;
    equal("zeros", &bits(&zeros), &bits(&wanted.zeros))?;

    let mut packed = vec![0; packed_len(codes.len(), scheme.bits)];
    pack_at(Level::GENERIC, &codes, scheme.bits, &mut packed);
    let (mut bytes, mut values) = (vec![0; packed.len()], vec![0.0; weights.len()]);
    let mut sums = vec![0; Slot::Sums.bytes(g, scheme.bits, count)];
    // The lane still holds codes, scales and zeros.
    let work = |lane: &mut aq_cuda::Lane| {
        for slot in [Slot::Packed, Slot::Values, Slot::Sums] {
            lane.reserve(slot, slot.bytes(g, scheme.bits, count))?;
        }
        lane.launch(device, &launch::pack(scheme.bits, codes.len()))?;
        for launch in launch::dequantize(g, scheme, count) {
            lane.launch(device, &launch)?;
        }
        // Rotated in place, the weights are not what errors are measured against.
        lane.upload(device, Slot::Weights, weights)?;
        lane.launch(device, &launch::errors(g, count))?;
        lane.download_bytes(Slot::Packed, &mut bytes)?;
        lane.download(Slot::Values, &mut values)?;
        lane.download_bytes(Slot::Sums, &mut sums)?;
        lane.wait()
    };
    device.in_lane(work).map_err(failed)?;
    equal("packed codes", &bytes, &packed)?;
    let sums: Vec<f64> = sums.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect();
    for row in 0..count {
        let (at, grid) = (row * g.row()..(row + 1) * g.row(), row * g.scales_per_row()..(row + 1) * g.scales_per_row());
        let mut back = vec![0.0; g.row()];
        let codec = RowCodec::new(g, scheme, tuning);
        codec.decode_at(Level::GENERIC, &codes[at.clone()], &scales[grid.clone()], &zeros[grid], &mut back);
        equal("values", &bits(&values[at.clone()]), &bits(&back))?;
        let RowSums { ww, vv, wv, ee, max_abs } = RowSums::of_at(Level::GENERIC, &weights[at], &back);
        equal("sums", &wide(&sums[row * 5..row * 5 + 5]), &wide(&[ww, vv, wv, ee, max_abs]))?;
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: &[T], wanted: &[T]) -> Result<(), String> {
    match got.iter().zip(wanted).position(|(a, b)| a != b) {
        Some(at) => Err(format!("{what}: {:?} at {at} instead of {:?}", got[at], wanted[at])),
        None => Ok(()),
    }
}

/// One NaN is as good as another.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
}

fn wide(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect()
}
