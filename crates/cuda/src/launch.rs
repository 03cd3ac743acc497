//! What is launched for some rows, worked out without a device: kernels, blocks, shared memory, arguments. The device and the tests' host run
//! the same list.

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::{RowCodec, Tuning};

/// Most threads of a block. The search keeps a column of shared memory for each.
const THREADS: u32 = 128;
/// Shared memory that every device grants a block without being asked.
const SHARED: usize = 48 << 10;
/// Values that a block rotates together; a multiple of every rotation's block.
const SPAN: u32 = 1024;
/// Threads that share the errors of a row.
const ERROR_LANES: u32 = 8;
/// Bytes that they keep until the sums are folded.
const ERROR_BYTES: u32 = 5 * 8;

/// Memory that kernels read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Slot {
    /// Rows, f32; rotated in place.
    Weights,
    /// One byte a code.
    Codes,
    /// f32, (group, tap) order.
    Scales,
    /// f32, like scales.
    Zeros,
    /// Four f32 a group: what the row's gain needs.
    Moments,
    /// u32: not 0 if a rotated value is beyond f32.
    NotFinite,
    /// Packed codes.
    Packed,
    /// Decoded rows, f32.
    Values,
    /// Five f64 a row.
    Sums,
}

impl Slot {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] =
        [Self::Weights, Self::Codes, Self::Scales, Self::Zeros, Self::Moments, Self::NotFinite, Self::Packed, Self::Values, Self::Sums];

    /// Bytes for `rows` rows.
    pub const fn bytes(self, g: Geometry, bits: BitWidth, rows: usize) -> usize {
        let (weights, groups) = (rows * g.row(), rows * g.scales_per_row());
        match self {
            Self::Weights | Self::Values => 4 * weights,
            Self::Codes => weights,
            Self::Scales | Self::Zeros => 4 * groups,
            Self::Moments => 16 * groups,
            Self::NotFinite => 4,
            Self::Packed => weights.div_ceil(bits.codes_per_byte()),
            Self::Sums => 40 * rows,
        }
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An address.
    Buffer(Slot),
    /// A number.
    U32(u32),
    /// A large one.
    U64(u64),
    /// A fraction.
    F32(f32),
}

/// One launch; all are of one dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kernel's name in the PTX.
    pub kernel: &'static str,
    /// Blocks.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
    /// Its arguments, in order.
    pub args: Vec<Arg>,
}

/// The kernels of the PTX.
pub const KERNELS: [&str; 11] = [
    "rtn",
    "rtn_symmetric",
    "mse",
    "mse_weighted",
    "mse_symmetric",
    "mse_weighted_symmetric",
    "gain",
    "rotate",
    "pack",
    "dequantize",
    "errors",
];

/// Whether so many rows can be counted in 32 bits, as groups are; a device works on fewer anyway.
pub const fn fits(g: Geometry, rows: usize) -> bool {
    rows * g.scales_per_row() < 1 << 31 && rows * g.row() < 1 << 40 && g.row() < 1 << 31
}

/// Encodes rows: rotates, searches and assigns, restores the gain.
pub fn encode(g: Geometry, scheme: Scheme, tuning: Tuning, rows: usize) -> Vec<Launch> {
    let mut launches = Vec::with_capacity(3);
    if let Some(block) = scheme.rotation {
        launches.push(rotate(Slot::Weights, rows * g.row(), block));
    }
    let codec = RowCodec::new(g, scheme, tuning);
    let kernel = match (scheme.method, codec.weighs_by_magnitude(), scheme.symmetric()) {
        (Method::Rtn, _, false) => "rtn",
        (Method::Rtn, _, true) => "rtn_symmetric",
        (_, false, false) => "mse",
        (_, true, false) => "mse_weighted",
        (_, false, true) => "mse_symmetric",
        (_, true, true) => "mse_weighted_symmetric",
    };
    let groups = rows * g.scales_per_row();
    let (threads, shared) = tile(g.group);
    let buffers = [Slot::Weights, Slot::Codes, Slot::Scales, Slot::Zeros, Slot::Moments].map(Arg::Buffer);
    let what = scheme_args(g, scheme, groups);
    let args = buffers.into_iter().chain(what.clone()).chain([Arg::U32(u32::from(shared > 0))]).collect();
    launches.push(Launch { kernel, blocks: blocks(groups, threads), threads, shared, args });
    if codec.restores_gain() {
        let buffers = [Slot::Moments, Slot::Scales, Slot::Zeros].map(Arg::Buffer);
        let args = buffers.into_iter().chain(what).chain([Arg::U32(u32::from(scheme.symmetric()))]).collect();
        launches.push(Launch { kernel: "gain", blocks: blocks(rows, 64), threads: 64, shared: 0, args });
    }
    launches
}

/// Packs the codes.
pub fn pack(bits: BitWidth, codes: usize) -> Launch {
    let args = vec![Arg::Buffer(Slot::Codes), Arg::Buffer(Slot::Packed), Arg::U64(codes as u64), Arg::U32(bits.bits())];
    over_bytes("pack", bits, codes, args)
}

/// Decodes packed codes, and turns back what was rotated.
pub fn dequantize(g: Geometry, scheme: Scheme, rows: usize) -> Vec<Launch> {
    let values = rows * g.row();
    let mut args = [Slot::Packed, Slot::Scales, Slot::Zeros, Slot::Values].map(Arg::Buffer).to_vec();
    args.push(Arg::U64(values as u64));
    args.extend([g.channels as u32, g.taps as u32, g.group as u32, scheme.bits.bits(), u32::from(scheme.symmetric())].map(Arg::U32));
    let decoded = over_bytes("dequantize", scheme.bits, values, args);
    std::iter::once(decoded).chain(scheme.rotation.map(|block| rotate(Slot::Values, values, block))).collect()
}

/// Error sums of the rows.
pub fn errors(g: Geometry, rows: usize) -> Launch {
    let args = [Slot::Weights, Slot::Values, Slot::Sums].map(Arg::Buffer).into_iter().chain([rows as u32, g.row() as u32].map(Arg::U32));
    let (threads, shared) = (THREADS, THREADS * ERROR_BYTES);
    Launch { kernel: "errors", blocks: blocks(rows, threads / ERROR_LANES), threads, shared, args: args.collect() }
}

/// Threads of a block and its shared memory; none where a group is too large for that.
fn tile(group: usize) -> (u32, u32) {
    let bytes = |threads: u32| group.saturating_mul(threads as usize + 1).saturating_mul(4);
    let fitting = [THREADS, THREADS / 2, THREADS / 4].into_iter().find(|&threads| bytes(threads) <= SHARED);
    fitting.map_or((THREADS, 0), |threads| (threads, bytes(threads) as u32))
}

fn rotate(slot: Slot, len: usize, block: usize) -> Launch {
    let scale = 1.0 / (block as f32).sqrt();
    let args = vec![
        Arg::Buffer(slot),
        Arg::Buffer(Slot::NotFinite),
        Arg::U64(len as u64),
        Arg::U32(block as u32),
        Arg::U32(SPAN),
        Arg::F32(scale),
    ];
    Launch { kernel: "rotate", blocks: blocks(len, SPAN), threads: THREADS, shared: 4 * SPAN, args }
}

fn over_bytes(kernel: &'static str, bits: BitWidth, codes: usize, args: Vec<Arg>) -> Launch {
    Launch { kernel, blocks: blocks(codes.div_ceil(bits.codes_per_byte()), 256), threads: 256, shared: 0, args }
}

fn scheme_args(g: Geometry, scheme: Scheme, groups: usize) -> Vec<Arg> {
    let dtype = match scheme.scale_dtype {
        ScaleDtype::Bf16 => 0,
        ScaleDtype::F16 => 1,
        ScaleDtype::F32 => 2,
    };
    let [groups, channels, taps, group] = [groups, g.channels, g.taps, g.group].map(|n| Arg::U32(n as u32));
    let whole = u32::from(scheme.zero == ZeroKind::Integer);
    vec![groups, channels, taps, group, Arg::F32(scheme.bits.max_code() as f32), Arg::U32(dtype), Arg::U32(whole)]
}

const fn blocks(work: usize, each: u32) -> u32 {
    work.div_ceil(each as usize) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme(bits: BitWidth, method: Method, rotation: Option<usize>) -> Scheme {
        let scale_dtype = ScaleDtype::for_bits(bits);
        Scheme { bits, group_size: 64, zero: ZeroKind::Float, method, scale_dtype, rotation, blocks: None }
    }

    #[test]
    fn shared_memory_is_what_every_device_has() {
        for group in [1, 31, 32, 64, 95, 96, 128, 190, 191, 256, 372, 373, 640, 4096] {
            let (threads, shared) = tile(group);
            assert!(shared as usize <= SHARED && threads.is_multiple_of(32));
            assert_eq!(shared > 0, group <= 372, "{group}");
            assert!(shared == 0 || shared as usize >= group * threads as usize * 4);
        }
    }

    #[test]
    fn every_group_value_and_row_has_its_thread() {
        for shape in [[1, 64], [3, 640], [5, 97], [3072, 3072], [1, 4]] {
            let g = Geometry::of(&shape, 64).unwrap();
            for launch in encode(g, scheme(BitWidth::Two, Method::Mse, Some(4)), Tuning::default(), g.out) {
                let each = if launch.kernel == "rotate" { SPAN } else { launch.threads };
                let wanted = match launch.kernel {
                    "rotate" => g.numel(),
                    "gain" => g.out,
                    _ => g.out * g.scales_per_row(),
                };
                assert!(launch.blocks as usize * each as usize >= wanted && (launch.blocks as usize - 1) * (each as usize) < wanted);
            }
            let errors = errors(g, g.out);
            assert!(errors.blocks * errors.threads / ERROR_LANES >= g.out as u32 && errors.shared as usize <= SHARED);
        }
    }

    #[test]
    fn only_what_a_scheme_asks_for_is_launched() {
        let g = Geometry::of(&[4, 64], 64).unwrap();
        let names = |bits, method, rotation| -> Vec<_> {
            encode(g, scheme(bits, method, rotation), Tuning::default(), 4).iter().map(|l| l.kernel).collect()
        };
        assert_eq!(names(BitWidth::Four, Method::Rtn, None), ["rtn"]);
        assert_eq!(names(BitWidth::Eight, Method::Mse, Some(64)), ["rotate", "mse"]);
        assert_eq!(names(BitWidth::Two, Method::Mse, None), ["mse_weighted", "gain"]);
        assert_eq!(names(BitWidth::Four, Method::Gptq, None), ["mse", "gain"]);
    }
}
