//! `quantization_config` of the SDNQ layout: what is written for its loader, and how it is read back.

use super::stored::{Stored, contradiction};
use super::{Described, LayerSpec, Sdnq};
use crate::error::{IoError, MetadataProblem};
use crate::header::Header;
use aq_core::{BitWidth, Dtype, Method, ScaleDtype, Scheme, ZeroKind, rotation_for};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The block asked for where a layer is rotated; each layer's own follows from its channels.
pub(super) const HADAMARD_BLOCK: usize = 256;
/// The SDNQ release whose rules are followed.
const SDNQ_VERSION: &str = "0.2.8";

fn dtype_name(bits: BitWidth, symmetric: bool) -> String {
    format!("{}int{bits}", if symmetric { "" } else { "u" })
}

fn parse_dtype(name: &str) -> Option<(BitWidth, ZeroKind)> {
    let (digits, zero) = match name.strip_prefix("uint") {
        Some(rest) => (rest, ZeroKind::Float),
        None => (name.strip_prefix("int")?, ZeroKind::None),
    };
    Some((BitWidth::try_from(digits.parse::<u64>().ok()?).ok()?, zero))
}

/// The config for one component. Names are tensor names with `.weight`, as the loader matches them.
pub fn write(described: Described<'_>) -> Map<String, Value> {
    let base = described.base;
    let mut by_type: Vec<(String, Vec<&str>)> = Vec::new();
    for layer in described.layers {
        if layer.scheme.bits != base.bits || layer.scheme.zero != base.zero {
            let name = dtype_name(layer.scheme.bits, layer.scheme.symmetric());
            match by_type.iter_mut().find(|(n, _)| *n == name) {
                Some((_, list)) => list.push(&layer.written),
                None => by_type.push((name, vec![&layer.written])),
            }
        }
    }
    by_type.sort();
    // With false the loader casts scales to the model's load dtype, which bf16 scales survive. f16 and f32 ones need true, and diffusers
    // looks the flag up under other names than the layer's, so one such layer decides for the component.
    let single = described.layers.iter().any(|l| l.scheme.scale_dtype != ScaleDtype::Bf16);
    let dtypes: Map<String, Value> = by_type.into_iter().map(|(k, v)| (k, json!(v))).collect();
    let rotated = described.layers.iter().filter(|l| l.scheme.rotation.is_some());
    let rotated: Map<String, Value> = rotated.map(|l| (l.tensor.clone(), json!({"use_hadamard": true}))).collect();
    let config = json!({
        "quant_method": "sdnq",
        "sdnq_version": SDNQ_VERSION,
        "weights_dtype": dtype_name(base.bits, base.symmetric()),
        "group_size": base.group_size,
        "quant_conv": true,
        "quant_embedding": false,
        "use_svd": false,
        "use_hadamard": false,
        "hadamard_group_size": HADAMARD_BLOCK,
        "use_codebook": false,
        "dequantize_fp32": single,
        "add_skip_keys": false,
        "modules_to_not_convert": described.floats,
        "modules_dtype_dict": dtypes,
        "modules_quant_config": rotated,
    });
    match config {
        Value::Object(map) => map,
        _ => unreachable!("json! of braces is an object"),
    }
}

/// An SDNQ model's config, read for decoding.
#[derive(Debug)]
pub struct SdnqModel {
    default: (BitWidth, ZeroKind),
    by_name: HashMap<String, (BitWidth, ZeroKind)>,
    /// The block asked for; of layers without a word of their own, and of those with one. `None`: not rotated.
    rotation: Option<usize>,
    rotation_by_name: HashMap<String, Option<usize>>,
}

impl SdnqModel {
    /// Reads `quantization_config`; refuses what this program does not decode rather than decode it wrongly.
    pub fn read(path: &Path, config: &Map<String, Value>) -> Result<Self, IoError> {
        let unsupported = |what: &str| IoError::Unsupported {
            path: path.into(),
            detected: format!("an SDNQ model with {what}, which this version does not decode"),
        };
        let modules = config.get("modules_quant_config").and_then(Value::as_object);
        let own = || modules.into_iter().flatten().filter_map(|(name, v)| Some((name, v.as_object()?)));
        for flag in ["use_svd", "use_codebook"] {
            if own().map(|(_, v)| v).chain([config]).any(|c| c.get(flag).and_then(Value::as_bool).unwrap_or(false)) {
                return Err(unsupported(flag));
            }
        }
        let block = |c: &Map<String, Value>| c.get("hadamard_group_size").and_then(Value::as_u64).map(|n| n as usize);
        let rotates = |c: &Map<String, Value>| c.get("use_hadamard").and_then(Value::as_bool);
        let wanted = |n: usize| n.clamp(1, 1 << 20).next_power_of_two();
        let asked = block(config).filter(|n| *n > 0).map_or(HADAMARD_BLOCK, wanted);
        let rotation = rotates(config).unwrap_or(false).then_some(asked);
        let named = own().filter_map(|(name, c)| {
            let on = rotates(c).unwrap_or(rotation.is_some());
            (c.contains_key("use_hadamard") || c.contains_key("hadamard_group_size"))
                .then(|| (name.clone(), on.then(|| block(c).filter(|n| *n > 0).map_or(asked, wanted))))
        });
        let rotation_by_name = named.collect();
        let parse = |name: &str| parse_dtype(name).ok_or_else(|| unsupported(&format!("weights of type {name}")));
        let field = "quantization_config.weights_dtype";
        let missing = || IoError::Metadata { path: path.into(), field: Some(field.into()), problem: MetadataProblem::FieldMissing };
        let default = parse(config.get("weights_dtype").and_then(Value::as_str).ok_or_else(missing)?)?;
        let mut by_name = HashMap::new();
        for (dtype, names) in config.get("modules_dtype_dict").and_then(Value::as_object).into_iter().flatten() {
            for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
                by_name.insert(name.to_owned(), parse(dtype)?);
            }
        }
        Ok(Self { default, by_name, rotation, rotation_by_name })
    }

    /// The quantized weight whose codes are the tensor `name`, if it is one: it has a scale beside it.
    pub fn weight(&self, path: &Path, header: &Header, name: &str) -> Result<Option<Stored>, IoError> {
        let Some(module) = name.strip_suffix(".weight") else { return Ok(None) };
        let (Some(codes), Some(scale)) = (header.tensor(name), header.tensor(&format!("{module}.scale"))) else { return Ok(None) };
        let (bits, zero) = self.by_name.get(name).copied().unwrap_or(self.default);
        let bad = |about: &str| contradiction(path, name, about);
        let scale_dtype = ScaleDtype::of(scale.dtype).ok_or_else(|| bad("the type of its scales"))?;
        let shape = original_shape(codes.len * 8 / u64::from(bits.bits()), &scale.shape, codes, bits).ok_or_else(|| bad("its shape"))?;
        let scheme_of = |group_size| Scheme { bits, group_size, zero, method: Method::Rtn, scale_dtype, rotation: None, blocks: None };
        let channels = shape.get(1).copied().unwrap_or(1);
        let taps: usize = shape.get(2..).unwrap_or_default().iter().product();
        let groups = scale.numel().checked_div(shape[0] * taps).filter(|g| *g > 0 && channels % g == 0).ok_or_else(|| bad("its groups"))?;
        let mut spec = LayerSpec::new(name, &shape, Dtype::F32, scheme_of(channels / groups)).ok_or_else(|| bad("its shape"))?;
        spec.geometry.group = channels / groups;
        let asked = self.rotation_by_name.get(name).copied().unwrap_or(self.rotation);
        spec.scheme.rotation = asked.and_then(|block| rotation_for(channels, block));
        let mut tensors = vec![name.to_owned(), scale.name.clone()];
        if zero == ZeroKind::Float {
            let zero_point = header.tensor(&format!("{module}.zero_point")).filter(|z| z.shape == scale.shape && z.dtype == scale.dtype);
            tensors.push(zero_point.ok_or_else(|| bad("its zero points"))?.name.clone());
        }
        Ok(Some(Stored { layout: &Sdnq, spec, tensors }))
    }
}

/// The weight's own shape: the grouped shape holds it at 8 bits; packed codes are flat, and rows and kernel come from the scales.
fn original_shape(numel: u64, scale: &[usize], codes: &crate::TensorInfo, bits: BitWidth) -> Option<Vec<usize>> {
    let numel = usize::try_from(numel).ok()?;
    let (&out, rest) = scale.split_first()?;
    // [out, 1, kernel..] or [out, G, 1, kernel..]: at 8 bits the codes have as many axes; packed, a second axis over 1 tells that G is there.
    let grouped = if bits == BitWidth::Eight {
        codes.shape.len() == scale.len() && scale.len() > 2 && scale.get(1) != Some(&1)
    } else {
        rest.len() > 1 && rest[0] > 1
    };
    let kernel = rest.get(if grouped { 2 } else { 1 }..)?;
    let taps: usize = kernel.iter().product();
    let channels = numel.checked_div(out * taps)?;
    (channels * out * taps == numel && channels > 0).then(|| [&[out, channels][..], kernel].concat())
}
