//! Layouts: conventions of names, shapes and metadata that a loader knows.
//!
//! A layout turns encoded rows into the bytes of its tensors and back. The engine knows only this trait; a new layout is a new file here
//! and one line in [`layout`].

mod comfyui;
mod compressed;
mod gguf;
mod grouped;
mod parquet;
mod placing;
mod plain;
mod sdnq;
mod sdnq_config;
mod stored;

use crate::header::{Header, TensorInfo};
use crate::output::Container;
use crate::source::Component;
use aq_core::config::Layout as LayoutName;
use aq_core::{Dtype, Geometry, Scheme};
use aq_kernels::ggml::decode;
use aq_kernels::{RowCodec, Tuning, Zeros};
use serde_json::{Map, Value};

pub use comfyui::{COMFYUI, ComfyUi};
pub use compressed::{COMPRESSED, CompressedTensors};
pub use gguf::{GGUF, Gguf};
pub use parquet::{PARQUET, Parquet, scales_of};
pub use placing::{Pages, Placing};
pub use plain::Plain;
pub use sdnq::Sdnq;
pub use sdnq_config::SdnqModel;
pub use stored::{Storage, Stored};

/// A layer as a layout sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Name of the weight tensor in the source: `M.weight`.
    pub tensor: String,
    /// Its name in the output: the same, unless the output has names of its own.
    pub written: String,
    /// Its shape, as it is written.
    pub shape: Vec<usize>,
    /// Its shape in the model, where its weights stand in rows of another length.
    pub reshaped: Option<Vec<usize>>,
    /// The float type that the `plain` layout writes it in.
    pub dtype: Dtype,
    /// How it is cut into groups.
    pub geometry: Geometry,
    /// How it is encoded.
    pub scheme: Scheme,
}

impl LayerSpec {
    /// With the geometry that follows from shape and scheme; `None` where a shape has no rows and channels.
    pub fn new(tensor: &str, shape: &[usize], dtype: Dtype, scheme: Scheme) -> Option<Self> {
        let geometry = Geometry::of(shape, scheme.group_size)?;
        Some(Self { tensor: tensor.into(), written: tensor.into(), shape: shape.into(), reshaped: None, dtype, geometry, scheme })
    }

    /// The same layer under another scheme.
    #[must_use]
    pub fn with_scheme(&self, scheme: Scheme) -> Self {
        let geometry = Geometry::of(&self.shape, scheme.group_size).unwrap_or(self.geometry);
        Self { geometry, scheme, ..self.clone() }
    }

    /// Its shape in the model.
    pub fn model_shape(&self) -> &[usize] {
        self.reshaped.as_deref().unwrap_or(&self.shape)
    }

    /// The module's name in the source.
    pub fn module(&self) -> &str {
        self.tensor.strip_suffix(".weight").unwrap_or(&self.tensor)
    }

    /// The module's name in the output.
    pub fn written_module(&self) -> &str {
        self.written.strip_suffix(".weight").unwrap_or(&self.written)
    }
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutTensor {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions in the file.
    pub shape: Vec<usize>,
    /// Bytes in all.
    pub len: u64,
    /// Bits that one output row of the layer takes in it; 0 for tensors that are not written by rows.
    pub row_bits: u64,
    /// Its bytes, where they follow from the plan; else empty.
    pub fixed: Vec<u8>,
    /// Where its rows stand in it.
    pub placing: Placing,
}

impl OutTensor {
    /// A tensor carried over as it is.
    pub fn carried(name: &str, dtype: Dtype, shape: &[usize], len: u64) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), len, row_bits: 0, fixed: vec![], placing: Placing::Rows }
    }

    /// Whether another tensor stands where this one does in a planned file: all is the same but bytes that follow from the plan.
    pub fn takes_the_place_of(&self, other: &Self) -> bool {
        let extent = |t: &Self| (t.dtype, t.len, t.row_bits, t.fixed.len());
        (&self.name, &self.shape, &self.placing) == (&other.name, &other.shape, &other.placing) && extent(self) == extent(other)
    }

    /// Bytes of its rows.
    pub fn body(&self) -> u64 {
        self.len - self.placing.overhead()
    }

    /// Bytes of so many rows, the first of which starts on a byte.
    pub fn bytes_of(&self, rows: usize) -> usize {
        let bits = rows as u64 * self.row_bits;
        match self.placing {
            // What rows share is a byte of every column.
            Placing::Words { count } => bits.div_ceil(8 * count.max(1) as u64) as usize * count,
            _ => bits.div_ceil(8) as usize,
        }
    }

    /// Byte offset of a row that starts on a byte, among rows.
    pub const fn row_offset(&self, row: usize) -> u64 {
        row as u64 * self.row_bits / 8
    }
}

/// Codes, scales and zeros of some neighbouring rows.
#[derive(Debug, Default)]
pub struct EncodedRows {
    /// Number of rows.
    pub rows: usize,
    /// Unsigned codes, one a byte, source order.
    pub codes: Vec<u8>,
    /// Scales, (row, group, tap).
    pub scales: Vec<f32>,
    /// Zeros, the same; all 0 in symmetric schemes.
    pub zeros: Vec<f32>,
    /// Blocks, where the scheme has them: then the others are empty.
    pub blocks: Vec<u8>,
}

impl EncodedRows {
    /// Room for some rows.
    pub fn resize(&mut self, layer: &LayerSpec, rows: usize) {
        let g = layer.geometry;
        self.rows = rows;
        if let Some(kind) = layer.scheme.blocks {
            u8::set_len(&mut self.blocks, rows * g.row() / kind.weights() * kind.bytes());
        } else {
            u8::set_len(&mut self.codes, rows * g.row());
            f32::set_len(&mut self.scales, rows * g.scales_per_row());
            f32::set_len(&mut self.zeros, rows * g.scales_per_row());
        }
    }

    /// Values of the rows, in source order.
    pub fn decode(&self, layer: &LayerSpec, out: &mut [f32]) {
        if let Some(kind) = layer.scheme.blocks {
            return decode(kind, &self.blocks, out);
        }
        let g = layer.geometry;
        let codec = RowCodec::new(g, layer.scheme, Tuning::default());
        for (i, out) in out.chunks_exact_mut(g.row()).enumerate() {
            let s = i * g.scales_per_row()..(i + 1) * g.scales_per_row();
            codec.decode(&self.codes[i * g.row()..(i + 1) * g.row()], &self.scales[s.clone()], &self.zeros[s], out);
        }
    }
}

/// What a component's config must say of its weights.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The job's scheme, that most layers share.
    pub base: &'a Scheme,
    /// Quantized layers.
    pub layers: &'a [LayerSpec],
    /// Weight tensors (two dimensions and more) left in float.
    pub floats: &'a [String],
}

/// What a file around some tensors is made from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The part of the model.
    pub component: &'a Component,
    /// The header of its first file, or the only one.
    pub header: &'a Header,
    /// The layers that are planned for the file.
    pub layers: &'a [&'a LayerSpec],
    /// The architecture whose original names the tensors have.
    pub architecture: Option<&'static str>,
}

/// A convention of names, shapes and metadata.
pub trait Layout: Send + Sync + std::fmt::Debug {
    /// The name in options and reports.
    fn name(&self) -> &'static str;

    /// The layer under the scheme that stands in this layout for the wanted one, at the same width; or why there is none.
    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String>;

    /// Whether its loaders undo the rotation of a layer in blocks of that many values.
    fn rotates(&self, _layer: &LayerSpec, _block: usize) -> bool {
        false
    }

    /// Whether it holds codes, and not the values that they stand for.
    fn holds_codes(&self) -> bool {
        true
    }

    /// What a tensor that is not quantized becomes; or why it cannot be carried. Floats may change their type.
    fn carry(&self, tensor: &TensorInfo) -> Result<OutTensor, String> {
        Ok(carried_floats(tensor))
    }

    /// Whether it holds ggml's blocks, of whatever type.
    fn holds_blocks(&self) -> bool {
        false
    }

    /// The length of rows that weights of other shapes may stand in, for loaders that are told the shape; `None`: there are none.
    fn reshapes(&self) -> Option<usize> {
        None
    }

    /// Whether its loaders know a model by its original names only.
    fn original_names(&self) -> bool {
        false
    }

    /// Whether its loaders know one group size for all layers of a component, from which they derive that of each.
    fn one_group_size(&self) -> bool {
        false
    }

    /// Whether its files tell of their tensors at their end.
    fn tells(&self) -> bool {
        false
    }

    /// The name of the one file that a component becomes; `None`: each of its files becomes one of the same name.
    fn merged(&self, _component: &Component) -> Option<String> {
        None
    }

    /// The file around the tensors.
    fn container(&self, origin: Origin<'_>) -> Container {
        Container::Safetensors(origin.header.metadata.clone())
    }

    /// The tensors a layer becomes.
    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor>;

    /// Appends the bytes of some rows, one buffer for each of [`Layout::tensors`].
    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]);

    /// Codes, scales and zeros (or blocks) from such bytes; false where the layout holds values instead.
    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool;

    /// Decodes rows from such bytes; `out` has `rows * row` elements, in source order.
    fn read_rows(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, out: &mut [f32]) {
        let mut encoded = EncodedRows::default();
        if self.read_codes(layer, bytes, rows, &mut encoded) {
            encoded.decode(layer, out);
        }
    }

    /// `quantization_config` of the component's config, if the layout needs one.
    fn quantization_config(&self, described: Described<'_>) -> Option<Map<String, Value>>;
}

/// A tensor in its own type, but for floats of eight bits, whose values may have a scale.
fn carried_floats(tensor: &TensorInfo) -> OutTensor {
    let dtype = match (tensor.dtype, &tensor.scale) {
        (dtype, None) if dtype.is_f8() => Dtype::Bf16, // exact
        (dtype, Some(_)) if dtype.is_f8() => Dtype::F32,
        (other, _) => other,
    };
    OutTensor::carried(&tensor.name, dtype, &tensor.shape, tensor.numel() as u64 * dtype.size() as u64)
}

/// The registry.
pub fn layout(name: LayoutName) -> &'static dyn Layout {
    match name {
        LayoutName::Sdnq => &Sdnq,
        LayoutName::Plain => &Plain,
        LayoutName::CompressedTensors => &COMPRESSED[0],
        LayoutName::Gguf => &GGUF,
        LayoutName::ComfyUi => &COMFYUI[0],
        LayoutName::Parquet => &PARQUET,
    }
}
