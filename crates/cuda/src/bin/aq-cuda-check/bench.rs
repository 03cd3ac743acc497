//! How fast each kernel is against the card's memory, and encoding as a job does it against one thread of this machine's CPU.

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_cuda::launch::{self, Launch, Slot};
use aq_cuda::{Device, Encoded, Failure, Lane, Rows};
use aq_kernels::{RowCodec, Scratch, Tuning};
use std::time::Instant;

/// A large linear layer.
const SHAPE: [usize; 2] = [8192, 8192];
/// Rows that a job hands over at a time: about a megabyte and a half of weights.
const BLOCK_ROWS: usize = 48;
const REPEATS: u32 = 20;

pub fn run(device: &Device) -> Result<(), Failure> {
    let g = Geometry::of(&SHAPE, 64).expect("a shape with rows");
    let weights: Vec<f32> = (0..g.numel() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.5).collect();
    device.in_lane(|lane| {
        for slot in Slot::ALL {
            lane.reserve(slot, slot.bytes(g, BitWidth::Eight, g.out))?;
        }
        lane.upload(device, Slot::Weights, &weights)?;
        let copied = seconds(lane, |lane| lane.copy(Slot::Weights, Slot::Values))?;
        let peak = 8.0 * g.numel() as f64 / copied;
        println!("copying on the card: {:.0} GB/s", peak / 1e9);
        for bits in BitWidth::ALL {
            for method in [Method::Rtn, Method::Mse] {
                let scheme = scheme(bits, method, None);
                for launch in launch::encode(g, scheme, Tuning::default(), g.out) {
                    told(lane, device, &launch, &format!("{bits} bits"), bytes_of(launch.kernel, g, bits), peak)?;
                }
            }
            let launches =
                std::iter::once(launch::pack(bits, g.numel())).chain(launch::dequantize(g, scheme(bits, Method::Rtn, None), g.out));
            for launch in launches {
                told(lane, device, &launch, &format!("{bits} bits"), bytes_of(launch.kernel, g, bits), peak)?;
            }
        }
        let rotated = launch::encode(g, scheme(BitWidth::Four, Method::Rtn, Some(256)), Tuning::default(), g.out);
        told(lane, device, &rotated[0], "blocks of 256", 8.0 * g.numel() as f64, peak)?;
        told(lane, device, &launch::errors(g, g.out), "", 8.0 * g.numel() as f64, peak)
    })?;
    jobs(device, g, &weights)
}

fn scheme(bits: BitWidth, method: Method, rotation: Option<usize>) -> Scheme {
    Scheme { bits, group_size: 64, zero: ZeroKind::Float, method, scale_dtype: ScaleDtype::for_bits(bits), rotation, blocks: None }
}

/// Bytes that a kernel has to read and write at least.
fn bytes_of(kernel: &str, g: Geometry, bits: BitWidth) -> f64 {
    let (weights, groups, packed) = (g.numel() as f64, (g.numel() / g.group) as f64, g.numel() as f64 * f64::from(bits.bits()) / 8.0);
    match kernel {
        "rotate" => 8.0 * weights,
        "gain" => 32.0 * groups,
        "pack" => weights + packed,
        "dequantize" => packed + 8.0 * groups + 4.0 * weights,
        "rtn" => 5.0 * weights + 8.0 * groups,
        _ => 5.0 * weights + 24.0 * groups, // with moments
    }
}

fn told(lane: &mut Lane, device: &Device, launch: &Launch, what: &str, bytes: f64, peak: f64) -> Result<(), Failure> {
    let rate = bytes / seconds(lane, |lane| lane.launch(device, launch))?;
    println!("{:24} {what:14} {:7.0} GB/s, {:3.0} % of copying", launch.kernel, rate / 1e9, 100.0 * rate / peak);
    Ok(())
}

/// Of one of many.
fn seconds(lane: &mut Lane, work: impl Fn(&mut Lane) -> Result<(), Failure>) -> Result<f64, Failure> {
    work(lane)?;
    lane.wait()?;
    let begun = Instant::now();
    for _ in 0..REPEATS {
        work(lane)?;
    }
    lane.wait()?;
    Ok(begun.elapsed().as_secs_f64() / f64::from(REPEATS))
}

/// Blocks as a job hands them over: with one worker, with four, and on one thread of the CPU.
fn jobs(device: &Device, g: Geometry, weights: &[f32]) -> Result<(), Failure> {
    for (bits, method) in [(BitWidth::Four, Method::Rtn), (BitWidth::Four, Method::Mse), (BitWidth::Two, Method::Mse)] {
        let scheme = scheme(bits, method, None);
        let blocks: Vec<&[f32]> = weights.chunks(BLOCK_ROWS * g.row()).collect();
        let mut rates = vec![];
        for workers in [1, 4] {
            let begun = Instant::now();
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..workers)
                    .map(|first| {
                        let blocks = &blocks;
                        scope.spawn(move || {
                            blocks.iter().skip(first).step_by(workers).try_for_each(|weights| there(device, g, scheme, weights))
                        })
                    })
                    .collect();
                threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
            })?;
            rates.push(g.numel() as f64 / begun.elapsed().as_secs_f64() / 1e6);
        }
        let begun = Instant::now();
        let few = &blocks[..blocks.len().min(8)];
        few.iter().for_each(|weights| on_cpu(g, scheme, weights));
        let cpu = few.iter().map(|b| b.len()).sum::<usize>() as f64 / begun.elapsed().as_secs_f64() / 1e6;
        println!(
            "{bits} bits {method:?}: {:.0} Mweights/s with one worker, {:.0} with four; a thread of the CPU {cpu:.0}",
            rates[0], rates[1]
        );
    }
    Ok(())
}

fn there(device: &Device, g: Geometry, scheme: Scheme, weights: &[f32]) -> Result<(), Failure> {
    let grids = weights.len() / g.group;
    let (mut codes, mut scales, mut zeros) = (vec![0; weights.len()], vec![0.0; grids], vec![0.0; grids]);
    let rows = Rows { geometry: g, scheme, tuning: Tuning::default(), weights };
    device.encode(rows, Encoded { codes: &mut codes, scales: &mut scales, zeros: &mut zeros }).map(|_| ())
}

fn on_cpu(g: Geometry, scheme: Scheme, weights: &[f32]) {
    let grids = weights.len() / g.group;
    let (mut codes, mut scales, mut zeros) = (vec![0; weights.len()], vec![0.0; grids], vec![0.0; grids]);
    RowCodec::new(g, scheme, Tuning::default()).encode(weights, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
}
