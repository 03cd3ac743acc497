//! GGUF: ggml's blocks, one file for a component.
//!
//! Names stay the source's own. Only linear layers become blocks and everything else is F32 or F16, which is what diffusers reads
//! (`quantizers/gguf/utils.py`: other tensors have no handler); vectors and small tensors are F32, as every reader of GGUF wants them.

use super::{Described, EncodedRows, LayerSpec, Layout, Origin, OutTensor, Placing};
use crate::gguf::{Keys, id_of};
use crate::header::TensorInfo;
use crate::output::Container;
use crate::source::Component;
use aq_core::blocks::SUPER;
use aq_core::recipe::{RECIPES, Recipe};
use aq_core::{BitWidth, BlockType, Dtype, Method, ScaleDtype, Scheme, ZeroKind};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// ggml has four; the fifth is that of video models' patch embeddings, which ComfyUI-GGUF and stable-diffusion.cpp read.
const MOST_DIMS: usize = 5;
/// Tensors up to this size gain nothing from 16 bits; ComfyUI-GGUF keeps them in F32.
const SMALL: usize = 1024;
/// Of keys that hold the shape of a tensor whose weights stand in other rows: ComfyUI-GGUF's (`convert.py`, `loader.py`).
const SHAPE: &str = "comfy.gguf.orig_shape.";
/// Of a file whose names are those of diffusers or transformers: no reader of GGUF has an architecture for these.
const ARCHITECTURE: &str = "diffusers";

/// The GGUF layout.
#[derive(Debug, Clone, Copy)]
pub struct Gguf {
    /// What the whole file is to be; `None`: the type that each width stands for.
    recipe: Option<&'static Recipe>,
}

/// Types by width.
pub static GGUF: Gguf = Gguf { recipe: None };

static BY_RECIPE: [Gguf; RECIPES.len()] = {
    let mut all = [Gguf { recipe: None }; RECIPES.len()];
    let mut i = 0;
    while i < all.len() {
        all[i].recipe = Some(&RECIPES[i]);
        i += 1;
    }
    all
};

/// Ends of the names of layers that make attention's values or end a feed-forward, as diffusers, transformers, llama.cpp and original
/// checkpoints have them.
const MORE: [&str; 14] = [
    ".to_v",
    ".add_v_proj",
    ".v_proj",
    ".attn_v",
    ".net.2",
    ".down_proj",
    ".ffn_down",
    ".fc2",
    ".mlp.2",
    ".img_mlp.2",
    ".txt_mlp.2",
    ".ffn.2",
    ".w2",
    ".linear2",
];

impl Gguf {
    /// The layout for a kind of file.
    pub fn named(recipe: &str) -> Option<&'static Self> {
        BY_RECIPE.iter().find(|g| g.recipe.is_some_and(|r| r.name == recipe))
    }

    /// The type that a layer's width stands for.
    fn kind(self, layer: &LayerSpec) -> Option<BlockType> {
        let (row, bits) = (layer.geometry.row(), layer.scheme.bits);
        let Some(recipe) = self.recipe else { return BlockType::for_bits(bits, row) };
        let more = recipe.more.filter(|_| MORE.iter().any(|end| layer.module().ends_with(end)));
        match (bits == recipe.width, more) {
            (true, more) => more.unwrap_or(recipe.kind).filling(row),
            // A wider layer has no fewer bits than it had.
            (false, Some(more)) if bits == BitWidth::Four => more.filling(row),
            (false, _) => BlockType::for_bits(bits, row),
        }
    }

    /// A tensor of blocks that stands in a file; `None` where it has no rows.
    pub(crate) fn stored(name: &str, shape: &[usize], kind: BlockType, keys: Option<&Keys>) -> Option<LayerSpec> {
        // The narrowest width that holds its codes.
        let bits = BitWidth::ALL.into_iter().find(|b| b.bits() >= kind.bits()).unwrap_or(BitWidth::Eight);
        let (zero, scale_dtype) = (ZeroKind::Float, ScaleDtype::F16);
        let wanted = Scheme { bits, group_size: 0, zero, method: Method::Mse, scale_dtype, rotation: None, blocks: None };
        let spec = LayerSpec::new(name, shape, Dtype::F32, scheme_of(kind, wanted))?;
        let numel = |shape: &[usize]| shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let told = keys.and_then(|k| k.numbers(&format!("{SHAPE}{name}")));
        let reshaped = told.filter(|told| told.len() > 1 && numel(told) == numel(shape));
        Some(LayerSpec { reshaped, ..spec })
    }
}

/// The scheme of a block type, as far as it has one of grouped integers.
fn scheme_of(kind: BlockType, wanted: Scheme) -> Scheme {
    Scheme {
        group_size: kind.group(),
        zero: if kind.symmetric() { ZeroKind::None } else { ZeroKind::Float },
        method: if wanted.method == Method::Rtn { Method::Rtn } else { Method::Mse },
        scale_dtype: ScaleDtype::F16,
        rotation: None,
        blocks: Some(kind),
        ..wanted
    }
}

impl Layout for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        if layer.shape.len() != 2 {
            return Err("GGUF has blocks for linear layers only".into());
        }
        let (row, bits) = (layer.geometry.row(), layer.scheme.bits);
        let kind = self.kind(layer).ok_or_else(|| format!("no block type of {bits} bits fills rows of {row} weights"))?;
        Ok(layer.with_scheme(scheme_of(kind, layer.scheme)))
    }

    fn carry(&self, tensor: &TensorInfo) -> Result<OutTensor, String> {
        let TensorInfo { name, shape, .. } = tensor;
        if shape.len() > MOST_DIMS {
            return Err(format!("it has {} dimensions, GGUF has {MOST_DIMS} at most", shape.len()));
        }
        let small = shape.len() < 2 || tensor.numel() <= SMALL;
        let dtype = match tensor.dtype {
            Dtype::F16 if small => Dtype::F32,
            dtype if dtype.is_f8() && tensor.scale.is_none() && !small => Dtype::F16, // exact
            // Exact, unless a double holds more than a single can.
            dtype if dtype.is_f8() || matches!(dtype, Dtype::Bf16 | Dtype::F64) => Dtype::F32,
            other => other,
        };
        id_of(dtype).ok_or_else(|| format!("GGUF has no type for its {dtype} elements"))?;
        Ok(OutTensor::carried(name, dtype, shape, tensor.numel() as u64 * dtype.size() as u64))
    }

    fn holds_blocks(&self) -> bool {
        true
    }

    fn reshapes(&self) -> Option<usize> {
        Some(SUPER)
    }

    fn merged(&self, component: &Component) -> Option<String> {
        component.shards.first().map(|first| first.merged_name("gguf"))
    }

    fn container(&self, origin: Origin<'_>) -> Container {
        let mut keys = origin.header.keys.clone().unwrap_or_else(|| {
            let mut keys = Keys::new(origin.architecture.unwrap_or(ARCHITECTURE));
            if let Some(class) = origin.component.class_name() {
                keys.set_text("general.name", &class);
            }
            keys
        });
        for layer in origin.layers {
            if let Some(shape) = &layer.reshaped {
                keys.set_numbers(&format!("{SHAPE}{}", layer.written), shape);
            }
        }
        let mut weights: BTreeMap<u32, (BlockType, usize)> = BTreeMap::new();
        for layer in origin.layers {
            if let Some(kind) = layer.scheme.blocks {
                weights.entry(kind.id()).or_insert((kind, 0)).1 += layer.geometry.numel();
            }
        }
        if let Some((mostly, _)) = weights.values().max_by_key(|(_, n)| *n) {
            match self.recipe {
                Some(recipe) => keys.set_file_type(recipe.file_type),
                None => keys.set_quantized(*mostly, weights.len() > 1),
            }
        }
        Container::Gguf(keys)
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let Some(kind) = layer.scheme.blocks else { return vec![] };
        let row = layer.geometry.row() / kind.weights() * kind.bytes();
        vec![OutTensor {
            name: layer.written.clone(),
            dtype: Dtype::Blocks(kind),
            shape: layer.shape.clone(),
            len: (layer.geometry.out * row) as u64,
            row_bits: row as u64 * 8,
            fixed: vec![],
            placing: Placing::Rows,
        }]
    }

    fn write_rows(&self, _layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        out[0].extend_from_slice(&rows.blocks);
    }

    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool {
        into.resize(layer, rows);
        into.blocks.copy_from_slice(bytes[0]);
        true
    }

    fn quantization_config(&self, _described: Described<'_>) -> Option<Map<String, Value>> {
        None
    }
}
