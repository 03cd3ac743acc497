//! What becomes of a quantized model in another layout: the same codes under other names, or their values.

use super::ExportRequest;
use crate::error::{QuantError, WorkFailure};
use crate::job::not_carried;
use crate::plan::{ComponentPlan, LayerPlan, Plan, TensorPlan, Unit, named_floats, tied_head};
use crate::rules::rules;
use aq_core::config::PlainDtype;
use aq_core::{Dtype, Modality, Scheme};
use aq_io::layout::{LayerSpec, Layout};
use aq_io::source::{Component, Source};
use aq_io::weights::{Coded, Place, Weight, weights};
use std::collections::{BTreeMap, HashMap};

/// A plan with the weights that its layers are read from.
pub struct ExportPlan {
    /// As for a job.
    pub plan: Plan,
    /// For each layer of the plan: index of its component, and the weight.
    pub weights: Vec<(usize, Weight)>,
}

/// Plans an export of all components that hold codes.
pub fn plan(request: &ExportRequest, source: &Source, modality: Modality, layout: &dyn Layout) -> Result<ExportPlan, QuantError> {
    let mut found: Vec<(usize, Vec<Weight>)> = Vec::new();
    for (index, component) in source.components.iter().enumerate() {
        let weights = weights(component)?;
        if weights.iter().any(|w| w.coded().is_some()) {
            found.push((index, weights));
        }
    }
    let Some(base) = common(found.iter().flat_map(|(_, w)| w).filter_map(Weight::coded)) else {
        let failure = WorkFailure::NotQuantized;
        return Err(QuantError::QuantizationFailed { path: source.path.clone(), layer: None, failure });
    };
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

/// The scheme that most weights share.
fn common<'a>(coded: impl Iterator<Item = &'a Coded>) -> Option<Scheme> {
    let mut counts: BTreeMap<String, (usize, Scheme)> = BTreeMap::new();
    for c in coded {
        let s = c.spec.scheme;
        counts.entry(format!("{:?} {} {:?}", s.bits, s.group_size, s.zero)).or_insert((0, s)).0 += c.spec.geometry.numel();
    }
    counts.into_values().max_by_key(|(n, _)| *n).map(|(_, scheme)| scheme)
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
            let spec = target.spec(coded).map_err(|why| {
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
    fn spec(&self, coded: &Coded) -> Result<LayerSpec, String> {
        if !self.layout.holds_codes() {
            let dtype = self.request.plain_dtype.unwrap_or(PlainDtype::F32).resolve(Dtype::F32);
            return Ok(LayerSpec { dtype, ..coded.spec.clone() });
        }
        let (from, wanted) = (coded.spec.scheme, &coded.spec);
        let fitted = self.layout.fit(wanted)?;
        let to = fitted.scheme;
        if from.blocks != to.blocks {
            let of = |s: Scheme| s.blocks.map_or("grouped integers", |b| b.name());
            return Err(format!("it has {}, the layout {}", of(from), of(to)));
        }
        if from.zero != to.zero {
            return Err("it has zero points, the layout has none".into());
        }
        if from.rotation.is_some() && !self.layout.rotates() {
            return Err("its rows are rotated, which the layout's loaders do not undo".into());
        }
        if fitted.geometry != wanted.geometry {
            return Err(format!("its groups have {} weights, which the layout's loaders do not find", wanted.geometry.group));
        }
        Ok(fitted.with_scheme(Scheme { rotation: from.rotation, scale_dtype: from.scale_dtype, ..to }))
    }
}
