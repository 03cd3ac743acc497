//! Putting the plan together, component by component.

use super::select::{self, Candidate, Choice, Selector};
use super::{ComponentPlan, KeptTensor, LayerPlan, Plan, TensorPlan, Unit, base_scheme};
use crate::error::{QuantError, WorkFailure};
use crate::job::not_carried;
use crate::modality::Found;
use crate::names::{Family, Op, Original, architectures, family};
use crate::rules::{Action, Protected, rules};
use aq_core::ResolvedConfig;
use aq_core::config::{GgufNames, PlainDtype};
use aq_core::error::{ConfigIssue, ErrorCode};
use aq_io::TensorInfo;
use aq_io::layout::{LayerSpec, Layout};
use aq_io::source::{Component, Shard, Source};
use aq_io::weights::Place;
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
        widened: vec![],
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
    let archived = component.shards.iter().flat_map(|s| s.header.archive.values()).any(Option::is_some);
    let archived = archived.then(|| "a Parquet archive of arrow-quant".to_owned());
    match by_config.or(archived).or_else(|| select::looks_quantized(&tensors)) {
        None => Ok(()),
        Some(scheme) => {
            let failure = WorkFailure::AlreadyQuantized { scheme };
            Err(QuantError::QuantizationFailed { path: component.dir.clone(), layer: None, failure })
        }
    }
}

/// What a tensor is to be in the output.
struct Wanted<'a> {
    written: &'a str,
    /// The length of rows that convolutions may stand in.
    rows: Option<usize>,
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
        let names = self.names()?;
        let architecture = names.map(|n| n.architecture.as_str());
        let mut built = ComponentPlan { component: index, units: vec![], floats: vec![], architecture };
        let place_of = |(s, shard): (usize, &'_ Shard)| (0..shard.header.tensors.len()).map(move |tensor| Place { shard: s, tensor });
        let places: Vec<Place> = self.component.shards.iter().enumerate().flat_map(place_of).collect();
        let by_name: HashMap<&str, Place> = tensors.iter().map(|t| t.name.as_str()).zip(places.iter().copied()).collect();
        let mut choices: HashMap<Place, Choice> = HashMap::new();
        for ((tensor, place), protected) in tensors.iter().zip(&places).zip(protected) {
            let fused = tensor.name.strip_suffix("out_proj.weight").is_some_and(|p| all.contains(&*format!("{p}in_proj_weight")));
            let candidate = Candidate { component: &self.component.name, tensor, fused_attention: fused, protected };
            choices.insert(*place, selector.choose(&candidate));
        }
        for (tensor, place) in tensors.iter().zip(places) {
            let shard = &self.component.shards[place.shard];
            if shard.header.spent.contains(&tensor.name) {
                continue;
            }
            let Some(mut unit) = self.unit(names, place, tensor, &by_name)? else { continue };
            let source = unit.source(self.component).ok_or_else(|| self.misfit(shard, tensor))?;
            self.layout.carry(&source.info).map_err(|why| not_carried(self.layout, &shard.path, tensor, why))?;
            let choice = joined(unit.members.iter().filter_map(|p| choices.get(p)));
            let written = unit.name.as_ref().unwrap_or(&source.info.name).clone();
            let rows = names.filter(|n| n.reshapes).and_then(|_| self.layout.reshapes());
            unit.plan = self.tensor(&source.info, &Wanted { written: &written, rows }, choice, &mut built.floats);
            if let TensorPlan::Quantize(i) = unit.plan {
                let module = |p: &Place| self.report_name(&self.component.shards[p.shard].header.tensors[p.tensor].name);
                let joined = if unit.members.len() > 1 { unit.members.iter().map(module).collect() } else { vec![] };
                self.plan.layers[i].joined = joined;
            }
            built.units.push(unit);
        }
        self.refuse_collisions(&built)?;
        built.floats.extend(tied_head(self.component, all.iter().copied()));
        Ok(built)
    }

    fn report_name(&self, tensor: &str) -> String {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        if self.several { format!("{}/{module}", self.component.name) } else { module.to_owned() }
    }

    fn tensor(&mut self, tensor: &TensorInfo, wanted: &Wanted<'_>, choice: Choice, floats: &mut Vec<String>) -> TensorPlan {
        let asked = if let Choice::Quantize { bits, .. } = &choice { Some(*bits) } else { None };
        let fitted = match choice {
            Choice::Carry => return TensorPlan::Carry,
            Choice::Float(why) => Err(why),
            Choice::Quantize { bits, pinned } => self.fit(tensor, wanted, bits, pinned),
        };
        match fitted {
            Ok((spec, pinned)) => {
                let role = rules().role(spec.module(), spec.model_shape().len());
                let yields = role.action == Action::Keep8 && role.yields && !pinned;
                let (name, role) = (self.report_name(&tensor.name), role.role.clone());
                if matches!(asked, Some(asked) if spec.scheme.bits > asked) {
                    self.plan.widened.push(name.clone());
                }
                self.plan.layers.push(LayerPlan { name, joined: vec![], spec, role, pinned, yields });
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
    fn fit(&self, tensor: &TensorInfo, to: &Wanted<'_>, bits: aq_core::BitWidth, pinned: bool) -> Result<(LayerSpec, bool), String> {
        let dtype = self.config.plain_dtype.unwrap_or(PlainDtype::F32).resolve(tensor.dtype);
        let scheme = self.plan.base.with_bits(bits);
        // Convolutions fill blocks only as one row after the other.
        let rows = to.rows.filter(|rows| tensor.shape.len() == 4 && tensor.numel().is_multiple_of(*rows));
        let shape = rows.map_or(tensor.shape.clone(), |rows| vec![tensor.numel() / rows, rows]);
        let wanted = LayerSpec::new(&tensor.name, &shape, dtype, scheme).ok_or("it has no rows and input channels")?;
        let wanted = LayerSpec { written: to.written.into(), reshaped: rows.map(|_| tensor.shape.clone()), ..wanted };
        let spec = fit_from(self.layout, &wanted)?;
        let stored = spec.scheme.coded_bytes(&spec.geometry);
        let kept = self.layout.carry(tensor).map_or(tensor.len, |t| t.len);
        if stored >= kept {
            return Err(format!("codes and scales would take {stored} bytes, the weights take {kept}"));
        }
        Ok((spec, pinned))
    }

    /// The names that the tensors get, where these are not their own.
    fn names(&self) -> Result<Option<&'static Family>, QuantError> {
        let by_layout = self.layout.original_names();
        if (self.config.gguf_names != GgufNames::Original && !by_layout) || !self.component.is_denoiser() {
            return Ok(None);
        }
        let class = self.component.class_name().unwrap_or_default();
        if by_layout && class.is_empty() {
            return Ok(None); // a file without a config: what ComfyUI opens has the original names
        }
        let config = self.component.config.clone().unwrap_or_default();
        family(&class, &config).map(Some).ok_or_else(|| {
            let subject = if class.is_empty() { "a model without class" } else { &class };
            let (option, given, instead) =
                if by_layout { ("layout", self.layout.name(), "'sdnq' or 'gguf'") } else { ("ggufNames", "original", "'diffusers'") };
            let expected = format!("{instead} for {subject}: original names are known for {}", architectures().join(", "));
            QuantError::InvalidConfig(vec![ConfigIssue::text(option, &expected, given)])
        })
    }

    /// The tensor of the output that begins with this one; `None` where another does, or the original has none.
    fn unit(
        &self,
        names: Option<&Family>,
        place: Place,
        tensor: &TensorInfo,
        places: &HashMap<&str, Place>,
    ) -> Result<Option<Unit>, QuantError> {
        let whole = Unit::of(place, TensorPlan::Carry);
        let Some(names) = names else { return Ok(Some(whole)) };
        let shard = &self.component.shards[place.shard];
        let refused = |why| not_carried(self.layout, &shard.path, tensor, why);
        let config = self.component.config.as_ref();
        let found = names.original(&tensor.name, config.unwrap_or(&serde_json::Map::new())).map_err(refused)?;
        let Some(Original { name, members, op }) = found else { return Ok(None) };
        let missing =
            |member: &String| not_carried(self.layout, &shard.path, tensor, format!("{member}, which belongs to it, is not there"));
        let members = members.iter().map(|m| places.get(m.as_str()).copied().ok_or_else(|| missing(m))).collect::<Result<Vec<_>, _>>()?;
        if members.first() != Some(&place) {
            return Ok(None);
        }
        Ok(Some(Unit { members, swapped: op == Op::SwapHalves, name: Some(name), ..whole }))
    }

    fn misfit(&self, shard: &Shard, tensor: &TensorInfo) -> QuantError {
        not_carried(self.layout, &shard.path, tensor, "the tensors it is joined of have different types or rows".into())
    }

    /// Two tensors of one component must not get one name, in whatever shards they stand: loaders see one list.
    fn refuse_collisions(&self, built: &ComponentPlan) -> Result<(), QuantError> {
        let mut owners: HashMap<String, String> = HashMap::new();
        for file in self.plan.component_files(self.component, built, self.layout) {
            for tensor in &file.tensors {
                let info = &tensor.source.info;
                for name in tensor.out.iter().map(|t| t.name.clone()) {
                    if let Some(other) = owners.insert(name.clone(), info.name.clone()) {
                        let failure = WorkFailure::NameCollision { a: other, b: info.name.clone(), name };
                        return Err(QuantError::QuantizationFailed { path: tensor.source.path().into(), layer: None, failure });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tensors that become one have one scheme: the widest that is asked for, none where one of them is to stay as it is.
fn joined<'c>(choices: impl Iterator<Item = &'c Choice>) -> Choice {
    let mut all: Option<Choice> = None;
    for choice in choices {
        all = Some(match (all, choice.clone()) {
            (None, choice) => choice,
            (Some(Choice::Quantize { bits: a, pinned: p }), Choice::Quantize { bits: b, pinned: q }) => {
                Choice::Quantize { bits: a.max(b), pinned: p || q }
            }
            (Some(Choice::Float(why)), _) | (_, Choice::Float(why)) => Choice::Float(why),
            (Some(Choice::Carry), _) | (_, Choice::Carry) => Choice::Carry,
        });
    }
    all.unwrap_or(Choice::Carry)
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
