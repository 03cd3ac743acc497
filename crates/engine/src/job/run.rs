//! A quantization job from the call to the renamed folder.

use super::blocks::LayerFiles;
use super::context::JobContext;
use super::layer::{self, LayerDone, LayerEnd};
use super::manifest::{self, WrittenFile};
use super::pool::{pool, thread_count};
use super::report::{ReportInput, report};
use super::{carry, files, quality};
use crate::control::Control;
use crate::error::QuantError;
use crate::modality;
use crate::plan::{Plan, TensorPlan, plan};
use aq_core::error::ConfigIssue;
use aq_core::report::{QuantizeReport, Warning};
use aq_core::{GivenConfig, Mode, Phase};
use aq_io::layout::{Layout, layout};
use aq_io::os;
use aq_io::output::{Placed, ShardWriter, Staging};
use aq_io::source::{self, Shard, Source};
use rayon::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to quantize and where to.
#[derive(Debug, Clone)]
pub struct QuantizeRequest {
    /// Folder or file.
    pub model_path: PathBuf,
    /// Folder to be created.
    pub output_path: PathBuf,
    /// With a time axis or without.
    pub mode: Mode,
    /// Options as given.
    pub config: GivenConfig,
}

/// A weight file being written.
struct ShardJob<'a> {
    component: usize,
    shard: &'a Shard,
    plan: &'a [TensorPlan],
    writer: ShardWriter,
    /// Per tensor of the header: where its tensors go.
    placed: Vec<Vec<Placed>>,
}

/// What a task ends with: the layer's index and end, nothing for a tensor carried over.
type TaskEnd = Result<Option<(usize, LayerEnd)>, QuantError>;

/// One unit of work: a tensor of a shard.
struct Task {
    shard: usize,
    tensor: usize,
}

/// Runs a job. On success the output folder is complete; on any error there is nothing at its path that was not there before.
pub fn quantize(request: &QuantizeRequest, control: &Control) -> Result<QuantizeReport, QuantError> {
    control.enter(Phase::Config)?;
    let config = request.config.resolve(request.mode).map_err(QuantError::InvalidConfig)?;
    if let Some(limit) = config.timeout_ms {
        control.limit(limit);
    }
    control.enter(Phase::Open)?;
    let source = source::open(&request.model_path)?;
    let found = modality::detect(&source, config.modality)?;
    refuse_overlap(&request.output_path, &source)?;
    control.enter(Phase::Plan)?;
    let layout = layout(config.layout);
    let mut warnings = warnings(&request.config, &source)?;
    let plan = plan(&source, &config, &found, layout)?;
    control.progress.plan(plan.layers.len() as u64, plan.bytes(&source));
    tracing::debug!(layers = plan.layers.len(), bytes = plan.bytes(&source), "planned");

    check_space(&request.output_path, &source, &plan, layout)?;
    let staging = Staging::create(&request.output_path, config.overwrite)?;
    if staging.swept {
        let message = "The staging of an earlier job that had died was removed.".into();
        warnings.push(Warning { code: "AQ_WARN_STALE_STAGING", message, details: json!({}) });
    }
    control.enter(Phase::Quantize)?;
    let pool = pool(config.num_threads)?;
    let shards = create_shards(&source, &plan, layout, &staging)?;
    let job = JobContext::new(control, &config, &plan, layout);
    let ends = pool.install(|| encode_all(&job, &shards))?;
    let measured: Vec<(&str, &LayerDone)> = measured(&plan, &ends);
    if let Some(error) = quality::gate(&config, &measured, plan.layers.len()) {
        return Err(error);
    }
    source.components.iter().flat_map(|c| &c.shards).try_for_each(Shard::check_unchanged)?;
    let written = pool.install(|| finish(&source, &plan, shards, &ends, &staging, control))?;

    let mut rewritten = Vec::new();
    for component in &plan.components {
        rewritten.extend(files::write_config(&source, &plan, component, &ends, layout, &staging)?);
    }
    files::carry_over(&source, &plan, &staging, rewritten)?;
    let report = report(ReportInput {
        source: &source,
        config: &config,
        plan: &plan,
        ends: &ends,
        written: written.iter().map(|w| w.bytes).sum(),
        output: &request.output_path,
        layout: layout.name(),
        seconds: control.started.elapsed().as_secs_f64(),
        threads: thread_count(config.num_threads),
        warnings,
    });
    manifest::write(&staging, &report, &written)?;
    control.enter(Phase::Commit)?;
    staging.commit()?;
    Ok(report)
}

/// Writing into the model, or replacing a folder that holds it, would destroy the source.
fn refuse_overlap(output: &Path, source: &Source) -> Result<(), QuantError> {
    let absolute = std::path::absolute(output).unwrap_or_else(|_| output.into());
    let known = absolute.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let rest = absolute.strip_prefix(known).unwrap_or(Path::new(""));
    let (Ok(known), Ok(model)) = (known.canonicalize(), source.path.canonicalize()) else { return Ok(()) };
    let target = if rest.as_os_str().is_empty() { known } else { known.join(rest) };
    if target.starts_with(&model) || model.starts_with(&target) {
        let issue = ConfigIssue::text("outputPath", "a path apart from modelPath", &output.to_string_lossy());
        return Err(QuantError::InvalidConfig(vec![issue]));
    }
    Ok(())
}

/// Fails before anything is written when the planned files cannot fit. Links cost nothing, so only what is written anew counts.
fn check_space(output: &Path, source: &Source, plan: &Plan, layout: &dyn Layout) -> Result<(), QuantError> {
    let mut required = 0;
    for component in &plan.components {
        for planned in &component.shards {
            let tensors = &source.components[component.component].shards[planned.shard].header.tensors;
            required += plan.out_tensors(tensors, &planned.tensors, layout).iter().flatten().map(|t| t.len).sum::<u64>();
        }
    }
    match os::available_space(output) {
        Some(available) if available < required => {
            Err(QuantError::OutOfDisk { path: output.into(), required, available: Some(available), source: None })
        }
        _ => Ok(()), // where the system does not tell, writing will
    }
}

fn warnings(given: &GivenConfig, source: &Source) -> Result<Vec<Warning>, QuantError> {
    let mut list: Vec<Warning> = given
        .without_effect()
        .into_iter()
        .map(|(option, why)| Warning {
            code: "AQ_WARN_NO_EFFECT",
            message: format!("Option {option} has no effect: {why}."),
            details: json!({"option": option}),
        })
        .collect();
    if let Some(manifest) = manifest::read(source)?
        && manifest.get("layout").and_then(|l| l.as_str()) == Some("plain")
    {
        let message = "The input was quantized and decoded before; quantizing it again adds a second error.".into();
        list.push(Warning { code: "AQ_WARN_PLAIN_INPUT", message, details: json!({"layout": "plain"}) });
    }
    Ok(list)
}

/// Creates every output shard with its header; all offsets follow from the plan.
fn create_shards<'a>(source: &'a Source, plan: &'a Plan, layout: &dyn Layout, staging: &Staging) -> Result<Vec<ShardJob<'a>>, QuantError> {
    let mut jobs = Vec::new();
    for component in &plan.components {
        let from = &source.components[component.component];
        for planned in &component.shards {
            let shard = &from.shards[planned.shard];
            let groups = plan.out_tensors(&shard.header.tensors, &planned.tensors, layout);
            let path = staging.path(&files::folder(source, from).join(&shard.file_name))?;
            let (writer, flat) = ShardWriter::create(&path, &shard.header.metadata, &groups.concat())?;
            let mut flat = flat.into_iter();
            let placed = groups.iter().map(|g| flat.by_ref().take(g.len()).collect()).collect();
            jobs.push(ShardJob { component: component.component, shard, plan: &planned.tensors, writer, placed });
        }
    }
    Ok(jobs)
}

/// All tensors of all shards, in parallel; the failure with the lowest plan index is the one told.
fn encode_all(job: &JobContext<'_>, shards: &[ShardJob<'_>]) -> Result<Vec<LayerEnd>, QuantError> {
    let tasks: Vec<Task> =
        shards.iter().enumerate().flat_map(|(s, j)| (0..j.plan.len()).map(move |t| Task { shard: s, tensor: t })).collect();
    let results: Vec<Option<TaskEnd>> = tasks
        .par_iter()
        .enumerate()
        .map(|(index, task)| {
            if job.is_pointless(index) {
                return None;
            }
            let result = run_task(job, &shards[task.shard], task.tensor);
            if result.is_err() {
                job.fail(index);
            }
            Some(result)
        })
        .collect();
    let mut ends: Vec<Option<LayerEnd>> = vec![None; job.plan.layers.len()];
    for result in results.into_iter().flatten() {
        if let Some((layer, end)) = result? {
            ends[layer] = Some(end);
        }
    }
    let lost = || QuantError::Internal { message: "a planned layer was not encoded".into(), location: None, panic: false };
    ends.into_iter().collect::<Option<_>>().ok_or_else(lost)
}

fn run_task(job: &JobContext<'_>, shard: &ShardJob<'_>, tensor: usize) -> TaskEnd {
    let files = LayerFiles { shard: shard.shard, tensor: &shard.shard.header.tensors[tensor], writer: &shard.writer };
    match shard.plan[tensor] {
        TensorPlan::Carry => {
            carry::copy(job, &files, &shard.placed[tensor][0], Some(&files.tensor.name))?;
            Ok(None)
        }
        TensorPlan::Quantize(i) => {
            let planned = &job.plan.layers[i];
            let end = layer::quantize(job, planned, &files, shard.placed[tensor].clone())?;
            job.control.progress.layer(&planned.name);
            if let LayerEnd::Done(done) = &end
                && job.config.fail_fast
            {
                quality::gate(job.config, &[(&planned.name, done)], job.plan.layers.len()).map_or(Ok(()), Err)?;
            }
            Ok(Some((i, end)))
        }
    }
}

fn measured<'a>(plan: &'a Plan, ends: &'a [LayerEnd]) -> Vec<(&'a str, &'a LayerDone)> {
    let done = |(p, e): (&'a crate::plan::LayerPlan, &'a LayerEnd)| match e {
        LayerEnd::Done(d) => Some((p.name.as_str(), &**d)),
        LayerEnd::Kept(_) => None,
    };
    plan.layers.iter().zip(ends).filter_map(done).collect()
}

/// Puts the shards together, syncs and hashes them, writes the indexes.
fn finish(
    source: &Source,
    plan: &Plan,
    shards: Vec<ShardJob<'_>>,
    ends: &[LayerEnd],
    staging: &Staging,
    control: &Control,
) -> Result<Vec<WrittenFile>, QuantError> {
    let done: Vec<(usize, WrittenFile, String, Vec<Placed>)> = shards
        .into_par_iter()
        .map(|job| {
            let last: Vec<Placed> = job
                .plan
                .iter()
                .zip(job.placed)
                .flat_map(|(planned, placed)| match planned {
                    TensorPlan::Carry => placed,
                    TensorPlan::Quantize(i) => match &ends[*i] {
                        LayerEnd::Done(d) => d.placed.clone(),
                        LayerEnd::Kept(p) => vec![p.clone()],
                    },
                })
                .collect();
            let file = job.writer.finish(&last, || control.check())?;
            let relative = files::folder(source, &source.components[job.component]).join(&job.shard.file_name);
            let name = relative.to_string_lossy().replace('\\', "/");
            let written = WrittenFile { name, bytes: file.len, blake3: file.hash };
            Ok((job.component, written, job.shard.file_name.clone(), last))
        })
        .collect::<Result<_, QuantError>>()?;
    for component in &plan.components {
        let placed: Vec<(String, Vec<Placed>)> =
            done.iter().filter(|d| d.0 == component.component).map(|d| (d.2.clone(), d.3.clone())).collect();
        files::write_index(source, component, &placed, staging)?;
    }
    Ok(done.into_iter().map(|d| d.1).collect())
}
