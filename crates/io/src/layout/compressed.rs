//! compressed-tensors, `pack-quantized`: what transformers and vLLM open.
//!
//! Facts from `vllm-project/compressed-tensors` (`compressors/pack_quantized`, `quantization/quant_args.py`): codes of a row are a dense
//! little-endian bit stream in 32-bit words, unsigned, with 2^(bits-1) standing for 0; scales are a tensor of their own. Zero points, where
//! they are asked for, are whole numbers packed along the rows. They are not the default: release 0.20 cannot open them on transformers'
//! default route (it expects them unpacked), only with `CompressedTensorsConfig(dequantize=True)`; vLLM does.

use super::stored::{self, Stored};
use super::{Described, EncodedRows, LayerSpec, Layout, OutTensor, Placing};
use crate::error::IoError;
use crate::source::Shard;
use aq_core::{BitWidth, Dtype, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::Zeros;
use aq_kernels::convert::{from_f32, scale_file_dtype, to_f32};
use aq_kernels::pack::{pack, packed_len, unpack};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The compressed-tensors layout.
#[derive(Debug, Clone, Copy)]
pub struct CompressedTensors {
    /// With zero points, where the scheme is not symmetric.
    pub zero_points: bool,
}

/// Symmetric codes, and such with zero points.
pub static COMPRESSED: [CompressedTensors; 2] = [CompressedTensors { zero_points: false }, CompressedTensors { zero_points: true }];

/// Bytes of a row of codes: whole words.
pub(crate) const fn row_bytes(channels: usize, bits: BitWidth) -> usize {
    packed_len(channels, bits).next_multiple_of(4)
}

impl Layout for CompressedTensors {
    fn name(&self) -> &'static str {
        "compressed-tensors"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        if layer.shape.len() != 2 {
            return Err("compressed-tensors packs linear layers only".into());
        }
        let s = layer.scheme;
        let zero = if self.zero_points && !s.symmetric() { ZeroKind::Integer } else { ZeroKind::None };
        // Compensation is not at home on whole zeros.
        let method = if zero == ZeroKind::Integer && s.method == Method::Gptq { Method::Mse } else { s.method };
        Ok(layer.with_scheme(Scheme { zero, method, blocks: None, ..s }))
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let (g, scheme, module) = (layer.geometry, layer.scheme, layer.written_module());
        let (row, scale) = (row_bytes(g.channels, scheme.bits), scale_file_dtype(scheme.scale_dtype));
        let of = |name: &str, dtype, shape: Vec<usize>, row: usize, fixed: Vec<u8>| OutTensor {
            name: format!("{module}.weight_{name}"),
            dtype,
            shape,
            len: if fixed.is_empty() { g.out * row } else { fixed.len() } as u64,
            row_bits: row as u64 * 8,
            fixed,
            placing: Placing::Rows,
        };
        let shape = layer.shape.iter().flat_map(|&d| (d as i64).to_le_bytes()).collect();
        let mut tensors = vec![
            of("packed", Dtype::Carried("I32", 4), vec![g.out, row / 4], row, vec![]),
            of("scale", scale, vec![g.out, g.groups()], g.groups() * scale.size(), vec![]),
            of("shape", Dtype::Carried("I64", 8), vec![2], 0, shape),
        ];
        if scheme.zero == ZeroKind::Integer {
            let (groups, bits) = (g.groups(), scheme.bits.bits() as usize);
            let words = (g.out * bits).div_ceil(32);
            let mut zeros = of("zero_point", Dtype::Carried("I32", 4), vec![words, groups], 0, vec![]);
            (zeros.len, zeros.row_bits) = ((words * groups * 4) as u64, (groups * bits) as u64);
            zeros.placing = Placing::Words { count: groups };
            tensors.push(zeros);
        }
        tensors
    }

    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        let (g, scheme) = (layer.geometry, layer.scheme);
        let (row, bytes) = (row_bytes(g.channels, scheme.bits), packed_len(g.channels, scheme.bits));
        for codes in rows.codes.chunks_exact(g.channels) {
            let at = out[0].len();
            u8::set_len(&mut out[0], at + row);
            pack(codes, scheme.bits, &mut out[0][at..at + bytes]);
        }
        from_f32(&rows.scales, scale_file_dtype(scheme.scale_dtype), &mut out[1]);
        if let Some(out) = out.get_mut(3) {
            let steps = rows.zeros.iter().zip(&rows.scales).map(|(zero, scale)| (-zero / scale).round() as u8);
            write_lines(&steps.collect::<Vec<_>>(), g.groups(), scheme.bits, out);
        }
    }

    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool {
        let (g, scheme) = (layer.geometry, layer.scheme);
        into.resize(layer, rows);
        let packed = bytes[0].chunks_exact(row_bytes(g.channels, scheme.bits));
        for (packed, codes) in packed.zip(into.codes.chunks_exact_mut(g.channels)) {
            unpack(&packed[..packed_len(g.channels, scheme.bits)], scheme.bits, codes);
        }
        to_f32(bytes[1], scale_file_dtype(scheme.scale_dtype), &mut into.scales);
        match bytes.get(3) {
            Some(bytes) => {
                let steps = read_lines(bytes, g.groups(), scheme.bits, into.zeros.len());
                for ((zero, step), scale) in into.zeros.iter_mut().zip(steps).zip(&into.scales) {
                    *zero = 0.0 - f32::from(step) * scale;
                }
            }
            None => into.zeros.fill(0.0),
        }
        true
    }

    /// As the loader does: the difference of whole numbers first.
    fn read_rows(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, out: &mut [f32]) {
        let mut encoded = EncodedRows::default();
        self.read_codes(layer, bytes, rows, &mut encoded);
        let Some(zeros) = bytes.get(3) else { return encoded.decode(layer, out) };
        let g = layer.geometry;
        let steps = read_lines(zeros, g.groups(), layer.scheme.bits, encoded.scales.len());
        let groups = out.chunks_exact_mut(g.group).zip(encoded.codes.chunks_exact(g.group));
        for ((values, codes), (scale, step)) in groups.zip(encoded.scales.iter().zip(steps)) {
            values.iter_mut().zip(codes).for_each(|(value, &code)| *value = (f32::from(code) - f32::from(step)) * scale);
        }
    }

    fn quantization_config(&self, described: Described<'_>) -> Option<Map<String, Value>> {
        let mut groups: BTreeMap<(BitWidth, Option<usize>, bool), Vec<&str>> = BTreeMap::new();
        for layer in described.layers {
            let g = layer.geometry;
            let size = (g.groups() > 1).then_some(g.group);
            groups.entry((layer.scheme.bits, size, layer.scheme.symmetric())).or_default().push(layer.written_module());
        }
        let mut list = Map::new();
        for (i, ((bits, size, symmetric), modules)) in groups.into_iter().enumerate() {
            let strategy = if size.is_some() { "group" } else { "channel" };
            let weights = json!({"num_bits": bits.bits(), "type": "int", "symmetric": symmetric, "strategy": strategy, "group_size": size});
            let group = json!({"targets": modules, "weights": weights, "input_activations": null, "output_activations": null});
            list.insert(format!("group_{i}"), group);
        }
        let ignore: Vec<&str> = described.floats.iter().map(|t| t.strip_suffix(".weight").unwrap_or(t)).collect();
        let config = json!({
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": list,
            "ignore": ignore,
        });
        config.as_object().cloned()
    }
}

/// Zeros of rows of `groups` each, packed along the rows: a line holds what rows share a byte, one byte for each group.
fn write_lines(steps: &[u8], groups: usize, bits: BitWidth, out: &mut Vec<u8>) {
    let per_byte = bits.codes_per_byte();
    for rows in steps.chunks(groups * per_byte) {
        let at = out.len();
        out.resize(at + groups, 0);
        for (k, row) in rows.chunks_exact(groups).enumerate() {
            out[at..].iter_mut().zip(row).for_each(|(byte, step)| *byte |= step << (k as u32 * bits.bits()));
        }
    }
}

fn read_lines(bytes: &[u8], groups: usize, bits: BitWidth, count: usize) -> Vec<u8> {
    let (per_byte, mask) = (bits.codes_per_byte(), bits.max_code() as u8);
    let step = |i: usize| {
        let (row, group) = (i / groups, i % groups);
        bytes[row / per_byte * groups + group] >> ((row % per_byte) as u32 * bits.bits()) & mask
    };
    (0..count).map(step).collect()
}

/// What a config says of the weights beside it, whether all are symmetric, or none; refuses what this program does not decode rather than decode it wrongly.
pub(crate) fn check(path: &Path, config: &Map<String, Value>) -> Result<Option<bool>, IoError> {
    let refuse = |what: &str| {
        let detected = format!("a compressed-tensors model {what}, which this version does not decode");
        Err(IoError::Unsupported { path: path.into(), detected })
    };
    match config.get("format").and_then(Value::as_str) {
        Some("pack-quantized") => {}
        format => return refuse(&format!("of format {}", format.unwrap_or("unnamed"))),
    }
    if config.get("transform_config").is_some_and(|t| t.as_object().is_none_or(|t| !t.is_empty())) {
        return refuse("whose weights are transformed");
    }
    let mut kinds = BTreeSet::new();
    for group in config.get("config_groups").and_then(Value::as_object).into_iter().flat_map(Map::values) {
        let weights = &group["weights"];
        if weights["type"] != "int" || !weights["symmetric"].is_boolean() {
            return refuse("with floats as codes");
        }
        kinds.extend(weights["symmetric"].as_bool());
        if !weights["actorder"].is_null() {
            return refuse("whose columns are in another order");
        }
        if !matches!(weights["strategy"].as_str(), Some("group" | "channel")) {
            return refuse("whose scales are not those of groups or rows");
        }
    }
    Ok(kinds.pop_first().filter(|_| kinds.is_empty()))
}

/// The weight whose codes are the tensor `name`, if it is one.
pub(crate) fn stored(shard: &Shard, name: &str, symmetric: Option<bool>) -> Result<Option<Stored>, IoError> {
    let bad = |about: &str| stored::contradiction(&shard.path, name, about);
    let weight_of = |end: &str| name.strip_suffix(end).filter(|w| w.ends_with(".weight"));
    if weight_of("_shape").is_some_and(|w| shard.header.tensor(&format!("{w}_packed")).is_none()) {
        return Err(bad("its codes, which are not there"));
    }
    let Some(weight) = weight_of("_packed") else { return Ok(None) };
    let find = |part: &str| shard.header.tensor(&format!("{weight}_{part}"));
    let (Some(codes), Some(scale), Some(shape)) = (shard.header.tensor(name), find("scale"), find("shape")) else {
        return Err(bad("its scales and its shape, which are not there"));
    };
    let scale_dtype = ScaleDtype::of(scale.dtype).ok_or_else(|| bad("the type of its scales"))?;
    let mut bytes = [0; 16];
    if shape.dtype != Dtype::Carried("I64", 8) || shape.len != bytes.len() as u64 {
        return Err(bad("its shape"));
    }
    shard.read(&mut bytes, shape.offset)?;
    let [out, channels] = [0, 8].map(|at| usize::try_from(i64::from_le_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 8]))).unwrap_or(0));
    // The width is the one whose words these are.
    let words = |bits: &BitWidth| channels.checked_mul(bits.bits() as usize).is_some_and(|n| codes.shape == [out, n.div_ceil(32)]);
    let bits = BitWidth::ALL.into_iter().find(words).filter(|_| out > 0 && channels > 0).ok_or_else(|| bad("its shape"))?;
    let groups = scale.shape.get(1).copied().unwrap_or(0);
    if scale.shape != [out, groups] || groups == 0 || !channels.is_multiple_of(groups) {
        return Err(bad("its groups"));
    }
    let zeros = find("zero_point");
    if symmetric.is_some_and(|symmetric| symmetric == zeros.is_some()) {
        return Err(bad("its zero points"));
    }
    let (zero, method) = (if zeros.is_some() { ZeroKind::Integer } else { ZeroKind::None }, Method::Rtn);
    let scheme = Scheme { bits, group_size: channels / groups, zero, method, scale_dtype, rotation: None, blocks: None };
    let spec = LayerSpec::new(weight, &[out, channels], Dtype::F32, scheme).ok_or_else(|| bad("its shape"))?;
    let mut tensors = vec![name.to_owned(), scale.name.clone(), shape.name.clone()];
    if let Some(zeros) = zeros {
        let wanted = &COMPRESSED[1].tensors(&spec)[3];
        if (zeros.dtype, &zeros.shape) != (wanted.dtype, &wanted.shape) {
            return Err(bad("its zero points"));
        }
        tensors.push(zeros.name.clone());
    }
    Ok(Some(Stored { layout: &COMPRESSED[1], spec, tensors }))
}
