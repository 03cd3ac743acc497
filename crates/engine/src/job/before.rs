//! What is looked at before anything is written.

use super::blocks::{ROW_STEP, working_set};
use super::manifest;
use crate::error::{MemoryCause, Pool, QuantError};
use crate::memory::Memory;
use crate::names::family;
use crate::plan::Plan;
use aq_core::GivenConfig;
use aq_core::config::{GgufNames, Layout};
use aq_core::error::ConfigIssue;
use aq_core::report::Warning;
use aq_io::layout::{COMFYUI, COMPRESSED, Gguf, Layout as Written, layout};
use aq_io::source::{Component, Source, SourceKind};
use aq_io::{Disk, os};
use serde_json::json;
use std::path::Path;

/// Of the container's memory, a job takes this part where the option is not given: the rest is for Node and for others.
const CONTAINER_PART: u64 = 4;
const MB: u64 = 1 << 20;
const MOST_NAMED: usize = 5;

/// Writing into the model, or replacing a folder that holds it, would destroy the source.
pub fn refuse_overlap(disk: &Disk, output: &Path, source: &Source) -> Result<(), QuantError> {
    refuse_output_at(disk, output, &source.path, "a path apart from modelPath")
}

/// The same for any input.
pub fn refuse_output_at(disk: &Disk, output: &Path, input: &Path, expected: &str) -> Result<(), QuantError> {
    let absolute = std::path::absolute(output).unwrap_or_else(|_| output.into());
    let mut known = Path::new("/");
    for folder in absolute.ancestors() {
        if disk.find(folder)?.is_some() {
            known = folder;
            break;
        }
    }
    let rest = absolute.strip_prefix(known).unwrap_or(Path::new(""));
    let (Some(known), Some(model)) = (disk.resolved(known)?, disk.resolved(input)?) else { return Ok(()) };
    let target = if rest.as_os_str().is_empty() { known } else { known.join(rest) };
    if target.starts_with(&model) || model.starts_with(&target) {
        let issue = ConfigIssue::text("outputPath", expected, &output.to_string_lossy());
        return Err(QuantError::InvalidConfig(vec![issue]));
    }
    Ok(())
}

/// Fails before anything is written when the planned files cannot fit. Links cost nothing, so only what is written anew counts.
pub fn check_space(output: &Path, required: u64) -> Result<(), QuantError> {
    match os::available_space(output) {
        Some(available) if available < required => {
            Err(QuantError::OutOfDisk { path: output.into(), required, available: Some(available), source: None })
        }
        _ => Ok(()), // where the system does not tell, writing will
    }
}

/// The options with the layout that the model's own ecosystem loads, where none is asked for. What stands in a GGUF file has the names of
/// llama.cpp, which no other layout's loaders know.
pub fn with_layout(given: &GivenConfig, source: &Source) -> Result<GivenConfig, QuantError> {
    let gguf = source.components.iter().flat_map(|c| &c.shards).any(|s| s.header.keys.is_some());
    let layout = match given.layout() {
        Some(layout) if gguf && layout != Layout::Gguf => {
            let issue = ConfigIssue::text("layout", "'auto' or 'gguf' for a model in a GGUF file", layout.as_str());
            return Err(QuantError::InvalidConfig(vec![issue]));
        }
        Some(layout) => layout,
        None if gguf => Layout::Gguf,
        None if source.kind == SourceKind::Transformers => Layout::CompressedTensors,
        None => Layout::Sdnq,
    };
    if layout != Layout::Gguf && given.gguf_names.is_some_and(|n| n != GgufNames::Auto) {
        let issue = ConfigIssue::text("ggufNames", "to be given only with layout 'gguf'", layout.as_str());
        return Err(QuantError::InvalidConfig(vec![issue]));
    }
    if layout != Layout::Gguf && given.gguf_type.is_some() && given.layout().is_none() {
        let issue = ConfigIssue::text("ggufType", "to be given only with layout 'gguf'", layout.as_str());
        return Err(QuantError::InvalidConfig(vec![issue]));
    }
    Ok(given.for_layout(layout))
}

/// The layout by its name, in the form that suits the model and the options. `recipe`: the kind of GGUF file; `zeros`: zeros are asked for.
pub fn layout_for(name: Layout, recipe: Option<&str>, zeros: bool, source: &Source) -> &'static dyn Written {
    if name == Layout::CompressedTensors && zeros {
        return &COMPRESSED[1];
    }
    if let Some(gguf) = recipe.filter(|_| name == Layout::Gguf).and_then(Gguf::named) {
        return gguf;
    }
    let of = |c: &Component| family(&c.class_name()?, c.config.as_ref()?);
    let f16 = source.components.iter().filter(|c| c.is_denoiser()).filter_map(of).any(|family| family.f16);
    if name == Layout::ComfyUi && f16 { &COMFYUI[1] } else { layout(name) }
}

/// The job's memory in MiB: as given, else the default, or less in a container that has little.
pub fn memory_limit_mb(given: &GivenConfig, resolved: u64) -> u64 {
    match (given.max_memory_limit_mb, os::memory_limit()) {
        (None, Some(limit)) => resolved.min((limit / CONTAINER_PART / MB).max(16)),
        _ => resolved,
    }
}

/// Fails when the widest row does not fit into the job's memory. Rows are never split: they have sums and a gain of their own.
pub fn check_memory(plan: &Plan, source: &Source, memory: &Memory) -> Result<(), QuantError> {
    for component in &plan.components {
        let from = &source.components[component.component];
        for unit in &component.units {
            let crate::plan::TensorPlan::Quantize(i) = unit.plan else { continue };
            let (layer, place) = (&plan.layers[i], unit.members[0]);
            let dtype = from.shards[place.shard].header.tensors[place.tensor].dtype;
            let requested = working_set(layer.spec.geometry, dtype.size()) * ROW_STEP.min(layer.spec.geometry.out) as u64;
            if requested > memory.limit() {
                let (pool, cause, limit) = (Pool::Host, MemoryCause::Budget, memory.limit());
                return Err(QuantError::OutOfMemory { pool, cause, requested, limit, tensor: Some(layer.name.clone()) });
            }
        }
    }
    Ok(())
}

/// Layers that the layout has no codes of the wanted width for.
pub fn widened(plan: &Plan, layout: &dyn Written) -> Option<Warning> {
    let count = plan.widened.len();
    let message = format!("{count} layer(s) get more bits than asked for: layout {} has none of that width for their rows.", layout.name());
    let details = json!({"count": count, "layers": plan.widened.iter().take(MOST_NAMED).collect::<Vec<_>>()});
    (count > 0).then_some(Warning { code: "AQ_WARN_LAYOUT_WIDTH", message, details })
}

/// What the user should know of the options and the input.
pub fn warnings(disk: &Disk, given: &GivenConfig, source: &Source) -> Result<Vec<Warning>, QuantError> {
    let mut list: Vec<Warning> = given
        .without_effect()
        .into_iter()
        .map(|(option, why)| Warning {
            code: "AQ_WARN_NO_EFFECT",
            message: format!("Option {option} has no effect: {why}."),
            details: json!({"option": option}),
        })
        .collect();
    if given.layout() == Some(Layout::CompressedTensors) && given.symmetric == Some(false) {
        let message =
            "Zero points were asked for: vLLM opens them, transformers only with CompressedTensorsConfig(dequantize=True), and that \
                       rightly only where all layers have one width."
                .into();
        list.push(Warning { code: "AQ_WARN_ZERO_POINTS", message, details: json!({"layout": "compressed-tensors"}) });
    }
    if let Some(manifest) = manifest::read(disk, source)?
        && manifest.get("layout").and_then(|l| l.as_str()) == Some("plain")
    {
        let message = "The input was quantized and decoded before; quantizing it again adds a second error.".into();
        list.push(Warning { code: "AQ_WARN_PLAIN_INPUT", message, details: json!({"layout": "plain"}) });
    }
    Ok(list)
}
