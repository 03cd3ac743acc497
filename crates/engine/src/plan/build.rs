//! Putting the plan together, component by component.

use super::select::{self, Candidate, Choice, Selector};
use super::{ComponentPlan, KeptTensor, LayerPlan, Plan, ShardPlan, TensorPlan, base_scheme};
use crate::error::{QuantError, WorkFailure};
use crate::job::not_carried;
use crate::modality::Found;
use crate::rules::{Action, Protected, rules};
use aq_core::ResolvedConfig;
use aq_core::config::PlainDtype;
use aq_core::error::{ConfigIssue, ErrorCode};
use aq_io::TensorInfo;
use aq_io::layout::{LayerSpec, Layout};
use aq_io::source::{Component, Shard, Source};
use std::collections::{HashMap, HashSet};

/// Plans a job; nothing is read beyond the headers.
pub fn plan(source: &Source, config: &ResolvedConfig, found: &Found, layout: &dyn Layout) -> Result<Plan, QuantError> {
    let chosen = chosen_components(source, config)?;
    for &i in &chosen {
        refuse_quantized(&source.components[i])?;
    }
    let mut plan = Plan {
        modality: found.modality,
        modality_source: found.source.clone(),
        base: base_scheme(config),
        layers: vec![],
        components: vec![],
        kept: vec![],
    };
    let mut selector = Selector::new(config);
    let several = chosen.len() > 1;
    for &i in &chosen {
        let built = Builder {
            component: &source.components[i],
            prediction: source.prediction.as_deref(),
            several,
            config,
            layout,
            plan: &mut plan,
        }
        .component(i, &mut selector)?;
        plan.components.push(built);
    }
    let names: Vec<&str> = chosen.iter().flat_map(|&i| source.components[i].tensors().map(|(_, t)| t.name.as_str())).collect();
    let issues = selector.unmatched(&names);
    if !issues.is_empty() {
        return Err(QuantError::InvalidConfig(issues));
    }
    if plan.layers.is_empty() {
        let failure = WorkFailure::NothingToQuantize { tensors: names.len() };
        return Err(QuantError::QuantizationFailed { path: source.path.clone(), layer: None, failure });
    }
    Ok(plan)
}

/// The denoisers, or what the user names.
fn chosen_components(source: &Source, config: &ResolvedConfig) -> Result<Vec<usize>, QuantError> {
    let names: Vec<&str> = source.components.iter().map(|c| c.name.as_str()).collect();
    let Some(wanted) = &config.components else {
        let denoisers: Vec<usize> = (0..names.len()).filter(|&i| source.components[i].is_denoiser()).collect();
        if denoisers.is_empty() {
            let issue = ConfigIssue::new(
                ErrorCode::InvalidConfig,
                "components",
                component_names(&names),
                "nothing: the pipeline names no denoiser",
            );
            return Err(QuantError::InvalidConfig(vec![issue]));
        }
        return Ok(denoisers);
    };
    let mut issues = Vec::new();
    let mut chosen = HashSet::new();
    for (i, name) in wanted.iter().enumerate() {
        match names.iter().position(|n| n == name) {
            Some(at) => {
                chosen.insert(at);
            }
            None => issues.push(ConfigIssue::text(format!("components[{i}]"), &component_names(&names), name)),
        }
    }
    if wanted.is_empty() {
        issues.push(ConfigIssue::new(ErrorCode::InvalidConfig, "components", component_names(&names), "array of length 0"));
    }
    if !issues.is_empty() {
        return Err(QuantError::InvalidConfig(issues));
    }
    Ok((0..names.len()).filter(|i| chosen.contains(i)).collect())
}

fn component_names(names: &[&str]) -> String {
    let named: Vec<&str> = names.iter().copied().filter(|n| !n.is_empty()).collect();
    if named.is_empty() {
        "no name, since the model is one component".into()
    } else {
        format!("a component of the model ({})", named.join(", "))
    }
}

/// Quantizing twice adds two errors.
fn refuse_quantized(component: &Component) -> Result<(), QuantError> {
    let by_config = component
        .quantization
        .as_ref()
        .map(|c| c.get("quant_method").and_then(serde_json::Value::as_str).unwrap_or("an unnamed method").to_owned());
    let tensors: Vec<&TensorInfo> = component.tensors().map(|(_, t)| t).collect();
    match by_config.or_else(|| select::looks_quantized(&tensors)) {
        None => Ok(()),
        Some(scheme) => {
            let failure = WorkFailure::AlreadyQuantized { scheme };
            Err(QuantError::QuantizationFailed { path: component.dir.clone(), layer: None, failure })
        }
    }
}

struct Builder<'a> {
    component: &'a Component,
    prediction: Option<&'a str>,
    several: bool,
    config: &'a ResolvedConfig,
    layout: &'a dyn Layout,
    plan: &'a mut Plan,
}

impl Builder<'_> {
    fn component(mut self, index: usize, selector: &mut Selector<'_>) -> Result<ComponentPlan, QuantError> {
        let tensors: Vec<&TensorInfo> = self.component.tensors().map(|(_, t)| t).collect();
        let all: HashSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        let modules: Vec<&str> = tensors.iter().map(|t| t.name.strip_suffix(".weight").unwrap_or(&t.name)).collect();
        let protected = if self.component.is_denoiser() {
            select::protected(self.config, self.plan.modality, self.prediction, &modules)
        } else {
            vec![Protected::No; modules.len()] // what decides the worst step is in what denoises
        };
        let mut built = ComponentPlan { component: index, shards: vec![], floats: vec![] };
        let mut at = 0;
        for (i, shard) in self.component.shards.iter().enumerate() {
            self.refuse_uncarried(shard)?;
            let mut shard_plan = ShardPlan { shard: i, tensors: vec![] };
            for tensor in &shard.header.tensors {
                let fused = tensor.name.strip_suffix("out_proj.weight").is_some_and(|p| all.contains(&*format!("{p}in_proj_weight")));
                let candidate = Candidate { component: &self.component.name, tensor, fused_attention: fused, protected: protected[at] };
                let choice = selector.choose(&candidate);
                shard_plan.tensors.push(self.tensor(tensor, choice, &mut built.floats));
                at += 1;
            }
            built.shards.push(shard_plan);
        }
        self.refuse_collisions(&built)?;
        built.floats.extend(tied_head(self.component, all.iter().copied()));
        Ok(built)
    }

    fn report_name(&self, tensor: &str) -> String {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        if self.several { format!("{}/{module}", self.component.name) } else { module.to_owned() }
    }

    fn tensor(&mut self, tensor: &TensorInfo, choice: Choice, floats: &mut Vec<String>) -> TensorPlan {
        let fitted = match choice {
            Choice::Carry => return TensorPlan::Carry,
            Choice::Float(why) => Err(why),
            Choice::Quantize { bits, pinned } => self.fit(tensor, bits, pinned),
        };
        match fitted {
            Ok((spec, pinned)) => {
                let role = rules().role(spec.module(), spec.shape.len());
                let yields = role.action == Action::Keep8 && role.yields && !pinned;
                let (name, role) = (self.report_name(&tensor.name), role.role.clone());
                self.plan.layers.push(LayerPlan { name, spec, role, pinned, yields });
                TensorPlan::Quantize(self.plan.layers.len() - 1)
            }
            Err(why) => {
                floats.extend(named_floats(&tensor.name));
                self.plan.kept.push(KeptTensor { name: self.report_name(&tensor.name), why, bytes: tensor.len });
                TensorPlan::Carry
            }
        }
    }

    /// The layer's spec at the least width that the layout can carry, or why there is none.
    fn fit(&self, tensor: &TensorInfo, bits: aq_core::BitWidth, pinned: bool) -> Result<(LayerSpec, bool), String> {
        let dtype = self.config.plain_dtype.unwrap_or(PlainDtype::F32).resolve(tensor.dtype);
        let scheme = self.plan.base.with_bits(bits);
        let wanted = LayerSpec::new(&tensor.name, &tensor.shape, dtype, scheme).ok_or("it has no rows and input channels")?;
        let spec = fit_from(self.layout, &wanted)?;
        let stored = spec.scheme.coded_bytes(&spec.geometry);
        if stored >= tensor.len {
            return Err(format!("codes and scales would take {stored} bytes, the weights take {}", tensor.len));
        }
        Ok((spec, pinned))
    }

    /// What is not quantized must have a place in the layout, too: a file without some of its tensors is none.
    fn refuse_uncarried(&self, shard: &Shard) -> Result<(), QuantError> {
        for tensor in &shard.header.tensors {
            if let Err(why) = self.layout.carry(tensor) {
                return Err(not_carried(self.layout, shard, tensor, why));
            }
        }
        Ok(())
    }

    /// Two tensors of one component must not get one name, in whatever shards they stand: loaders see one list.
    fn refuse_collisions(&self, built: &ComponentPlan) -> Result<(), QuantError> {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for file in self.plan.component_files(self.component, built, self.layout) {
            for tensor in file.tensors {
                for name in tensor.out.into_iter().map(|t| t.name) {
                    if let Some(other) = owners.insert(name.clone(), &tensor.info.name) {
                        let failure = WorkFailure::NameCollision { a: other.into(), b: tensor.info.name.clone(), name };
                        return Err(QuantError::QuantizationFailed { path: tensor.shard.path.clone(), layer: None, failure });
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the loader must be told of a weight that stays in float: it looks for what it has renamed the module to, too.
pub fn named_floats(tensor: &str) -> impl Iterator<Item = String> {
    let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
    [tensor.to_owned()].into_iter().chain(rules().renamed(module).map(|m| format!("{m}.weight")))
}

/// A head that is tied to the embedding and so absent from the files; the loader would make a quantized layer of it.
pub fn tied_head<'t>(component: &Component, mut tensors: impl Iterator<Item = &'t str>) -> Option<String> {
    const HEAD: &str = "lm_head.weight";
    (component.is_transformers() && !tensors.any(|t| t == HEAD)).then(|| HEAD.into())
}

/// The layer under the scheme of the least width that the layout can carry, from the wanted one on; or why there is none.
pub fn fit_from(layout: &dyn Layout, wanted: &LayerSpec) -> Result<LayerSpec, String> {
    layout.fit(wanted).or_else(|why| {
        let wider = wanted.scheme.bits.wider().ok_or(why)?;
        fit_from(layout, &wanted.with_scheme(wanted.scheme.with_bits(wider)))
    })
}
