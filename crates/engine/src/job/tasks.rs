//! The units of work of a job: one tensor of one shard each, run in parallel, the failure lowest in plan order told.

use super::blocks::{LayerFiles, row_blocks};
use super::carry;
use super::checksum::Reread;
use super::context::JobContext;
use super::files;
use super::journal::{Entry, Journal, LayerEntry, Made};
use super::layer::{self, LayerDone, LayerEnd};
use super::quality;
use super::report::layer_report;
use crate::error::QuantError;
use crate::plan::{Plan, TensorPlan};
use aq_core::Method;
use aq_io::Disk;
use aq_io::fault::{self, Site};
use aq_io::layout::{Layout, OutTensor};
use aq_io::output::{Placed, ShardWriter, Staging};
use aq_io::source::{Shard, Source};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A weight file being written.
pub struct ShardJob<'a> {
    /// Index of its component in the source.
    pub component: usize,
    /// Source file.
    pub shard: &'a Shard,
    /// What becomes of each tensor of its header.
    pub plan: &'a [TensorPlan],
    /// Output file.
    pub writer: ShardWriter,
    /// Where that is.
    pub path: PathBuf,
    /// Per tensor of the header: where its tensors go.
    pub placed: Vec<Vec<Placed>>,
    /// Tasks of the shards before it.
    first_task: usize,
}

/// What a task ends with: the layer's index and end, nothing for a tensor carried over.
type TaskEnd = Result<Option<(usize, LayerEnd)>, QuantError>;

/// One unit of work: a tensor of a shard.
struct Task<'a> {
    shard: &'a ShardJob<'a>,
    tensor: usize,
}

/// Opens every output shard, with its header; all offsets follow from the plan. Entries of files that can't be gone on with are dropped.
pub fn open_shards<'a>(
    disk: &Disk,
    source: &'a Source,
    plan: &'a Plan,
    layout: &dyn Layout,
    staging: &Staging,
    entries: &mut BTreeMap<usize, Entry>,
) -> Result<Vec<ShardJob<'a>>, QuantError> {
    let mut jobs: Vec<ShardJob<'a>> = Vec::new();
    let mut first_task = 0;
    for component in &plan.components {
        let from = &source.components[component.component];
        for planned in &component.shards {
            let shard = &from.shards[planned.shard];
            let groups = plan.out_tensors(&shard.header.tensors, &planned.tensors, layout);
            let path = staging.path(&files::folder(source, from).join(&shard.file_name))?;
            let tasks = first_task..first_task + planned.tensors.len();
            let tensors = groups.concat();
            let metadata = &shard.header.metadata;
            let reopened = if staging.resumed() { ShardWriter::reopen(disk, &path, metadata, &tensors)? } else { None };
            let (writer, flat) = if let Some(opened) = reopened {
                opened
            } else {
                entries.retain(|task, _| !tasks.contains(task));
                disk.remove(&path)?;
                ShardWriter::create(disk, &path, metadata, &tensors)?
            };
            let mut flat = flat.into_iter();
            let placed = groups.iter().map(|g| flat.by_ref().take(g.len()).collect()).collect();
            let (component, plan) = (component.component, planned.tensors.as_slice());
            jobs.push(ShardJob { component, shard, plan, writer, path, placed, first_task });
            first_task = tasks.end;
        }
    }
    Ok(jobs)
}

/// All tensors of all shards, in parallel; tasks that an earlier job finished are not done again.
pub fn encode_all(
    job: &JobContext<'_>,
    shards: &[ShardJob<'_>],
    journal: &Journal,
    earlier: &BTreeMap<usize, LayerEnd>,
    carried: &[bool],
) -> Result<Vec<LayerEnd>, QuantError> {
    let tasks: Vec<Task<'_>> = shards.iter().flat_map(|shard| (0..shard.plan.len()).map(move |tensor| Task { shard, tensor })).collect();
    let run = |index: usize| {
        let task = &tasks[index];
        if job.is_pointless(index) {
            return None;
        }
        let result = match (earlier.get(&index), task.shard.plan[task.tensor]) {
            (Some(end), TensorPlan::Quantize(i)) => reuse(job, task, i, end),
            _ if carried[index] => {
                count(job, task);
                Ok(None)
            }
            _ => run_task(job, task, index, journal),
        };
        if let Err(error) = &result {
            job.fail(index, &name_of(job, task), error);
        }
        Some(result)
    };
    // What is made of a layer's inputs takes far more memory than a block: such layers come last, one at a time, each with all threads.
    let (large, small): (Vec<usize>, Vec<usize>) = (0..tasks.len()).partition(|&index| is_by_output(job, &tasks[index]));
    let mut results: Vec<(usize, Option<TaskEnd>)> = small.into_par_iter().map(|index| (index, run(index))).collect();
    results.extend(large.into_iter().map(|index| (index, run(index))));
    results.sort_by_key(|(index, _)| *index);
    let mut ends: Vec<Option<LayerEnd>> = vec![None; job.plan.layers.len()];
    let mut failures = Vec::new();
    for (index, result) in results {
        match result {
            Some(Ok(Some((layer, end)))) => ends[layer] = Some(end),
            Some(Err(error)) => failures.push((index, error)),
            Some(Ok(None)) | None => {}
        }
    }
    if let Some(error) = job.told(failures) {
        return Err(error);
    }
    let lost = || QuantError::Internal { message: "a planned layer was not encoded".into(), location: None, panic: false };
    ends.into_iter().collect::<Option<_>>().ok_or_else(lost)
}

/// Whether a task is a layer whose inputs decide about its codes.
fn is_by_output(job: &JobContext<'_>, task: &Task<'_>) -> bool {
    matches!(task.shard.plan[task.tensor], TensorPlan::Quantize(i) if job.plan.layers[i].spec.scheme.method == Method::Gptq)
}

/// The layer's name as reports have it, or the tensor's.
fn name_of(job: &JobContext<'_>, task: &Task<'_>) -> String {
    match task.shard.plan[task.tensor] {
        TensorPlan::Quantize(i) => job.plan.layers[i].name.clone(),
        TensorPlan::Carry => task.shard.shard.header.tensors[task.tensor].name.clone(),
    }
}

fn run_task(job: &JobContext<'_>, task: &Task<'_>, index: usize, journal: &Journal) -> TaskEnd {
    let Task { shard, tensor } = *task;
    let files = LayerFiles { shard: shard.shard, tensor: &shard.shard.header.tensors[tensor], writer: &shard.writer };
    match shard.plan[tensor] {
        TensorPlan::Carry => {
            let checksum = carry::copy(job, &files, &shard.placed[tensor][0], Some(&files.tensor.name))?;
            shard.writer.complete(&shard.placed[tensor][0])?;
            journal.note(&Entry { task: index, checksum, made: Made::Carried })?;
            Ok(None)
        }
        TensorPlan::Quantize(i) => {
            fault::hit(Site::Layer);
            let planned = &job.plan.layers[i];
            let _span = tracing::info_span!(parent: &job.span, "layer", name = planned.name).entered();
            let (end, checksum) = layer::quantize(job, i, &files, shard.placed[tensor].clone())?;
            let made = match &end {
                LayerEnd::Done(done) => {
                    done.placed.iter().try_for_each(|p| shard.writer.complete(p))?;
                    job.control.ledger.layer(layer_report(planned, done));
                    Made::Layer(Box::new(LayerEntry::of(done)))
                }
                LayerEnd::Kept(placed) => {
                    shard.writer.complete(placed)?;
                    Made::Kept(placed.position)
                }
            };
            journal.note(&Entry { task: index, checksum, made })?;
            finished(job, i, end)
        }
    }
}

/// A layer that an earlier job finished.
fn reuse(job: &JobContext<'_>, task: &Task<'_>, i: usize, end: &LayerEnd) -> TaskEnd {
    count(job, task);
    if let LayerEnd::Done(done) = end {
        job.control.ledger.layer(layer_report(&job.plan.layers[i], done));
    }
    finished(job, i, end.clone())
}

fn count(job: &JobContext<'_>, task: &Task<'_>) {
    let tensor = &task.shard.shard.header.tensors[task.tensor];
    job.control.progress.bytes(&tensor.name, tensor.len);
}

fn finished(job: &JobContext<'_>, i: usize, end: LayerEnd) -> TaskEnd {
    let planned = &job.plan.layers[i];
    job.control.progress.layer(&planned.name);
    if let LayerEnd::Done(done) = &end
        && job.config.fail_fast
    {
        quality::gate(job.config, &[(&planned.name, done)], job.plan.layers.len()).map_or(Ok(()), Err)?;
    }
    Ok(Some((i, end)))
}

/// What earlier entries amount to, their bytes read again and hashed: layers by task, and which carried tensors are there.
pub fn verified(
    job: &JobContext<'_>,
    disk: &Disk,
    shards: &[ShardJob<'_>],
    entries: &BTreeMap<usize, Entry>,
) -> Result<(BTreeMap<usize, LayerEnd>, Vec<bool>), QuantError> {
    let tasks = shards.iter().map(|s| s.plan.len()).sum();
    let mut carried = vec![false; tasks];
    let mut layers = BTreeMap::new();
    if entries.is_empty() {
        return Ok((layers, carried));
    }
    for shard in shards {
        let reread = Reread::open(disk, &shard.path)?;
        for (tensor, planned) in shard.plan.iter().enumerate() {
            job.control.check()?;
            let task = shard.first_task + tensor;
            let Some(entry) = entries.get(&task) else { continue };
            match (planned, &entry.made) {
                (TensorPlan::Carry, Made::Carried) => {
                    let p = &shard.placed[tensor][0];
                    carried[task] = reread.digest(p.position, p.tensor.len)? == Some(entry.checksum);
                }
                (TensorPlan::Quantize(i), Made::Kept(position)) => {
                    let t = &shard.shard.header.tensors[tensor];
                    let placed = Placed { tensor: OutTensor::carried(&t.name, t.dtype, &t.shape, t.len), position: *position };
                    if reread.digest(*position, t.len)? == Some(entry.checksum) && job.plan.layers.get(*i).is_some() {
                        shard.writer.reserve(*position + t.len);
                        layers.insert(task, LayerEnd::Kept(placed));
                    }
                }
                (TensorPlan::Quantize(i), Made::Layer(made)) => {
                    if let Some(done) = layer_done(job, shard, tensor, *i, made)
                        && reread.layer(&done.placed, &row_blocks(done.spec.geometry, shard.shard.header.tensors[tensor].dtype.size()))?
                            == Some(entry.checksum)
                        && has_table(job, &done)?
                    {
                        done.placed.iter().for_each(|p| shard.writer.reserve(p.position + p.tensor.len));
                        layers.insert(task, LayerEnd::Done(Box::new(done)));
                    }
                }
                _ => {}
            }
        }
    }
    Ok((layers, carried))
}

/// Whether a layer's table over time is where it was laid, if this job has tables.
fn has_table(job: &JobContext<'_>, done: &LayerDone) -> Result<bool, QuantError> {
    let Some((tables, aside)) = job.tables.zip(done.table) else { return Ok(job.tables.is_none() || done.judged.groups.is_empty()) };
    Ok(tables.read(&aside)?.is_some())
}

/// The layer that an entry speaks of; `None` where it cannot be that of this plan.
fn layer_done(job: &JobContext<'_>, shard: &ShardJob<'_>, tensor: usize, i: usize, made: &LayerEntry) -> Option<LayerDone> {
    let planned = &job.plan.layers[i].spec;
    let scheme =
        planned.scheme.with_bits(made.bits).with_scale_dtype(made.scale_dtype).with_rotation(made.rotation).with_method(made.method);
    let spec = planned.with_scheme(scheme);
    let tensors = job.layout.tensors(&spec);
    if tensors.len() != made.positions.len() || shard.placed[tensor].is_empty() {
        return None;
    }
    let placed = tensors.into_iter().zip(&made.positions).map(|(tensor, &position)| Placed { tensor, position }).collect();
    let (sums, judged, attempts, outcome) = (made.row_sums(), made.judged(), made.attempts(), made.outcome);
    Some(LayerDone { spec, placed, sums, judged, attempts, outcome, second: made.second, table: made.table })
}
