//! ComfyUI's quantized safetensors: one file with the original names, which ComfyUI opens as a diffusion model; what has 8 bits is read by
//! stable-diffusion.cpp, too.
//!
//! Facts from `comfy/ops.py` (`_load_quantized_module`) of Comfy-Org/ComfyUI and comfy-kitchen 0.2.40: a linear module has a `comfy_quant`, JSON
//! in bytes, that names its format. `int8_tensorwise`: signed codes, one scale for each row. `awq_w4a16`: two codes a byte, the even column
//! low; scales and zeros of groups of 64 stand transposed, and the zero is what code 8 stands for.

use super::stored::{self, Stored};
use super::{Described, EncodedRows, LayerSpec, Layout, OutTensor, Placing, grouped};
use crate::error::IoError;
use crate::header::TensorInfo;
use crate::source::{Component, Shard};
use aq_core::{BitWidth, Dtype, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::convert::{from_f32, scale_file_dtype, to_f32};
use aq_kernels::pack::packed_len;
use serde_json::{Map, Value, json};

/// The ComfyUI layout.
#[derive(Debug, Clone, Copy)]
pub struct ComfyUi {
    /// Stored type of scales at 4 bits: results have it, and ComfyUI computes a model in one type.
    pub half: ScaleDtype,
}

/// For models that are computed in bf16, and in f16.
pub static COMFYUI: [ComfyUi; 2] = [ComfyUi { half: ScaleDtype::Bf16 }, ComfyUi { half: ScaleDtype::F16 }];

/// Weights of a group at 4 bits.
const GROUP: usize = 64;
/// Values that are rotated together at 8 bits, by the matrix that SDNQ has, too; both programs are fastest with this many.
const BLOCK: usize = 256;
/// The code that stands for nothing but the zero, at 4 bits.
const MIDDLE: f32 = 8.0;
const SIGNED: Dtype = Dtype::Carried("I8", 1);
const BYTES: Dtype = Dtype::Carried("U8", 1);
/// What says how a module is stored.
pub(crate) const MARK: &str = "comfy_quant";
/// More than any.
const MOST_MARK_BYTES: u64 = 1 << 16;

/// ComfyUI takes the sizes of a model from the shapes of these, and two codes in a byte look like half the columns
/// (`comfy/model_detection.py`).
const MEASURED: [&str; 7] = [
    "img_in.weight",
    "txt_in.weight",
    "vector_in.in_layer.weight",
    "context_embedder.weight",
    "y_embedder.mlp.0.weight",
    "label_emb.0.0.weight",
    ".transformer_blocks.0.attn2.to_k.weight",
];

impl Layout for ComfyUi {
    fn name(&self) -> &'static str {
        "comfyui"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        if layer.shape.len() != 2 {
            return Err("ComfyUI has codes for linear layers only".into());
        }
        let (s, channels) = (layer.scheme, layer.geometry.channels);
        let scheme = match s.bits {
            BitWidth::Eight => Scheme { group_size: 0, zero: ZeroKind::None, scale_dtype: ScaleDtype::F32, ..s },
            BitWidth::Four if MEASURED.iter().any(|m| layer.written.ends_with(m)) => {
                return Err("ComfyUI takes the model's sizes from its shape, which 4 bits would halve".into());
            }
            BitWidth::Four if channels.is_multiple_of(GROUP) => {
                let zero = if s.symmetric() { ZeroKind::None } else { ZeroKind::Middle };
                Scheme { group_size: GROUP, zero, scale_dtype: self.half, rotation: None, ..s }
            }
            BitWidth::Four => return Err(format!("its {channels} input channels are not groups of {GROUP}")),
            BitWidth::Two => return Err("ComfyUI has no codes of 2 bits".into()),
        };
        Ok(layer.with_scheme(Scheme { blocks: None, ..scheme }))
    }

    fn rotates(&self, layer: &LayerSpec, block: usize) -> bool {
        layer.scheme.bits == BitWidth::Eight && block == BLOCK && layer.geometry.channels.is_multiple_of(BLOCK)
    }

    fn original_names(&self) -> bool {
        true
    }

    fn merged(&self, component: &Component) -> Option<String> {
        component.shards.first().map(|first| first.merged_name("safetensors"))
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let (g, module, s) = (layer.geometry, layer.written_module(), layer.scheme);
        let fixed = mark(layer);
        let len = fixed.len();
        let mark = OutTensor { fixed, ..OutTensor::carried(&format!("{module}.{MARK}"), BYTES, &[len], len as u64) };
        let row = packed_len(g.channels, s.bits);
        let codes =
            OutTensor { row_bits: row as u64 * 8, ..OutTensor::carried(&layer.written, SIGNED, &[g.out, row], (g.out * row) as u64) };
        let dtype = scale_file_dtype(s.scale_dtype);
        let (size, groups) = (dtype.size(), g.groups());
        let values = |name: &str, shape: &[usize], placing| OutTensor {
            row_bits: (groups * size * 8) as u64,
            placing,
            ..OutTensor::carried(&format!("{module}.{name}"), dtype, shape, (g.out * groups * size) as u64)
        };
        if s.bits == BitWidth::Eight {
            return vec![codes, values("weight_scale", &[g.out, 1], Placing::Rows), mark];
        }
        let columns = || Placing::Columns { out: g.out, count: groups, size };
        let shape = [groups, g.out];
        vec![codes, values("weight_scale", &shape, columns()), values("weight_zeros", &shape, columns()), mark]
    }

    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        let (s, start) = (layer.scheme, out[0].len());
        grouped::write(layer, rows, &mut out[..2]); // rows of whole bytes: no gaps
        if s.bits == BitWidth::Eight {
            out[0][start..].iter_mut().for_each(|b| *b ^= 0x80);
        } else if s.symmetric() {
            out[2].resize(out[1].len(), 0);
        } else {
            let middle: Vec<f32> = rows.zeros.iter().zip(&rows.scales).map(|(zero, scale)| zero + MIDDLE * scale).collect();
            from_f32(&middle, scale_file_dtype(s.scale_dtype), &mut out[2]);
        }
    }

    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool {
        if layer.scheme.bits == BitWidth::Eight {
            grouped::read(layer, &bytes[..2], rows, into);
            into.codes.iter_mut().for_each(|b| *b ^= 0x80);
        } else {
            grouped::read(layer, &bytes[..3], rows, into);
            into.zeros.iter_mut().zip(&into.scales).for_each(|(zero, scale)| *zero -= MIDDLE * scale);
        }
        true
    }

    /// As the loader does: at 4 bits around the middle code, which rounds otherwise than from the lowest.
    fn read_rows(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, out: &mut [f32]) {
        let (mut encoded, mut middles) = (EncodedRows::default(), vec![0.0; rows * layer.geometry.scales_per_row()]);
        self.read_codes(layer, bytes, rows, &mut encoded);
        if layer.scheme.bits == BitWidth::Eight {
            return encoded.decode(layer, out);
        }
        to_f32(bytes[2], scale_file_dtype(layer.scheme.scale_dtype), &mut middles);
        let groups = out.chunks_exact_mut(GROUP).zip(encoded.codes.chunks_exact(GROUP));
        for ((values, codes), (scale, middle)) in groups.zip(encoded.scales.iter().zip(&middles)) {
            values.iter_mut().zip(codes).for_each(|(value, &code)| *value = (f32::from(code) - MIDDLE) * scale + middle);
        }
    }

    fn quantization_config(&self, _described: Described<'_>) -> Option<Map<String, Value>> {
        None
    }
}

/// What says how a layer is stored. Spaces make it as long as it would be with a rotation, which is chosen when its place is.
fn mark(layer: &LayerSpec) -> Vec<u8> {
    // stable-diffusion.cpp has no default for the size of a block.
    let rows = |rotation: Option<usize>| match rotation {
        Some(block) => json!({"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": block}).to_string(),
        None => json!({"format": "int8_tensorwise"}).to_string(),
    };
    if layer.scheme.bits == BitWidth::Four {
        return json!({"format": "awq_w4a16", "group_size": GROUP}).to_string().into_bytes();
    }
    let longest = if layer.geometry.channels.is_multiple_of(BLOCK) { rows(Some(BLOCK)).len() } else { 0 };
    let mut text = rows(layer.scheme.rotation).into_bytes();
    text.resize(longest.max(text.len()), b' ');
    text
}

/// Whether a file says of any module how it is stored.
pub(crate) fn marks(component: &Component) -> bool {
    component.tensors().any(|(_, t)| t.name.strip_suffix(MARK).is_some_and(|module| module.ends_with('.')))
}

/// The weight whose codes are the tensor `name`, if it is one.
pub(crate) fn stored(shard: &Shard, tensor: &TensorInfo) -> Result<Option<Stored>, IoError> {
    let name = &tensor.name;
    let Some(module) = name.strip_suffix(".weight") else { return Ok(None) };
    let find = |part: &str| shard.header.tensor(&format!("{module}.{part}"));
    let Some(mark) = find(MARK) else { return Ok(None) };
    let bad = |about: &str| stored::contradiction(&shard.path, name, about);
    if mark.dtype != BYTES || mark.len > MOST_MARK_BYTES {
        return Err(bad("how it is stored"));
    }
    let mut text = vec![0; mark.len as usize];
    shard.read(&mut text, mark.offset)?;
    let says: Value = serde_json::from_slice(&text).map_err(|_| bad("how it is stored"))?;
    let unsupported = |what: &str| IoError::Unsupported {
        path: shard.path.clone(),
        detected: format!("a model for ComfyUI {what}, which this version does not decode"),
    };
    let rotated = [&says, &says["params"]].into_iter().find(|s| s["convrot"] == true);
    let rotation = rotated.map(|s| s.get("convrot_groupsize").map_or(Some(BLOCK as u64), Value::as_u64));
    let (bits, group) = match says["format"].as_str() {
        Some("int8_tensorwise") => (BitWidth::Eight, None),
        Some("awq_w4a16") => (BitWidth::Four, Some(says.get("group_size").map_or(Some(GROUP as u64), Value::as_u64))),
        format => return Err(unsupported(&format!("of format {}", format.unwrap_or("unnamed")))),
    };
    if group.is_some_and(|g| g != Some(GROUP as u64)) {
        return Err(unsupported(&format!("whose groups do not have {GROUP} weights")));
    }
    let &[out, row] = tensor.shape.as_slice() else { return Err(bad("its shape")) };
    let (Some(scale), Some(channels)) = (find("weight_scale"), row.checked_mul(8 / bits.bits() as usize)) else {
        return Err(bad("its scales"));
    };
    let scale_dtype = ScaleDtype::of(scale.dtype).ok_or_else(|| bad("the type of its scales"))?;
    let zero = if bits == BitWidth::Eight { ZeroKind::None } else { ZeroKind::Middle };
    let group_size = if bits == BitWidth::Eight { 0 } else { GROUP };
    // Its matrix is a power of one of four by four.
    let fits = |b: &u64| b.is_power_of_two() && b.trailing_zeros().is_multiple_of(2) && *b >= 4 && (channels as u64).is_multiple_of(*b);
    let rotation = rotation.map(|b| b.filter(fits).map(|b| b as usize).ok_or_else(|| bad("its rotation"))).transpose()?;
    let scheme = Scheme { bits, group_size, zero, method: Method::Rtn, scale_dtype, rotation, blocks: None };
    let spec = LayerSpec::new(name, &[out, channels], Dtype::F32, scheme).ok_or_else(|| bad("its shape"))?;
    if tensor.dtype != SIGNED || (bits == BitWidth::Four && !channels.is_multiple_of(GROUP)) {
        return Err(bad("its codes"));
    }
    let wanted = COMFYUI[0].tensors(&spec);
    for part in &wanted[1..wanted.len() - 1] {
        let found = shard.header.tensor(&part.name).ok_or_else(|| bad("its scales"))?;
        // One scale for all rows is read where ComfyUI wrote it; [out] instead of [out, 1] has the same bytes.
        if found.dtype != part.dtype || found.len != part.len {
            return Err(if found.numel() == 1 { unsupported("with one scale for a whole layer") } else { bad("its scales") });
        }
    }
    Ok(Some(Stored { layout: &COMFYUI[0], spec, tensors: wanted.into_iter().map(|t| t.name).collect() }))
}
