//! The plan: for every tensor of every component, whether it is quantized, how, and why not. A pure function of headers and configuration.

mod build;
mod names;
mod select;

pub use build::{fit_from, named_floats, plan, tied_head};

use aq_core::{Modality, ResolvedConfig, Scheme};
use aq_io::TensorInfo;
use aq_io::layout::{LayerSpec, Layout, Origin, OutTensor};
use aq_io::output::Container;
use aq_io::source::{Component, Shard, Source};

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
    /// Scales and the like of a layer in codes: the layer has them.
    Part,
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

/// What becomes of a tensor in a planned file.
#[derive(Debug)]
pub struct PlannedTensor<'a> {
    /// The file it is read from.
    pub shard: &'a Shard,
    /// The tensor.
    pub info: &'a TensorInfo,
    /// What happens to it.
    pub plan: TensorPlan,
    /// What it becomes.
    pub out: Vec<OutTensor>,
}

/// A weight file of the output.
#[derive(Debug)]
pub struct FilePlan<'a> {
    /// Index of its component in the source.
    pub component: usize,
    /// Its name in the component's folder.
    pub name: String,
    /// The file around the tensors.
    pub container: Container,
    /// In the order of the source's headers.
    pub tensors: Vec<PlannedTensor<'a>>,
}

impl FilePlan<'_> {
    /// All tensors of the file.
    pub fn out(&self) -> Vec<OutTensor> {
        self.tensors.iter().flat_map(|t| t.out.iter().cloned()).collect()
    }
}

impl Plan {
    /// The weight files of the output.
    pub fn files<'a>(&self, source: &'a Source, layout: &dyn Layout) -> Vec<FilePlan<'a>> {
        self.components.iter().flat_map(|planned| self.component_files(&source.components[planned.component], planned, layout)).collect()
    }

    /// Those of one component.
    pub fn component_files<'a>(&self, component: &'a Component, planned: &ComponentPlan, layout: &dyn Layout) -> Vec<FilePlan<'a>> {
        let all = planned.shards.as_slice();
        let parts: Vec<&[ShardPlan]> = if layout.merged().is_some() { vec![all] } else { all.chunks(1).collect() };
        let file = |shards: &[ShardPlan]| {
            let first = component.shards.get(shards.first()?.shard)?;
            let planned_layers = shards.iter().flat_map(|s| &s.tensors);
            let layers: Vec<&LayerSpec> =
                planned_layers.filter_map(|t| if let TensorPlan::Quantize(i) = t { Some(&self.layers[*i].spec) } else { None }).collect();
            let name = match layout.merged() {
                Some(extension) => first.merged_name(extension),
                None if first.header.keys.is_some() => first.merged_name("safetensors"),
                None => first.file_name.clone(),
            };
            let container = layout.container(Origin { component, header: &first.header, layers: &layers });
            let of_shard = |s: &ShardPlan| {
                let shard = &component.shards[s.shard];
                let pairs = shard.header.tensors.iter().zip(s.tensors.clone());
                pairs.map(move |(info, plan)| (shard, info, plan)).collect::<Vec<_>>()
            };
            let tensors = shards.iter().flat_map(of_shard);
            let tensors =
                tensors.map(|(shard, info, plan)| PlannedTensor { shard, info, plan, out: self.out(info, plan, layout) }).collect();
            Some(FilePlan { component: planned.component, name, container, tensors })
        };
        parts.into_iter().filter_map(file).collect()
    }

    /// What a tensor becomes. That it can be carried was seen when the plan was made.
    fn out(&self, info: &TensorInfo, plan: TensorPlan, layout: &dyn Layout) -> Vec<OutTensor> {
        match plan {
            TensorPlan::Carry => layout.carry(info).into_iter().collect(),
            TensorPlan::Quantize(i) => layout.tensors(&self.layers[i].spec),
            TensorPlan::Part => vec![],
        }
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
        blocks: None,   // the layout says so
    }
}
