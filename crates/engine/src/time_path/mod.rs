//! The computed time path: inputs of layers that the time embedding alone drives are a pure function of the step and of weights in the file
//! (`algorithms.md` 4.5), so they are known at every step without any data.
//!
//! What architectures do is data ([`family`]). A label's row is added where there is a table of labels: two labels a step, going round.
//! What is added from outside of the file, as a pooled text vector, is sampled: always the same vectors, of an assumed size.

mod compute;
mod family;
mod sinusoid;

use crate::plan::{Plan, TensorPlan, Unit};
use crate::time::StepInputs;
use aq_io::IoError;
use aq_io::header::TensorInfo;
use aq_io::source::{Component, Shard, Source};
use compute::Computed;
use family::{Added, Family, family, rooted};
use sinusoid::Sinusoid;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Steps of the axis.
pub const STEPS: i32 = 1000;

/// A weight of the model and the bias beside it.
#[derive(Debug, Clone, Copy)]
struct Linear {
    weight: (usize, usize),
    bias: Option<(usize, usize)>,
    out: usize,
    inputs: usize,
}

/// One embedder with what is added to it.
#[derive(Debug)]
struct Path {
    component: usize,
    sinusoid: Sinusoid,
    embedder: [Linear; 2],
    labels: Option<Linear>,
    added: Vec<(Added, [Linear; 2])>,
    /// Numbers of each size of SDXL's six.
    size_width: usize,
}

/// Where on the path a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It takes the sinusoid.
    Embedding,
    /// It takes the first layer's output, activated.
    Hidden,
    /// It takes the sum, activated.
    Driven,
}

/// The paths of a model, and which layers stand on them.
#[derive(Debug)]
pub struct TimePath {
    paths: Vec<Path>,
    layers: Vec<Option<(usize, Place)>>,
    /// The last path that was computed: its layers stand together in the file.
    last: Mutex<Option<(usize, Arc<Computed>)>>,
}

impl TimePath {
    /// Of the components that a plan quantizes; `None` where no architecture is known.
    pub fn find(source: &Source, plan: &Plan) -> Option<Self> {
        let (mut paths, mut layers) = (Vec::new(), vec![None; plan.layers.len()]);
        for planned in &plan.components {
            let component = &source.components[planned.component];
            let Some(class) = component.class_name() else { continue };
            let config = component.config.clone().unwrap_or_default();
            let Some(family) = family(&class, &config) else { continue };
            let tensors = Tensors::of(component);
            let quantized: Vec<usize> = planned.units.iter().filter_map(index).collect();
            for (root, embedder) in tensors.embedders(family) {
                let Some(path) = tensors.path(planned.component, family, &config, root, embedder) else { continue };
                let driven = if family.is_whole(tensors.modules()) { family.driven(root) } else { Vec::new() };
                let place = |module: &str| match module.strip_prefix(embedder) {
                    Some(".linear_1") => Some(Place::Embedding),
                    Some(".linear_2") => Some(Place::Hidden),
                    _ => driven.iter().any(|d| d.is_match(module)).then_some(Place::Driven),
                };
                for &layer in &quantized {
                    let spec = &plan.layers[layer].spec;
                    if let Some(place) = place(spec.module())
                        && spec.geometry.row() == path.width(place)
                    {
                        layers[layer] = Some((paths.len(), place));
                    }
                }
                paths.push(path);
            }
        }
        layers.iter().any(Option::is_some).then(|| Self { paths, layers, last: Mutex::default() })
    }

    /// Whether a layer's inputs are computed.
    pub fn knows(&self, layer: usize) -> bool {
        self.layers[layer].is_some()
    }

    /// Whether a part of a layer's inputs is sampled.
    pub fn is_sampled(&self, layer: usize) -> bool {
        self.layers[layer].is_some_and(|(path, place)| place == Place::Driven && !self.paths[path].added.is_empty())
    }

    /// Multiplications that all inputs take, and values that are activated.
    pub fn operations(&self) -> [f64; 2] {
        let of = |[first, second]: &[Linear; 2]| {
            [first.inputs * first.out + second.inputs * second.out, first.inputs + first.out + 2 * second.out]
        };
        let sums = self.paths.iter().map(|p| of(&p.embedder)).fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
        sums.map(|sum| (STEPS as usize * sum) as f64)
    }

    /// A layer's inputs at every step; `None` where they are not known.
    pub fn inputs(&self, source: &Source, layer: usize) -> Result<Option<Arc<Vec<StepInputs>>>, IoError> {
        let Some((path, place)) = self.layers[layer] else { return Ok(None) };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let computed = match &*last {
            Some((of, computed)) if *of == path => computed.clone(),
            _ => {
                *last = None; // before the next one takes its memory
                let computed = Arc::new(self.paths[path].compute(&source.components[self.paths[path].component])?);
                *last = Some((path, computed.clone()));
                computed
            }
        };
        Ok(Some(match place {
            Place::Embedding => computed.embedding.clone(),
            Place::Hidden => computed.hidden.clone(),
            Place::Driven => computed.driven.clone(),
        }))
    }
}

impl Path {
    const fn width(&self, place: Place) -> usize {
        match place {
            Place::Embedding => self.embedder[0].inputs,
            Place::Hidden => self.embedder[1].inputs,
            Place::Driven => self.embedder[1].out,
        }
    }
}

const fn index(unit: &Unit) -> Option<usize> {
    match unit.plan {
        TensorPlan::Quantize(i) => Some(i),
        TensorPlan::Carry => None,
    }
}

/// Tensors of a component by name.
struct Tensors<'a> {
    by_name: HashMap<&'a str, (usize, usize, &'a TensorInfo)>,
}

impl<'a> Tensors<'a> {
    fn of(component: &'a Component) -> Self {
        let shards = component.shards.iter().enumerate();
        let all =
            shards.flat_map(|(s, shard)| shard.header.tensors.iter().enumerate().map(move |(t, info)| (info.name.as_str(), (s, t, info))));
        Self { by_name: all.collect() }
    }

    fn modules(&self) -> impl Iterator<Item = &'a str> {
        self.by_name.keys().filter_map(|n| n.strip_suffix(".weight"))
    }

    /// Embedders of a family with their roots, by name.
    fn embedders(&self, family: &Family) -> Vec<(&'a str, &'a str)> {
        let embedder = |m: &'a str| m.strip_suffix(".linear_1").and_then(|e| family.root(e).map(|root| (root, e)));
        let mut list: Vec<_> = self.modules().filter_map(embedder).collect();
        list.sort_unstable_by_key(|(_, e)| *e);
        list
    }

    fn path(
        &self,
        component: usize,
        family: &Family,
        config: &serde_json::Map<String, serde_json::Value>,
        root: &str,
        embedder: &str,
    ) -> Option<Path> {
        let layers = self.embedder(embedder)?;
        let width = layers[1].out;
        let labels = family.labels.as_ref().and_then(|l| self.linear(&rooted(l, root)));
        let added: Vec<(Added, [Linear; 2])> =
            family.added.iter().filter_map(|a| Some((a.clone(), self.embedder(&rooted(&a.embedder, root))?))).collect();
        let fits = labels.iter().all(|l| l.inputs == width) && added.iter().all(|(_, l)| l[1].out == width);
        let size_width = config.get("addition_time_embed_dim").and_then(serde_json::Value::as_u64).unwrap_or(0) as usize;
        let sinusoid = Sinusoid { width: layers[0].inputs, flip: family.flip.of(config)?, shift: family.shift.of(config)? };
        (fits && sinusoid.width > 2).then_some(Path { component, sinusoid, embedder: layers, labels, added, size_width })
    }

    /// Two linear layers, one after the other.
    fn embedder(&self, module: &str) -> Option<[Linear; 2]> {
        let layers = [self.linear(&format!("{module}.linear_1"))?, self.linear(&format!("{module}.linear_2"))?];
        (layers[0].out == layers[1].inputs).then_some(layers)
    }

    fn linear(&self, module: &str) -> Option<Linear> {
        let &(s, t, weight) = self.by_name.get(&*format!("{module}.weight"))?;
        let &[out, inputs] = weight.shape.as_slice() else { return None };
        let bias = self.by_name.get(&*format!("{module}.bias"));
        let fits = weight.dtype.is_float() && bias.is_none_or(|(_, _, b)| b.dtype.is_float() && b.numel() == out);
        fits.then_some(Linear { weight: (s, t), bias: bias.map(|&(s, t, _)| (s, t)), out, inputs })
    }
}

/// A tensor by its place.
fn tensor(component: &Component, (shard, tensor): (usize, usize)) -> (&Shard, &TensorInfo) {
    let shard = &component.shards[shard];
    (shard, &shard.header.tensors[tensor])
}
