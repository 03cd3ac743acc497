//! A quantization job from the call to the renamed folder.

use super::archive::Archive;
use super::context::JobContext;
use super::files::Written;
use super::finish::finish;
use super::journal::{Journal, identity};
use super::judge::{Judge, Planned};
use super::layer::{LayerDone, LayerEnd};
use super::pool::{pool, thread_count};
use super::report::{ReportInput, layer_report, report};
use super::share;
use super::tables::Tables;
use super::target::{self, Subject};
use super::tasks::{OutputFile, all, encode_all, open_files, verified};
use super::{before, files, manifest, parts, quality};
use crate::control::{Control, Limits};
use crate::device::{self, Compute, Demand};
use crate::error::QuantError;
use crate::memory::Memory;
use crate::modality;
use crate::plan::{LayerPlan, Plan};
use crate::tuning::Tuning;
use aq_core::report::{QuantizeReport, TargetReport, Warning};
use aq_core::{GivenConfig, Mode, Phase, ResolvedConfig};
use aq_io::Disk;
use aq_io::fault::{self, Site};
use aq_io::layout::Layout;
use aq_io::output::{Existing, Found, Staging};
use aq_io::source::{self, Shard, Source};
use rayon::ThreadPool;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Switches that are no options: what they are worth is measured with them.
    pub tuning: Tuning,
}

/// Everything that is decided before the first byte is written.
pub(super) struct Prepared {
    pub config: ResolvedConfig,
    pub disk: Disk,
    pub source: Source,
    pub plan: Plan,
    pub layout: &'static dyn Layout,
    pub compute: Compute,
    pub memory: Memory,
    pub judge: Option<Judge>,
    pub tuning: Tuning,
    pub found: modality::Found,
    /// The layers before their inputs are known: with the same ones the search finds the same codes.
    pub asked: Vec<LayerPlan>,
    /// Of several outputs, the number of an earlier one that has this one's codes.
    pub like: Option<usize>,
    /// What a target size bought.
    pub target: Option<TargetReport>,
    /// Everything that takes several threads runs in it.
    pub pool: ThreadPool,
}

/// Runs a job. On success the output folder is complete; on any error there is nothing at its path that was not there before.
pub fn quantize(request: &QuantizeRequest, control: &Arc<Control>) -> Result<QuantizeReport, QuantError> {
    control.enter(Phase::Config)?;
    let whole = request.config.resolve(request.mode).map_err(QuantError::InvalidConfig)?;
    let layouts = request.config.layouts();
    let given = request.config.for_each_layout();
    let mut outputs = Vec::with_capacity(given.len());
    for (number, given) in given.iter().enumerate() {
        control.ledger.output(number);
        let mut prepared = prepare(&request.model_path, Some(&request.output_path), given, request.mode, request.tuning, control)?;
        prepared.like = parts::like(&prepared, &outputs);
        if number == 0 {
            decide(&mut prepared, control)?; // the others when it is their turn: what is known of inputs takes memory
        }
        outputs.push(prepared);
    }
    before::check_space(&request.output_path, outputs.iter().map(share::written).sum())?;
    control.ledger.output(0);
    let existing = Existing { overwrite: whole.overwrite, resume: whole.resume };
    let mut staging = Staging::create(&control.disk(whole.io_retries), &request.output_path, existing)?;
    if staging.found == Found::Swept {
        let message = "The staging of an earlier job that had died was removed.".into();
        control.ledger.warn(Warning { code: "AQ_WARN_STALE_STAGING", message, details: json!({}) });
    }
    let output = &request.output_path;
    let written = match (layouts, whole.partition) {
        (None, None) => write(&outputs[0], output, control, &staging, &[]),
        (None, Some(_)) => {
            let encoded = encode(&outputs[0], control, &staging, &[]);
            encoded.and_then(|encoded| share::close(&outputs[0], &request.config, output, control, &staging, encoded))
        }
        (Some(_), _) => parts::write_all(&mut outputs, output, control, &mut staging),
    };
    committed(written, control, staging)
}

/// Gives a complete output its name, or removes what was staged.
pub(super) fn committed(
    written: Result<QuantizeReport, QuantError>,
    control: &Control,
    staging: Staging,
) -> Result<QuantizeReport, QuantError> {
    let mut report = match written.and_then(|report| ready(control, &staging).map(|()| report)) {
        Ok(report) => report,
        Err(error) => return Err(discarded(control, staging, error)),
    };
    if let Some(left) = staging.commit()? {
        report.warnings.push(leftover(&left));
    }
    (report.retries, report.degradations) = (control.ledger.retries(), control.ledger.degradations());
    report.warnings.extend(control.ledger.healing());
    Ok(report)
}

/// The last moment at which a job can be stopped.
fn ready(control: &Control, staging: &Staging) -> Result<(), QuantError> {
    staging.seal()?;
    fault::hit(Site::Commit);
    control.point_of_no_return()
}

/// Removes what a failed job had staged, or tells that it was kept.
fn discarded(control: &Control, staging: Staging, error: QuantError) -> QuantError {
    if staging.keeps() {
        control.ledger.keep();
    }
    if let Some(left) = staging.discard() {
        control.ledger.warn(leftover(&left));
    }
    error
}

pub(crate) fn leftover(path: &Path) -> Warning {
    let path = path.to_string_lossy();
    let message = format!("{path} could not be removed and was left behind; the next job to this output removes it.");
    Warning { code: "AQ_WARN_LEFTOVER", message, details: json!({"path": path}) }
}

pub(super) fn prepare(
    model: &Path,
    output: Option<&Path>,
    given: &GivenConfig,
    mode: Mode,
    tuning: Tuning,
    control: &Arc<Control>,
) -> Result<Prepared, QuantError> {
    let mut config = given.resolve(mode).map_err(QuantError::InvalidConfig)?;
    config.max_memory_limit_mb = before::memory_limit_mb(given, config.max_memory_limit_mb);
    control.ledger.config(serde_json::to_value(&config).unwrap_or_default());
    control.limit(Limits { total: config.timeout_ms, stall: stall_limit(config.stall_timeout_ms) });

    control.enter(Phase::Open)?;
    let disk = control.disk(config.io_retries);
    let source = source::open(&disk, model)?;
    let found = modality::detect(&source, config.modality)?;
    output.map_or(Ok(()), |output| before::refuse_overlap(&disk, output, &source))?;

    control.enter(Phase::Plan)?;
    let given = before::with_layout(given, &source)?;
    let config = ResolvedConfig { layout: given.layout().unwrap_or(config.layout), ..config };
    let layout = before::layout_for(config.layout, config.gguf_type, given.symmetric == Some(false), &source);
    before::warnings(&disk, &given, &source)?.into_iter().for_each(|w| control.ledger.warn(w));
    let subject = Subject { source: &source, found: &found, layout };
    let (config, plan) = target::widest(&subject, &given, mode, config)?;
    control.ledger.config(as_json(&config));
    before::widened(&plan, layout).into_iter().for_each(|w| control.ledger.warn(w));
    tracing::debug!(layers = plan.layers.len(), bytes = plan.bytes(&source), "planned");
    // Rows of calibration take the other half; those of layers that come one at a time a quarter, which leaves more to their moments.
    let (limit, threads) = (config.max_memory_limit_mb << 20, thread_count(config.num_threads));
    let given_away = plan.layers.iter().map(|l| (l.spec.geometry, &l.spec.scheme)).filter(|(_, s)| device::suits(s));
    let compute = Compute::choose(config.device, config.device_fallback, Demand::of(given_away, tuning.rows(), threads).as_ref())?;
    let memory = match config.calibration {
        Some(_) => Memory::new(limit / 2, threads).with_whole(limit / 4 * 3),
        None => Memory::new(limit, threads),
    };
    before::check_memory(&plan, &source, &memory)?;
    let (pool, asked) = (pool(config.num_threads)?, plan.layers.clone());
    let (judge, target, like) = (None, None, None);
    let prepared = Prepared { config, disk, source, plan, layout, compute, memory, judge, tuning, found, asked, like, target, pool };
    let (layers, read) = share::extent(&prepared);
    control.progress.plan(layers, read);
    Ok(prepared)
}

/// Finds out what is known of the layers' inputs, and what follows for their schemes.
pub(super) fn decide(p: &mut Prepared, control: &Arc<Control>) -> Result<(), QuantError> {
    let Prepared { config, disk, source, plan, layout, tuning, found, pool, .. } = p;
    if config.calibration.is_some() {
        control.enter(Phase::Calibrate)?;
    }
    let planned = Planned { config, source, plan };
    let judge = pool.install(|| Judge::open(disk, &planned, control, *tuning, thread_count(config.num_threads)))?;
    if let Some(judge) = &judge {
        judge.assign(config, *layout, plan);
    }
    let subject = Subject { source, found, layout: *layout };
    p.target = pool.install(|| target::fill(&subject, config, plan, judge.as_ref(), *tuning, control))?;
    p.judge = judge;
    Ok(())
}

/// 0 means never. The fault build counts ten times as fast.
fn stall_limit(milliseconds: u64) -> Option<u64> {
    let scale = if fault::ENABLED { 10 } else { 1 };
    (milliseconds > 0).then_some(milliseconds / scale)
}

/// What is left to be put together once every tensor of a job is written.
pub(super) struct Encoded<'a> {
    /// The files.
    pub files: Vec<OutputFile<'a>>,
    /// Tables over time.
    pub tables: Option<Tables>,
    /// How the layers of the plan ended; those of other shares have no end.
    pub ends: Vec<Option<LayerEnd>>,
}

/// Encodes everything and writes all files. `layouts`: of all outputs, where there are several.
pub(super) fn write(
    p: &Prepared,
    output: &Path,
    control: &Arc<Control>,
    staging: &Staging,
    layouts: &[&str],
) -> Result<QuantizeReport, QuantError> {
    let encoded = encode(p, control, staging, layouts)?;
    complete(p, output, control, staging, encoded, layouts.is_empty())
}

/// Where tables over time are laid aside, where the job has any.
pub(super) fn tables_of(p: &Prepared, staging: &Staging) -> Result<Option<Tables>, QuantError> {
    p.judge.as_ref().filter(|_| p.config.enable_time_aware).map(|_| Tables::open(&p.disk, staging)).transpose()
}

/// Encodes what falls to the job.
fn encode<'a>(p: &'a Prepared, control: &Arc<Control>, staging: &Staging, layouts: &[&str]) -> Result<Encoded<'a>, QuantError> {
    let Prepared { config, disk, source, plan, layout, judge, pool, .. } = p;
    let judge = judge.as_ref();
    control.enter(Phase::Quantize)?;
    let (journal, mut entries) = Journal::open(disk, staging, &identity(&as_json(config), source, judge, layouts))?;
    let files = open_files(disk, source, plan, *layout, staging, &mut entries, config.partition)?;
    let tables = tables_of(p, staging)?;
    let job = JobContext::new(control, p, tables.as_ref());
    let (earlier, carried) = verified(&job, disk, &files, &entries)?;
    if staging.resumed() {
        let (reused, tensors) = (earlier.len() + carried.len(), files.iter().map(|f| f.tasks.len()).sum::<usize>());
        let message = format!("An interrupted job was gone on with: {reused} of {tensors} tensors were finished already.");
        control.ledger.warn(Warning { code: "AQ_WARN_RESUMED", message, details: json!({"reused": reused, "tensors": tensors}) });
    }
    let ends = pool.install(|| encode_all(&job, &files, &journal, &earlier, &carried))?;
    let measured: Vec<(&str, &LayerDone)> = measured(plan, &ends);
    quality::gate(config, &measured, plan.layers.len()).map_or(Ok(()), Err)?;
    drop(job);
    Ok(Encoded { files, tables, ends })
}

/// Puts the output together: ends of files, configs, what is carried over, tables, the manifest. `alone`: there are no outputs after it.
pub(super) fn complete(
    p: &Prepared,
    output: &Path,
    control: &Arc<Control>,
    staging: &Staging,
    encoded: Encoded<'_>,
    alone: bool,
) -> Result<QuantizeReport, QuantError> {
    let Prepared { source, plan, layout, judge, pool, .. } = p;
    let (judge, Encoded { files, tables, ends }) = (judge.as_ref(), encoded);
    let ends = all(ends)?;
    source.components.iter().flat_map(|c| &c.shards).try_for_each(Shard::check_unchanged)?;
    judge.map_or(Ok(()), Judge::check_unchanged)?;

    if alone {
        control.enter(Phase::Commit)?;
    }
    let layers: Vec<Written> = ends.iter().map(Written::from).collect();
    let archive = layout.tells().then(|| archive(p, &ends, tables.as_ref()));
    let parts = files.into_iter().map(OutputFile::parts).collect();
    let mut written = pool.install(|| finish(source, plan, parts, &layers, *layout, archive.as_ref(), staging, control))?;
    let bytes = written.iter().map(|w| w.bytes).sum();
    if let Some((tables, judge)) = tables.as_ref().zip(judge) {
        written.extend(tables.write(staging, plan, &ends, judge, control)?);
    }
    let mut rewritten = Vec::new();
    for component in &plan.components {
        rewritten.extend(files::write_config(source, plan, component, &layers, *layout, staging)?);
    }
    files::carry_over(source, plan, staging, control, rewritten)?;
    let report = report_of(p, output, control, plan.layers.iter().zip(&ends).collect(), bytes);
    manifest::write(staging, &report, &written)?;
    Ok(report)
}

/// The report of a job with these layers that wrote so many bytes of weight files.
pub(super) fn report_of(
    p: &Prepared,
    output: &Path,
    control: &Control,
    ends: Vec<(&LayerPlan, &LayerEnd)>,
    written: u64,
) -> QuantizeReport {
    report(&ReportInput {
        source: &p.source,
        config: &p.config,
        plan: &p.plan,
        ends,
        original: share::extent(p).1,
        written,
        output,
        layout: p.layout.name(),
        seconds: control.started.elapsed().as_secs_f64(),
        threads: thread_count(p.config.num_threads),
        compute: &p.compute,
        target: p.target.clone(),
        ledger: &control.ledger,
    })
}

/// What the end of an archive tells.
fn archive<'a>(p: &'a Prepared, ends: &'a [LayerEnd], tables: Option<&'a Tables>) -> Archive<'a> {
    let report = |(planned, end): (&LayerPlan, &LayerEnd)| match end {
        LayerEnd::Done(done) => Some((planned.name.clone(), serde_json::to_value(layer_report(planned, done)).unwrap_or_default())),
        LayerEnd::Kept(_) => None,
    };
    let table = move |i: usize| match &ends[i] {
        LayerEnd::Done(done) => tables.zip(done.table).map_or(Ok(None), |(tables, aside)| tables.table(&aside)),
        LayerEnd::Kept(_) => Ok(None),
    };
    Archive {
        source: &p.source,
        plan: &p.plan,
        config: manifest::what_is_written(&as_json(&p.config)),
        reports: p.plan.layers.iter().zip(ends).filter_map(report).collect(),
        tables: Box::new(table),
    }
}

pub(super) fn as_json(config: &ResolvedConfig) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

fn measured<'a>(plan: &'a Plan, ends: &'a [Option<LayerEnd>]) -> Vec<(&'a str, &'a LayerDone)> {
    let done = |(p, e): (&'a LayerPlan, &'a Option<LayerEnd>)| match e {
        Some(LayerEnd::Done(d)) => Some((p.name.as_str(), &**d)),
        Some(LayerEnd::Kept(_)) | None => None,
    };
    plan.layers.iter().zip(ends).filter_map(done).collect()
}
