//! The codecs: what bytes say is packed, encoded and decoded at every kernel level. Unlike a reader a codec refuses nothing that its contract
//! allows, so what does not hold is a panic.

use aq_core::blocks::BlockType;
use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind, rotation_for};
use aq_kernels::convert::first_non_finite;
use aq_kernels::ggml::{decode, encode};
use aq_kernels::pack::{pack_at, packed_len, unpack_at};
use aq_kernels::{Level, RowCodec, RowFlags, RowSums, Scratch, Tuning};
use aq_testkit::gauss;

/// Weights of one input, at most.
const MOST: usize = 4096;

/// Takes choices and numbers from bytes; when they are used up, the choices are the first ones.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let Some((bytes, rest)) = self.0.split_first_chunk::<2>() else { return 0 };
        self.0 = rest;
        usize::from(u16::from_le_bytes(*bytes)) % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// `n` floats: whatever 32 bits may be, the upper half of them, or small whole numbers, which meet at ties. Bytes are used again when
    /// there are too few.
    fn floats(&mut self, n: usize) -> Vec<f32> {
        let size = self.one(&[4, 2, 1]);
        let number = |at: usize| {
            let byte = |i: usize| self.0.get((at * size + i) % self.0.len().max(1)).copied().unwrap_or(0);
            match size {
                4 => f32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]),
                2 => f32::from_le_bytes([0, 0, byte(0), byte(1)]),
                _ => f32::from(byte(0) as i8),
            }
        };
        (0..n).map(number).collect()
    }

    /// Floats of which none is NaN or infinite; those that are must have been found.
    fn finite(&mut self, n: usize) -> Vec<f32> {
        let mut values = self.floats(n);
        let found = first_non_finite(&values);
        assert_eq!(found, values.iter().position(|v| !v.is_finite()));
        values.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 1.0);
        values
    }
}

/// One NaN is as good as another.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
}

/// Codes packed and unpacked, and packed bytes unpacked and packed.
pub fn packing(bytes: &[u8]) -> bool {
    let mut from = Choices(bytes);
    let width = from.one(&BitWidth::ALL);
    let codes = from.0;
    let wanted: Vec<u8> = codes.iter().map(|c| c & width.max_code() as u8).collect();
    let mut first = None;
    for level in Level::available() {
        let mut packed = vec![0xaa; packed_len(codes.len(), width)];
        // At 8 bits a code is its byte; else what a code has too much must not reach its neighbours.
        pack_at(level, codes, width, &mut packed);
        let mut back = vec![0x55; codes.len()];
        unpack_at(level, &packed, width, &mut back);
        assert_eq!(back, wanted, "{}", level.name());
        assert_eq!(first.get_or_insert_with(|| packed.clone()), &packed, "{}", level.name());
        let (mut unpacked, mut again) = (vec![0x55; codes.len() * width.codes_per_byte()], vec![0xaa; codes.len()]);
        unpack_at(level, codes, width, &mut unpacked);
        pack_at(level, &unpacked, width, &mut again);
        assert_eq!(again, codes, "{}", level.name());
    }
    true
}

/// What encoding rows gives.
#[derive(PartialEq)]
struct Encoded {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    flags: RowFlags,
}

impl Encoded {
    fn of(codec: &RowCodec, g: &Geometry, level: Level, rows: &[f32]) -> Self {
        let n = rows.len() / g.row() * g.scales_per_row();
        let (mut codes, mut scales, mut zeros) = (vec![0xff; rows.len()], vec![f32::NAN; n], vec![f32::NAN; n]);
        let flags = codec.encode_at(level, rows, &mut Scratch::default(), &mut codes, &mut scales, &mut zeros);
        Self { codes, scales, zeros, flags }
    }

    /// A layer with these flags is not stored like this.
    fn is_refused(&self) -> bool {
        self.flags != RowFlags::default()
    }

    fn bits(&self) -> (&[u8], Vec<u32>, Vec<u32>) {
        (&self.codes, bits(&self.scales), bits(&self.zeros))
    }

    /// Decoded row by row, with the sums of each row's errors.
    fn decoded(&self, codec: &RowCodec, g: &Geometry, level: Level, rows: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let (mut values, mut sums) = (vec![f32::NAN; rows.len()], Vec::new());
        let (codes, n) = (self.codes.chunks(g.row()), g.scales_per_row());
        let grids = self.scales.chunks(n).zip(self.zeros.chunks(n));
        for (((codes, (scales, zeros)), row), out) in codes.zip(grids).zip(rows.chunks(g.row())).zip(values.chunks_mut(g.row())) {
            codec.decode_at(level, codes, scales, zeros, out);
            let RowSums { ww, vv, wv, ee, max_abs } = RowSums::of_at(level, row, out);
            sums.extend([ww, vv, wv, ee, max_abs]);
        }
        (values, sums)
    }
}

fn scheme(from: &mut Choices<'_>) -> Scheme {
    Scheme {
        bits: from.one(&BitWidth::ALL),
        group_size: from.one(&[32, 64, 128, 256]),
        zero: from.one(&[ZeroKind::Float, ZeroKind::None, ZeroKind::Integer]),
        method: from.one(&[Method::Mse, Method::Rtn]),
        scale_dtype: from.one(&[ScaleDtype::Bf16, ScaleDtype::F16, ScaleDtype::F32]),
        rotation: None,
        blocks: None,
    }
}

/// Rows of any geometry as grouped integers.
pub fn rows(bytes: &[u8]) -> bool {
    let mut from = Choices(bytes);
    let scheme = scheme(&mut from);
    let channels = 1 + from.below(320);
    let taps = from.one(&[1, 1, 3, 4, 9]);
    let rows = 1 + from.below((MOST / (channels * taps)).clamp(1, 40));
    let wanted = from.one(&[0, 4, 32, 256]);
    let scheme = scheme.with_rotation(if wanted > 0 { rotation_for(channels, wanted) } else { None });
    let Some(g) = Geometry::of(&[rows, channels, taps], scheme.group_size) else { unreachable!("no dimension is empty") };
    let w = from.finite(g.numel());
    let codec = RowCodec::new(g, scheme, Tuning::default());

    let generic = Encoded::of(&codec, &g, Level::GENERIC, &w);
    if generic.flags.rotated_too_large {
        return false;
    }
    let most = scheme.bits.max_code() as u8;
    assert!(generic.codes.iter().all(|c| *c <= most), "{scheme:?}");
    let (values, sums) = generic.decoded(&codec, &g, Level::GENERIC, &w);
    if !generic.is_refused() {
        assert!(generic.scales.iter().all(|s| *s > 0.0 && s.is_finite()) && generic.zeros.iter().all(|z| z.is_finite()), "{scheme:?}");
    }
    // Next to the largest f32, finite scales can lead past it; whoever encodes sees that in the energy of what is decoded.
    let energy_is_finite = sums.chunks(5).all(|sums| sums[1].is_finite());
    assert_eq!(values.iter().all(|v| v.is_finite()), energy_is_finite, "{scheme:?}");
    for level in Level::available() {
        let encoded = Encoded::of(&codec, &g, level, &w);
        assert!(encoded.bits() == generic.bits() && encoded.flags == generic.flags, "{} {scheme:?}", level.name());
        let (v, s) = encoded.decoded(&codec, &g, level, &w);
        assert!(bits(&v) == bits(&values), "{} {scheme:?}", level.name());
        assert!(s.iter().zip(&sums).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()), "{} {scheme:?}", level.name());
    }
    // Rows are searched side by side, and each is as if alone.
    let mut alone = w.chunks(g.row()).map(|row| Encoded::of(&codec, &g, Level::current(), row));
    assert!(alone.by_ref().flat_map(|e| e.codes).eq(generic.codes.iter().copied()), "{scheme:?}");
    energy_is_finite && !generic.is_refused()
}

/// Weights as ggml's blocks, and any bytes as such blocks.
pub fn blocks(bytes: &[u8]) -> bool {
    let mut from = Choices(bytes);
    let (kind, method) = (from.one(&BlockType::ALL), from.one(&[Method::Mse, Method::Rtn]));
    let count = 1 + from.below(MOST / 2 / kind.weights());
    let any: Vec<u8> = from.0.iter().copied().cycle().take(if from.0.is_empty() { 0 } else { count * kind.bytes() }).collect();
    let mut values = vec![f32::NAN; any.len() / kind.bytes() * kind.weights()];
    decode(kind, &any, &mut values);

    let w = from.finite(count * kind.weights());
    let mut first = None;
    for level in Level::available() {
        let mut blocks = vec![0xaa; count * kind.bytes()];
        let beyond = encode(level, kind, method, &w, &mut blocks);
        assert!(first.get_or_insert_with(|| (blocks.clone(), beyond)) == &(blocks, beyond), "{} {}", level.name(), kind.name());
    }
    let Some((blocks, beyond)) = first else { unreachable!("there is a level") };
    let mut values = vec![f32::NAN; w.len()];
    decode(kind, &blocks, &mut values);
    // Also where a scale passes what a half holds: it is the largest one then.
    assert!(values.iter().all(|v| v.is_finite()), "{}", kind.name());
    beyond.is_none()
}

fn chosen(choices: &[u16], rest: &[u8]) -> Vec<u8> {
    choices.iter().flat_map(|c| c.to_le_bytes()).chain(rest.iter().copied()).collect()
}

fn ordinary(n: usize) -> Vec<u8> {
    gauss(1, n, 1).into_iter().flat_map(f32::to_le_bytes).collect()
}

pub(crate) fn seeds_of_packing() -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (0..=255).collect();
    (0..3).map(|width| chosen(&[width], &bytes[width.into()..])).collect()
}

pub(crate) fn seeds_of_rows() -> Vec<Vec<u8>> {
    // Width, group, zero, method, scale type, channels, taps, rows, rotation, form of the numbers.
    [
        [1, 1, 0, 0, 0, 127, 0, 2, 0, 0],
        [0, 0, 1, 0, 0, 63, 0, 4, 3, 0],
        [2, 2, 0, 0, 1, 255, 0, 0, 0, 0],
        [1, 0, 2, 1, 2, 31, 4, 1, 0, 0],
        [0, 0, 0, 0, 0, 96, 2, 3, 0, 0],
    ]
    .iter()
    .map(|choices| chosen(choices, &ordinary(256)))
    .collect()
}

pub(crate) fn seeds_of_blocks() -> Vec<Vec<u8>> {
    // Type, method, blocks, form of the numbers.
    (0..BlockType::ALL.len() as u16).map(|kind| chosen(&[kind, 0, 0, 0], &ordinary(256))).collect()
}
