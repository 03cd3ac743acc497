//! The plan: for every tensor of every component, whether it is quantized, how, and why not. A pure function of headers and configuration.

mod build;
mod names;
mod select;

pub use build::{fit_from, named_floats, plan, tied_head};

use aq_core::{Modality, ResolvedConfig, Scheme};
use aq_io::TensorInfo;
use aq_io::layout::{LayerSpec, Layout, Origin, OutTensor};
use aq_io::output::Container;
use aq_io::source::{Component, Shard, Source, SourceTensor};
use aq_io::weights::Place;

/// A layer to be quantized.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// Name in reports: `component/layer` when several components are quantized.
    pub name: String,
    /// Layers of the source whose rows it joins, where they are several.
    pub joined: Vec<String>,
    /// Layer as the layout sees it.
    pub spec: LayerSpec,
    /// Role by name.
    pub role: String,
    /// The width was asked for by name: it is tried alone.
    pub pinned: bool,
    /// The width is that of its role, not of the job; less of it will do where the layer's inputs are known.
    pub yields: bool,
}

/// What happens to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorPlan {
    /// Quantized: index into the plan's layers.
    Quantize(usize),
    /// Carried over unchanged.
    Carry,
}

/// A tensor of the output, and what it is made of.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The tensors of the source: one, or several that are joined by rows.
    pub members: Vec<Place>,
    /// The halves of its rows are exchanged.
    pub swapped: bool,
    /// Its name, where that is not the source's.
    pub name: Option<String>,
    /// What happens to it.
    pub plan: TensorPlan,
}

impl Unit {
    /// A tensor as it is in the source.
    pub fn of(place: Place, plan: TensorPlan) -> Self {
        Self { members: vec![place], swapped: false, name: None, plan }
    }

    /// The tensor with the places it is read from. `None` where its parts do not fit together, which the plan has refused.
    pub fn source<'a>(&self, component: &'a Component) -> Option<SourceTensor<'a>> {
        let tensor = |p: &Place| (&component.shards[p.shard], &component.shards[p.shard].header.tensors[p.tensor]);
        match self.members.as_slice() {
            [one] if self.swapped => SourceTensor::swapped(tensor(one).0, tensor(one).1),
            [one] => Some(SourceTensor::one(tensor(one).0, tensor(one).1)),
            several => SourceTensor::joined(&several.iter().map(tensor).collect::<Vec<_>>()),
        }
    }
}

/// What happens to one component that is quantized.
#[derive(Debug, Clone)]
pub struct ComponentPlan {
    /// Index of the component in the source.
    pub component: usize,
    /// Its tensors, in the order of the source's headers.
    pub units: Vec<Unit>,
    /// Weight tensors left in float, for the layout's config.
    pub floats: Vec<String>,
    /// The architecture whose original names its tensors get.
    pub architecture: Option<&'static str>,
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
    /// Layers that got more bits than asked for, since the layout has none of that width for their rows.
    pub widened: Vec<String>,
}

/// What becomes of a tensor in a planned file.
#[derive(Debug)]
pub struct PlannedTensor<'a> {
    /// What it is read from.
    pub source: SourceTensor<'a>,
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

    /// Those of one component: one, or one for each of the source.
    pub fn component_files<'a>(&self, component: &'a Component, planned: &ComponentPlan, layout: &dyn Layout) -> Vec<FilePlan<'a>> {
        let all: Vec<&Unit> = planned.units.iter().collect();
        let merged = layout.merged(component);
        let parts: Vec<Vec<&Unit>> = match merged {
            Some(_) => vec![all],
            None => (0..component.shards.len()).map(|s| all.iter().copied().filter(|u| u.members[0].shard == s).collect()).collect(),
        };
        let file = |(first, units): (&'a Shard, Vec<&Unit>)| {
            let layer = |u: &&Unit| if let TensorPlan::Quantize(i) = u.plan { Some(&self.layers[i].spec) } else { None };
            let layers: Vec<&LayerSpec> = units.iter().filter_map(layer).collect();
            let name = match &merged {
                Some(name) => name.clone(),
                None => safetensors_name(component, first),
            };
            let origin = Origin { component, header: &first.header, layers: &layers, architecture: planned.architecture };
            let container = layout.container(origin);
            let tensor = |u: &Unit| {
                let source = u.source(component)?;
                let out = self.out(u, &source.info, layout);
                Some(PlannedTensor { source, plan: u.plan, out })
            };
            FilePlan { component: planned.component, name, container, tensors: units.into_iter().filter_map(tensor).collect() }
        };
        component.shards.iter().zip(parts).map(file).collect()
    }

    /// What a tensor becomes. That it can be carried was seen when the plan was made.
    fn out(&self, unit: &Unit, info: &TensorInfo, layout: &dyn Layout) -> Vec<OutTensor> {
        match unit.plan {
            TensorPlan::Carry => {
                let named = |t: OutTensor| OutTensor { name: unit.name.clone().unwrap_or(t.name), ..t };
                layout.carry(info).map(named).into_iter().collect()
            }
            TensorPlan::Quantize(i) => layout.tensors(&self.layers[i].spec),
        }
    }

    /// Bytes of all weight files of the output, with their headers; of archives about so many.
    pub fn written(&self, source: &Source, layout: &dyn Layout) -> u64 {
        self.files(source, layout).iter().map(|file| file.container.planned_len(&file.out())).sum()
    }

    /// Source bytes of the weight files that are rewritten.
    pub fn bytes(&self, source: &Source) -> u64 {
        self.components.iter().map(|c| source.components[c.component].bytes()).sum()
    }
}

/// The name of a safetensors file in the place of a file of the source: the same, or what loaders look for.
fn safetensors_name(component: &Component, shard: &Shard) -> String {
    let diffusers = component.config.as_ref().is_some_and(|c| c.contains_key("_class_name"));
    match (shard.header.keys.is_some(), shard.header.archive.is_empty()) {
        (true, _) => shard.merged_name("safetensors"),
        (false, true) => shard.file_name.clone(),
        (false, false) if diffusers => "diffusion_pytorch_model.safetensors".into(),
        (false, false) => "model.safetensors".into(),
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
