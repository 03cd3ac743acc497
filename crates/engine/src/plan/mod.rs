//! The plan: for every tensor of every component, whether it is quantized, how, and why not. A pure function of headers and configuration.

mod build;
mod names;
mod select;

pub use build::plan;

use aq_core::{Modality, ResolvedConfig, Scheme};
use aq_io::TensorInfo;
use aq_io::layout::{LayerSpec, Layout, OutTensor};
use aq_io::source::Source;

/// A layer to be quantized.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// Name in reports: `component/layer` when several components are quantized.
    pub name: String,
    /// Layer as the layout sees it.
    pub spec: LayerSpec,
    /// Role by name.
    pub role: String,
    /// The width was asked for by name: it is tried alone.
    pub pinned: bool,
    /// The width is that of its role, not of the job; less of it will do where the layer's inputs are known.
    pub yields: bool,
}

/// What happens to one tensor of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorPlan {
    /// Quantized: index into the plan's layers.
    Quantize(usize),
    /// Carried over unchanged.
    Carry,
}

/// What happens to one weight file; indices are those of the source.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    /// Index of the shard in its component.
    pub shard: usize,
    /// One entry per tensor of its header.
    pub tensors: Vec<TensorPlan>,
}

/// What happens to one component that is quantized.
#[derive(Debug, Clone)]
pub struct ComponentPlan {
    /// Index of the component in the source.
    pub component: usize,
    /// Its shards.
    pub shards: Vec<ShardPlan>,
    /// Weight tensors left in float, for the layout's config.
    pub floats: Vec<String>,
}

/// A tensor that is left alone.
#[derive(Debug, Clone)]
pub struct KeptTensor {
    /// Name in reports.
    pub name: String,
    /// Why.
    pub why: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The whole plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the model makes.
    pub modality: Modality,
    /// Where that was read.
    pub modality_source: String,
    /// The scheme that most layers share.
    pub base: Scheme,
    /// Layers in file order.
    pub layers: Vec<LayerPlan>,
    /// Components that are quantized.
    pub components: Vec<ComponentPlan>,
    /// Weights left alone.
    pub kept: Vec<KeptTensor>,
}

impl Plan {
    /// What each tensor of a shard becomes in a layout, in header order.
    pub fn out_tensors(&self, tensors: &[TensorInfo], planned: &[TensorPlan], layout: &dyn Layout) -> Vec<Vec<OutTensor>> {
        let one = |(t, p): (&TensorInfo, &TensorPlan)| match p {
            TensorPlan::Carry => vec![OutTensor::carried(&t.name, t.dtype, &t.shape, t.len)],
            TensorPlan::Quantize(i) => layout.tensors(&self.layers[*i].spec),
        };
        tensors.iter().zip(planned).map(one).collect()
    }

    /// Source bytes of the weight files that are rewritten.
    pub fn bytes(&self, source: &Source) -> u64 {
        self.components.iter().map(|c| source.components[c.component].bytes()).sum()
    }
}

/// The scheme of a configuration at the job's width.
pub fn base_scheme(config: &ResolvedConfig) -> Scheme {
    Scheme {
        bits: config.bit_width,
        group_size: config.group_size,
        zero: config.zero_kind(),
        method: config.method.resolve(),
        scale_dtype: aq_core::ScaleDtype::for_bits(config.bit_width),
        rotation: None, // chosen layer by layer, by what it brings
    }
}
