//! The files around the weights: configs with `quantization_config`, shard indexes, everything carried over.

use crate::control::Control;
use crate::error::QuantError;
use crate::plan::{ComponentPlan, Plan, TensorPlan};
use aq_io::layout::{Described, LayerSpec, Layout};
use aq_io::output::{Placed, Staging};
use aq_io::source::{Component, Source};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Pretty, with a last newline, as the tools write theirs.
pub fn json_bytes(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}");
    text.push('\n');
    text.into_bytes()
}

const QUANTIZATION: &str = "quantization_config";

/// A layer of the plan that is in the output.
#[derive(Debug, Clone)]
pub struct Written {
    /// What it is stored as; `None`: as floats, after all.
    pub spec: Option<LayerSpec>,
    /// Where its tensors are.
    pub placed: Vec<Placed>,
}

/// Folder of a component in the output, relative.
pub fn folder(source: &Source, component: &Component) -> PathBuf {
    component.dir.strip_prefix(&source.root).unwrap_or(Path::new("")).to_path_buf()
}

/// Copies what belongs to the model and is not written anew; `rewritten` already holds the configs that are.
pub fn carry_over(
    source: &Source,
    plan: &Plan,
    staging: &Staging,
    control: &Control,
    mut rewritten: Vec<PathBuf>,
) -> Result<(), QuantError> {
    for c in &plan.components {
        let component = &source.components[c.component];
        rewritten.extend(component.shards.iter().map(|s| s.path.clone()));
        rewritten.extend(component.index.as_ref().map(|i| component.dir.join(&i.file_name)));
    }
    // A manifest of the input describes the input.
    rewritten.push(source.root.join(super::manifest::FILE));
    for file in source.carried.iter().filter(|f| !rewritten.contains(&f.from)) {
        staging.carry(&file.from, &file.to, file.weight, || control.check())?;
    }
    Ok(())
}

/// `config.json` with what the layout's loader must know. Returns the source's config that this replaces, if so.
pub fn write_config(
    source: &Source,
    plan: &Plan,
    component: &ComponentPlan,
    written: &[Written],
    layout: &dyn Layout,
    staging: &Staging,
) -> Result<Option<PathBuf>, QuantError> {
    let mut layers: Vec<LayerSpec> = Vec::new();
    let mut floats = component.floats.clone();
    for unit in &component.units {
        let TensorPlan::Quantize(i) = unit.plan else { continue };
        match &written[i].spec {
            Some(spec) => layers.push(spec.clone()),
            None => floats.push(plan.layers[i].spec.tensor.clone()),
        }
    }
    let described = Described { base: &plan.base, layers: &layers, floats: &floats };
    let quantization = layout.quantization_config(described);
    let from = &source.components[component.component];
    let folder = folder(source, from);
    if let Some(config) = &from.config {
        let mut config = config.clone();
        match (quantization, config.contains_key(QUANTIZATION)) {
            (Some(quantization), _) => drop(config.insert(QUANTIZATION.into(), Value::Object(quantization))),
            (None, true) => drop(config.remove(QUANTIZATION)),
            (None, false) => return Ok(None),
        }
        staging.write(&folder.join("config.json"), &json_bytes(&Value::Object(config)))?;
        return Ok(Some(from.dir.join("config.json")));
    }
    if let Some(quantization) = quantization {
        staging.write(&folder.join("quantization_config.json"), &json_bytes(&Value::Object(quantization)))?;
    }
    Ok(from.quantization.is_some().then(|| from.dir.join("quantization_config.json")))
}

/// The shard index, where the source has one.
pub fn write_index(
    source: &Source,
    component: &ComponentPlan,
    placed: &[(String, Vec<Placed>)],
    staging: &Staging,
) -> Result<(), QuantError> {
    let from = &source.components[component.component];
    let Some(index) = &from.index else { return Ok(()) };
    let mut names: Vec<(&str, &str)> = Vec::new();
    let mut total = 0;
    for (file, tensors) in placed {
        for p in tensors {
            names.push((&p.tensor.name, file));
            total += p.tensor.len;
        }
    }
    names.sort_unstable();
    let map: Map<String, Value> = names.into_iter().map(|(n, f)| (n.to_owned(), json!(f))).collect();
    let mut metadata = index.metadata.clone().unwrap_or_default();
    metadata.insert("total_size".into(), json!(total));
    let value = json!({"metadata": metadata, "weight_map": map});
    staging.write(&folder(source, from).join(&index.file_name), &json_bytes(&value))?;
    Ok(())
}
