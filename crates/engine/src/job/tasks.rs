//! The units of work of a job: one tensor each, run in parallel, the failure lowest in plan order told.

use super::blocks::{LayerFiles, row_blocks};
use super::carry;
use super::checksum::Reread;
use super::context::JobContext;
use super::files;
use super::journal::{Entry, Journal, LayerEntry, Made};
use super::layer::{self, LayerDone, LayerEnd};
use super::quality;
use super::report::layer_report;
use super::share;
use crate::error::QuantError;
use crate::plan::{FilePlan, Plan, PlannedTensor, TensorPlan};
use aq_core::{Method, Share};
use aq_io::Disk;
use aq_io::fault::{self, Site};
use aq_io::layout::Layout;
use aq_io::output::{Placed, ShardWriter, Staging};
use aq_io::source::Source;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A weight file being written.
pub struct OutputFile<'a> {
    /// What becomes of it.
    pub plan: FilePlan<'a>,
    /// The file.
    pub writer: ShardWriter,
    /// Where that is.
    pub path: PathBuf,
    /// For each planned tensor: where its tensors go.
    pub placed: Vec<Vec<Placed>>,
    /// For each planned tensor: the number of its task in the whole plan.
    pub tasks: Vec<usize>,
}

impl<'a> OutputFile<'a> {
    /// What is left to do once its tensors are written.
    pub fn parts(self) -> (FilePlan<'a>, ShardWriter, Vec<Vec<Placed>>) {
        (self.plan, self.writer, self.placed)
    }
}

/// What a task ends with: the layer's index and end, nothing for a tensor carried over.
type TaskEnd = Result<Option<(usize, LayerEnd)>, QuantError>;

/// One unit of work: a tensor.
struct Task<'a> {
    file: &'a OutputFile<'a>,
    tensor: &'a PlannedTensor<'a>,
    placed: &'a [Placed],
    /// In the whole plan.
    number: usize,
}

/// Opens every output file, with its header; all offsets follow from the plan. Entries of files that can't be gone on with are dropped. A
/// share has files of its own tensors alone.
pub fn open_files<'a>(
    disk: &Disk,
    source: &'a Source,
    plan: &Plan,
    layout: &dyn Layout,
    staging: &Staging,
    entries: &mut BTreeMap<usize, Entry>,
    share: Option<Share>,
) -> Result<Vec<OutputFile<'a>>, QuantError> {
    let mut files: Vec<OutputFile<'a>> = Vec::new();
    for (plan, tasks) in share::files(plan.files(source, layout), share) {
        let name = if share.is_some() { share::weights(&plan.name) } else { plan.name.clone() };
        let path = staging.path(&files::folder(source, &source.components[plan.component]).join(name))?;
        let (tensors, container) = (plan.out(), &plan.container);
        let reopened = if staging.resumed() { ShardWriter::reopen(disk, &path, container, &tensors)? } else { None };
        let (writer, flat) = if let Some(opened) = reopened {
            opened
        } else {
            entries.retain(|task, _| !tasks.contains(task));
            disk.remove(&path)?;
            ShardWriter::create(disk, &path, container, &tensors)?
        };
        let mut flat = flat.into_iter();
        let placed = plan.tensors.iter().map(|t| flat.by_ref().take(t.out.len()).collect()).collect();
        files.push(OutputFile { plan, writer, path, placed, tasks });
    }
    Ok(files)
}

/// All tensors of all files, in parallel; tasks that an earlier job finished are not done again. How the layers of the plan ended; those of
/// other shares have no end here.
pub fn encode_all(
    job: &JobContext<'_>,
    files: &[OutputFile<'_>],
    journal: &Journal,
    earlier: &BTreeMap<usize, LayerEnd>,
    carried: &BTreeSet<usize>,
) -> Result<Vec<Option<LayerEnd>>, QuantError> {
    fn of<'f>(file: &'f OutputFile<'f>) -> impl Iterator<Item = Task<'f>> {
        let tensors = file.plan.tensors.iter().zip(&file.placed).zip(&file.tasks);
        tensors.map(move |((tensor, placed), &number)| Task { file, tensor, placed, number })
    }
    let tasks: Vec<Task<'_>> = files.iter().flat_map(of).collect();
    let run = |task: &Task<'_>| {
        let number = task.number;
        if job.is_pointless(number) {
            return None;
        }
        let result = match (earlier.get(&number), task.tensor.plan) {
            (Some(end), TensorPlan::Quantize(i)) => reuse(job, task, i, end),
            _ if carried.contains(&number) => {
                count(job, task);
                Ok(None)
            }
            _ => run_task(job, task, journal),
        };
        if let Err(error) = &result {
            job.fail(number, &name_of(job, task), error);
        }
        Some(result)
    };
    // What is made of a layer's inputs takes far more memory than a block: such layers come last, one at a time, each with all threads.
    let (large, small): (Vec<&Task<'_>>, Vec<&Task<'_>>) = tasks.iter().partition(|task| is_by_output(job, task));
    let mut results: Vec<(usize, Option<TaskEnd>)> = small.into_par_iter().map(|task| (task.number, run(task))).collect();
    results.extend(large.into_iter().map(|task| (task.number, run(task))));
    results.sort_by_key(|(number, _)| *number);
    let mut ends: Vec<Option<LayerEnd>> = vec![None; job.plan.layers.len()];
    let mut failures = Vec::new();
    for (number, result) in results {
        match result {
            Some(Ok(Some((layer, end)))) => ends[layer] = Some(end),
            Some(Err(error)) => failures.push((number, error)),
            Some(Ok(None)) | None => {}
        }
    }
    job.told(failures).map_or(Ok(ends), Err)
}

/// The ends of all layers, where none is missing.
pub fn all(ends: Vec<Option<LayerEnd>>) -> Result<Vec<LayerEnd>, QuantError> {
    let lost = || QuantError::Internal { message: "a planned layer was not encoded".into(), location: None, panic: false };
    ends.into_iter().collect::<Option<_>>().ok_or_else(lost)
}

/// Whether a task is a layer whose inputs decide about its codes.
fn is_by_output(job: &JobContext<'_>, task: &Task<'_>) -> bool {
    matches!(task.tensor.plan, TensorPlan::Quantize(i) if job.plan.layers[i].spec.scheme.method == Method::Gptq)
}

/// The layer's name as reports have it, or the tensor's.
fn name_of(job: &JobContext<'_>, task: &Task<'_>) -> String {
    match task.tensor.plan {
        TensorPlan::Quantize(i) => job.plan.layers[i].name.clone(),
        TensorPlan::Carry => task.tensor.source.info.name.clone(),
    }
}

fn run_task(job: &JobContext<'_>, task: &Task<'_>, journal: &Journal) -> TaskEnd {
    let Task { file: OutputFile { writer, .. }, tensor, placed, number } = *task;
    let files = LayerFiles { source: &tensor.source, writer };
    match tensor.plan {
        TensorPlan::Carry => {
            let checksum = carry::copy(&job.carrier(), &files, &placed[0], Some(&files.source.info.name))?;
            writer.complete(&placed[0])?;
            journal.note(&Entry { task: number, checksum, made: Made::Carried })?;
            Ok(None)
        }
        TensorPlan::Quantize(i) => {
            fault::hit(Site::Layer);
            let planned = &job.plan.layers[i];
            let _span = tracing::info_span!(parent: &job.span, "layer", name = planned.name).entered();
            let (end, checksum) = layer::quantize(job, i, &files, placed.to_vec())?;
            let made = match &end {
                LayerEnd::Done(done) => {
                    done.placed.iter().try_for_each(|p| writer.complete(p))?;
                    job.control.ledger.layer(layer_report(planned, done));
                    Made::Layer(Box::new(LayerEntry::of(done)))
                }
                LayerEnd::Kept(placed) => {
                    writer.complete(placed)?;
                    Made::Kept(placed.position)
                }
            };
            journal.note(&Entry { task: number, checksum, made })?;
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
    job.control.progress.bytes(&task.tensor.source.info.name, task.tensor.source.info.len);
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
    files: &[OutputFile<'_>],
    entries: &BTreeMap<usize, Entry>,
) -> Result<(BTreeMap<usize, LayerEnd>, BTreeSet<usize>), QuantError> {
    let (mut layers, mut carried) = (BTreeMap::new(), BTreeSet::new());
    if entries.is_empty() {
        return Ok((layers, carried));
    }
    for file in files {
        let reread = Reread::open(disk, &file.path)?;
        for (at, tensor) in file.plan.tensors.iter().enumerate() {
            job.control.check()?;
            let Some(entry) = entries.get(&file.tasks[at]) else { continue };
            let Some(found) = made_of(job, tensor, &file.placed[at], entry)? else { continue };
            if !found.is_whole(&reread, tensor, entry)? {
                continue;
            }
            match found {
                Found::Carried(_) => drop(carried.insert(entry.task)),
                Found::Layer(end) if has_table(job, &end)? => {
                    file.writer.keep(end.placed())?;
                    layers.insert(entry.task, end);
                }
                Found::Layer(_) => {}
            }
        }
    }
    Ok((layers, carried))
}

/// What an entry tells of.
pub enum Found {
    /// A tensor carried over.
    Carried(Placed),
    /// A layer.
    Layer(LayerEnd),
}

/// What an entry tells of a tensor of the plan, with places in the file of the job that wrote it; `None` where it cannot be of this plan.
/// `placed`: where the plan has the tensor in that file.
pub fn made_of(job: &JobContext<'_>, tensor: &PlannedTensor<'_>, placed: &[Placed], entry: &Entry) -> Result<Option<Found>, QuantError> {
    Ok(match (tensor.plan, &entry.made) {
        (TensorPlan::Carry, Made::Carried) => placed.first().cloned().map(Found::Carried),
        (TensorPlan::Quantize(i), Made::Kept(position)) => {
            let placed = Placed { tensor: carry::carried(job, &tensor.source, &job.plan.layers[i].spec)?, position: *position };
            Some(Found::Layer(LayerEnd::Kept(placed)))
        }
        (TensorPlan::Quantize(i), Made::Layer(made)) => layer_done(job, i, made).map(|done| Found::Layer(LayerEnd::Done(Box::new(done)))),
        _ => None,
    })
}

impl Found {
    /// Whether its bytes are those that were written.
    pub fn is_whole(&self, reread: &Reread<'_>, tensor: &PlannedTensor<'_>, entry: &Entry) -> Result<bool, QuantError> {
        let found = match self {
            Self::Carried(p) | Self::Layer(LayerEnd::Kept(p)) => reread.digest(p, 0, p.tensor.body())?,
            Self::Layer(LayerEnd::Done(done)) => {
                reread.layer(&done.placed, &row_blocks(done.spec.geometry, tensor.source.info.dtype.size()))?
            }
        };
        Ok(found == Some(entry.checksum))
    }
}

/// Whether a layer's table over time is where it was laid, if this job has tables.
fn has_table(job: &JobContext<'_>, end: &LayerEnd) -> Result<bool, QuantError> {
    let LayerEnd::Done(done) = end else { return Ok(true) };
    let Some((tables, aside)) = job.tables.zip(done.table) else { return Ok(job.tables.is_none() || done.judged.groups.is_empty()) };
    Ok(tables.read(&aside)?.is_some())
}

/// The layer that an entry speaks of; `None` where it cannot be that of this plan.
fn layer_done(job: &JobContext<'_>, i: usize, made: &LayerEntry) -> Option<LayerDone> {
    let planned = &job.plan.layers[i].spec;
    let fitted = job.layout.fit(&planned.with_scheme(planned.scheme.with_bits(made.bits))).ok()?;
    let scheme = fitted.scheme.with_scale_dtype(made.scale_dtype).with_rotation(made.rotation).with_method(made.method);
    let spec = fitted.with_scheme(scheme);
    let tensors = job.layout.tensors(&spec);
    if tensors.len() != made.positions.len() {
        return None;
    }
    let placed = tensors.into_iter().zip(&made.positions).map(|(tensor, &position)| Placed { tensor, position }).collect();
    let (sums, judged, attempts, outcome) = (made.row_sums(), made.judged(), made.attempts(), made.outcome);
    Some(LayerDone { spec, placed, sums, judged, attempts, outcome, second: made.second, table: made.table })
}
