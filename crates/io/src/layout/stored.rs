//! Weights that a file holds in codes, in whatever layout: what `quantization_config` or the tensors themselves say.

use super::{GGUF, Gguf, LayerSpec, Layout, PARQUET, SdnqModel, comfyui, compressed};
use crate::error::{IoError, MetadataProblem};
use crate::header::TensorInfo;
use crate::source::{Component, Shard};
use aq_core::Dtype;
use serde_json::Value;
use std::path::Path;

/// A weight in codes.
pub struct Stored {
    /// The layout that decodes it.
    pub layout: &'static dyn Layout,
    /// What it decodes to; `tensor` is the weight's own name.
    pub spec: LayerSpec,
    /// Its tensors in the file, in the order of the layout's own.
    pub tensors: Vec<String>,
}

/// How the weights of a component are stored.
pub enum Storage {
    /// As floats, or in tensors that say what they are.
    Plain,
    /// As SDNQ stores them.
    Sdnq(SdnqModel),
    /// As compressed-tensors packs them: all symmetric, all with zero points, or both.
    Compressed(Option<bool>),
    /// As ComfyUI reads them.
    ComfyUi,
}

impl Storage {
    /// By the component's config; refuses quantized layouts that are not decoded.
    pub fn of(component: &Component) -> Result<Self, IoError> {
        let Some(config) = &component.quantization else {
            return Ok(if comfyui::marks(component) { Self::ComfyUi } else { Self::Plain });
        };
        let path = component.dir.join("config.json");
        match config.get("quant_method").and_then(Value::as_str) {
            Some("sdnq") => Ok(Self::Sdnq(SdnqModel::read(&path, config)?)),
            Some("compressed-tensors") => compressed::check(&path, config).map(Self::Compressed),
            other => {
                let detected = format!("a model quantized by {}, which this version does not decode", other.unwrap_or("unnamed"));
                Err(IoError::Unsupported { path, detected })
            }
        }
    }

    /// The weight whose codes are this tensor, if it is one.
    pub fn weight(&self, shard: &Shard, tensor: &TensorInfo) -> Result<Option<Stored>, IoError> {
        if let Dtype::Blocks(kind) = tensor.dtype {
            let spec = Gguf::stored(&tensor.name, &tensor.shape, kind, shard.header.keys.as_ref());
            return Ok(spec.map(|spec| Stored { layout: &GGUF, spec, tensors: vec![tensor.name.clone()] }));
        }
        if let Some(spec) = shard.header.archive.get(&tensor.name) {
            let of = |spec: &LayerSpec| {
                let tensors = PARQUET.tensors(spec).into_iter().map(|t| t.name).collect();
                Stored { layout: &PARQUET, spec: spec.clone(), tensors }
            };
            return Ok(spec.as_ref().map(of));
        }
        match self {
            Self::Plain => Ok(None),
            Self::Sdnq(model) => model.weight(&shard.path, &shard.header, &tensor.name),
            Self::Compressed(symmetric) => compressed::stored(shard, &tensor.name, *symmetric),
            Self::ComfyUi => comfyui::stored(shard, tensor),
        }
    }

    /// Whether a tensor belongs to codes that stand beside it.
    pub fn is_companion(&self, name: &str) -> bool {
        let ends: &[&str] = match self {
            Self::Plain => &[],
            Self::Sdnq(_) => &[".scale", ".zero_point"],
            Self::Compressed(_) => &[".weight_scale", ".weight_shape", ".weight_packed", ".weight_zero_point"],
            Self::ComfyUi => &[".weight_scale", ".weight_zeros"],
        };
        ends.iter().any(|end| name.ends_with(end))
    }
}

/// Tensors of a weight do not fit together.
pub fn contradiction(path: &Path, tensor: &str, about: &str) -> IoError {
    let problem = MetadataProblem::Contradiction { other: path.into(), about: about.into() };
    IoError::Metadata { path: path.into(), field: Some(tensor.into()), problem }
}
