//! What becomes of a quantized model in another layout: the same codes under other names, or their values.

use super::ExportRequest;
use crate::error::{QuantError, WorkFailure};
use crate::job::not_carried;
use crate::names::family;
use crate::plan::{ComponentPlan, LayerPlan, Plan, TensorPlan, Unit, named_floats, tied_head};
use crate::rules::rules;
use aq_core::config::PlainDtype;
use aq_core::{BitWidth, Dtype, Modality, ScaleDtype, Scheme, ZeroKind, group_for};
use aq_io::layout::{LayerSpec, Layout};
use aq_io::source::{Component, Source};
use aq_io::weights::{Coded, Place, Weight, weights};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A plan with the weights that its layers are read from.
pub struct ExportPlan {
    /// As for a job.
    pub plan: Plan,
    /// For each layer of the plan: index of its component, and the weight.
    pub weights: Vec<(usize, Weight)>,
}

/// Plans an export of all components that hold codes. `bits`: the width of the run that made them, where it is known.
pub fn plan(
    request: &ExportRequest,
    source: &Source,
    modality: Modality,
    layout: &dyn Layout,
    bits: Option<BitWidth>,
) -> Result<ExportPlan, QuantError> {
    let mut found: Vec<(usize, Vec<Weight>)> = Vec::new();
    for (index, component) in source.components.iter().enumerate() {
        let weights = weights(component)?;
        if weights.iter().any(|w| w.coded().is_some()) {
            found.push((index, weights));
        }
    }
    let Some(base) = common(found.iter().flat_map(|(_, w)| w).filter_map(Weight::coded), bits) else {
        let failure = WorkFailure::NotQuantized;
        return Err(QuantError::QuantizationFailed { path: source.path.clone(), layer: None, failure });
    };
    let base = if layout.one_group_size() { with_group_size(base, &found) } else { base };
    let (several, modality_source) = (found.len() > 1, String::new());
    let mut export = ExportPlan {
        plan: Plan { modality, modality_source, base, layers: vec![], components: vec![], kept: vec![], widened: vec![] },
        weights: vec![],
    };
    for (index, weights) in found {
        let component = &source.components[index];
        let planned = export.component(index, component, weights, several, &Target { request, layout })?;
        export.plan.components.push(planned);
    }
    Ok(export)
}

/// The scheme that most weights share, of the wanted width if there are any.
fn common<'a>(coded: impl Iterator<Item = &'a Coded>, bits: Option<BitWidth>) -> Option<Scheme> {
    let mut counts: BTreeMap<String, (usize, Scheme)> = BTreeMap::new();
    for c in coded {
        let s = c.spec.scheme;
        counts.entry(format!("{:?} {} {:?}", s.bits, s.group_size, s.zero)).or_insert((0, s)).0 += c.spec.geometry.numel();
    }
    counts.into_values().max_by_key(|(n, scheme)| (Some(scheme.bits) == bits, *n)).map(|(_, scheme)| scheme)
}

/// The scheme with the group size from which the loader's rule makes that of most weights.
fn with_group_size(base: Scheme, found: &[(usize, Vec<Weight>)]) -> Scheme {
    let coded: Vec<&Coded> = found.iter().flat_map(|(_, w)| w).filter_map(Weight::coded).collect();
    let stated = coded.iter().map(|c| c.spec.scheme.group_size);
    let candidates: BTreeSet<usize> = [32, 64, 128, 256].into_iter().chain(stated).collect();
    let reached = |size: usize| -> usize {
        let fits = coded.iter().filter(|c| group_for(c.spec.geometry.channels, size) == c.spec.geometry.group);
        fits.map(|c| c.spec.geometry.numel()).sum()
    };
    let best = candidates.into_iter().max_by_key(|&size| (reached(size), size == base.group_size)).unwrap_or(base.group_size);
    Scheme { group_size: best, ..base }
}

/// Whether a layer has a name that an original model has another one for.
fn has_other_names(component: &Component, layer: &LayerPlan) -> bool {
    let config = component.config.clone().unwrap_or_default();
    let family = component.class_name().and_then(|class| family(&class, &config));
    family.is_some_and(|family| family.original(&layer.spec.tensor, &config).is_ok())
}

struct Target<'a> {
    request: &'a ExportRequest,
    layout: &'a dyn Layout,
}

impl ExportPlan {
    fn component(
        &mut self,
        index: usize,
        component: &Component,
        weights: Vec<Weight>,
        several: bool,
        target: &Target<'_>,
    ) -> Result<ComponentPlan, QuantError> {
        let names: Vec<String> = weights.iter().map(|w| w.name.clone()).collect();
        let (mut floats, mut of_layers) = (Vec::new(), HashMap::new());
        for weight in weights {
            let module = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
            let Some(coded) = weight.coded() else {
                floats.extend(named_floats(&weight.name));
                continue;
            };
            let name = if several { format!("{}/{module}", component.name) } else { module.to_owned() };
            let spec = target.spec(coded, self.plan.base.group_size).map_err(|why| {
                let failure = WorkFailure::WouldRound { layout: target.layout.name(), why };
                QuantError::QuantizationFailed { path: component.dir.clone(), layer: Some(name.clone()), failure }
            })?;
            let role = rules().role(module, spec.shape.len()).role.clone();
            // The first of a layer's tensors stands for all of them.
            for (i, place) in weight.places().iter().enumerate() {
                of_layers.insert(*place, (i == 0).then_some(self.weights.len()));
            }
            self.plan.layers.push(LayerPlan { name, joined: vec![], spec, role, pinned: true, yields: false });
            self.weights.push((index, weight));
        }
        if target.layout.original_names()
            && let Some(layer) = self.plan.layers.last().filter(|layer| has_other_names(component, layer))
        {
            let why = "its name is that of diffusers, whose loaders do not read this layout: quantize the original model with it".into();
            let failure = WorkFailure::NotCarried { tensor: layer.spec.tensor.clone(), layout: target.layout.name(), why };
            return Err(QuantError::QuantizationFailed { path: component.dir.clone(), layer: Some(layer.name.clone()), failure });
        }
        let mut units = Vec::new();
        for (s, shard) in component.shards.iter().enumerate() {
            for (t, tensor) in shard.header.tensors.iter().enumerate() {
                let place = Place { shard: s, tensor: t };
                let plan = match of_layers.get(&place) {
                    Some(Some(layer)) => TensorPlan::Quantize(*layer),
                    Some(None) => continue,
                    None => {
                        target.layout.carry(tensor).map_err(|why| not_carried(target.layout, &shard.path, tensor, why))?;
                        TensorPlan::Carry
                    }
                };
                units.push(Unit::of(place, plan));
            }
        }
        floats.extend(tied_head(component, names.iter().map(String::as_str)));
        Ok(ComponentPlan { component: index, units, floats, architecture: None })
    }
}

impl Target<'_> {
    /// What a weight in codes becomes; why it cannot be without rounding once more.
    fn spec(&self, coded: &Coded, group_size: usize) -> Result<LayerSpec, String> {
        if !self.layout.holds_codes() {
            let dtype = self.request.plain_dtype.unwrap_or(PlainDtype::F32).resolve(Dtype::F32);
            return Ok(LayerSpec { dtype, ..coded.spec.clone() });
        }
        let (from, wanted) = (coded.spec.scheme, &coded.spec);
        if from.blocks.is_some() && self.layout.holds_blocks() {
            return Ok(wanted.clone());
        }
        let group_size = if self.layout.one_group_size() && from.blocks.is_none() { group_size } else { from.group_size };
        let fitted = self.layout.fit(&wanted.with_scheme(Scheme { group_size, ..from }))?;
        let to = fitted.scheme;
        if from.blocks != to.blocks {
            let of = |s: Scheme| s.blocks.map_or("grouped integers", |b| b.name());
            return Err(format!("it has {}, the layout {}", of(from), of(to)));
        }
        if from.zero == ZeroKind::Middle && to.zero == ZeroKind::Float {
            return Err("its zero is what the middle code stands for, the layout's what code 0 does".into());
        }
        if from.zero == ZeroKind::Float && to.zero == ZeroKind::Middle {
            return Err("its zero is what code 0 stands for, the layout's what the middle code does".into());
        }
        if from.zero != to.zero {
            let why = match to.zero {
                ZeroKind::Integer => "its zeros are floats, the layout's are whole numbers",
                _ if from.zero == ZeroKind::Integer => "its zeros are whole numbers, the layout's floats",
                _ => "it has zero points, the layout has none",
            };
            return Err(why.into());
        }
        if from.rotation.is_some_and(|block| !self.layout.rotates(&fitted, block)) {
            return Err("its rows are rotated, which the layout's loaders do not undo".into());
        }
        if fitted.geometry != wanted.geometry {
            return Err(format!("its groups have {} weights, which the layout's loaders do not find", wanted.geometry.group));
        }
        // Wider scales are the same ones.
        let scale_dtype = if to.scale_dtype == ScaleDtype::F32 { to.scale_dtype } else { from.scale_dtype };
        Ok(fitted.with_scheme(Scheme { rotation: from.rotation, scale_dtype, ..to }))
    }
}
