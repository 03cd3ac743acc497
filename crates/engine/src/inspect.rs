//! What a model is, from its headers alone.

use crate::control::Control;
use crate::error::QuantError;
use crate::modality;
use crate::rules::{Action, rules};
use aq_core::{Modality, Phase};
use aq_io::TensorInfo;
use aq_io::disk::DEFAULT_RETRIES;
use aq_io::source::{self, Component};
use aq_io::weights::{parameters, weights};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a model is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    path: String,
    kind: &'static str,
    class_name: Option<String>,
    modality: Option<&'static str>,
    modality_source: Option<String>,
    looked_at: Vec<String>,
    parameters: u64,
    bytes: u64,
    components: Vec<ComponentView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentView {
    name: String,
    class_name: Option<String>,
    denoiser: bool,
    parameters: u64,
    bytes: u64,
    files: Vec<Value>,
    dtypes: BTreeMap<&'static str, u64>,
    quantization: Option<Value>,
    layers: Vec<LayerView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerView {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
    role: &'static str,
    parameters: usize,
    plan: &'static str,
    why: &'static str,
}

/// Reads the headers of a model. An unknown modality is not an error here: it is what the caller wants to find out.
pub fn inspect(path: &Path, option: Option<Modality>, control: &Arc<Control>) -> Result<Inspection, QuantError> {
    control.enter(Phase::Open)?;
    let source = source::open(&control.disk(DEFAULT_RETRIES), path)?;
    let search = modality::search(&source, option)?;
    let class_name = source.pipeline.as_ref().and_then(|p| p.get("_class_name")).and_then(Value::as_str).map(str::to_owned);
    let class_name = class_name.or_else(|| source.components.first().and_then(Component::class_name));
    Ok(Inspection {
        path: source.path.to_string_lossy().into_owned(),
        kind: source.kind.as_str(),
        class_name,
        modality: search.found.as_ref().map(|f| f.modality.as_str()),
        modality_source: search.found.map(|f| f.source),
        looked_at: search.looked_at,
        parameters: source.components.iter().map(parameters).sum(),
        bytes: source.components.iter().map(Component::bytes).sum(),
        components: source.components.iter().map(component).collect(),
    })
}

fn component(c: &Component) -> ComponentView {
    let mut dtypes = BTreeMap::new();
    for (_, t) in c.tensors() {
        *dtypes.entry(t.dtype.name()).or_insert(0) += t.numel() as u64;
    }
    ComponentView {
        name: c.name.clone(),
        class_name: c.class_name(),
        denoiser: c.is_denoiser(),
        parameters: parameters(c),
        bytes: c.bytes(),
        files: c.shards.iter().map(|s| json!({"name": s.file_name, "bytes": s.len, "tensors": s.header.tensors.len()})).collect(),
        dtypes,
        quantization: quantization(c),
        layers: c.tensors().filter_map(|(_, t)| layer(t)).collect(),
    }
}

/// By what a component is quantized, and how most of its weights are stored, where they can be decoded.
fn quantization(c: &Component) -> Option<Value> {
    let weights = weights(c).unwrap_or_default();
    let mut schemes: BTreeMap<(u32, usize), (usize, &str)> = BTreeMap::new();
    for (weight, coded) in weights.iter().filter_map(|w| Some((w, w.coded()?))) {
        let key = (weight.bits().unwrap_or_default(), coded.spec.geometry.group);
        schemes.entry(key).or_insert((0, coded.layout.name())).0 += coded.spec.geometry.numel();
    }
    let most = schemes.iter().max_by_key(|(_, (numel, _))| *numel);
    let method = c.quantization.as_ref().map(|q| q.get("quant_method").cloned().unwrap_or_default());
    let method = method.or_else(|| most.map(|(_, (_, layout))| json!(layout)))?;
    Some(json!({"method": method, "bits": most.map(|((bits, _), _)| bits), "groupSize": most.map(|((_, group), _)| group)}))
}

fn layer(t: &TensorInfo) -> Option<LayerView> {
    let module = t.name.strip_suffix(".weight")?;
    if t.shape.len() < 2 || !t.dtype.is_float() {
        return None;
    }
    let role = rules().role(module, t.shape.len());
    let plan = match role.action {
        Action::Quantize => "quantize",
        Action::Keep8 => "keep8",
        Action::Float => "float",
    };
    Some(LayerView {
        name: module.to_owned(),
        shape: t.shape.clone(),
        dtype: t.dtype.name(),
        role: &role.role,
        parameters: t.numel(),
        plan,
        why: &role.why,
    })
}
