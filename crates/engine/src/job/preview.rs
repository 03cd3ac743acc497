//! What a job would do, before a byte is written: from headers, and from what half a second of this machine says about time.

use super::files;
use super::judge::{Judge, Planned};
use super::pace::{self, Known};
use super::pool::thread_count;
use super::report::{components, scheme_report};
use super::run::{Prepared, as_json, prepare};
use super::target::{blocks, planned_bytes, target_bytes, widened};
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::{LayerPlan, Plan};
use crate::rules::{Action, rules};
use crate::tuning::Tuning;
use aq_core::error::ConfigIssue;
use aq_core::plan_report::{DiskEstimate, MemoryEstimate, PlanReport, PlannedFile, PlannedLayer, Raise, Trade};
use aq_core::report::{Skipped, megabytes};
use aq_core::{BitWidth, GivenConfig, Method, Mode};
use aq_io::os;
use aq_io::output::Container;
use std::path::PathBuf;
use std::sync::Arc;

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// Folder or file.
    pub model_path: PathBuf,
    /// Where the output would be made, where that is known.
    pub output_path: Option<PathBuf>,
    /// Options as given.
    pub config: GivenConfig,
}

/// Plans a job. Nothing is written; of weights nothing is read.
pub fn preview(request: &PlanRequest, control: &Arc<Control>) -> Result<PlanReport, QuantError> {
    let whole = request.config.resolve(Mode::Diffusion).map_err(QuantError::InvalidConfig)?;
    if let Some(share) = whole.partition {
        let issue = ConfigIssue::text("partition", "no share: a plan is that of the whole job", &share.to_string());
        return Err(QuantError::InvalidConfig(vec![issue]));
    }
    let mut reports = Vec::new();
    for given in request.config.for_each_layout() {
        reports.push(one(request, &given, control)?);
    }
    let several = request.config.layouts().is_some();
    let mut report = reports.first().cloned().ok_or_else(|| QuantError::Internal {
        message: "a list of layouts was empty".into(),
        location: None,
        panic: false,
    })?;
    report.warnings = control.ledger.warnings();
    if several {
        let required: f64 = reports.iter().map(|r| r.model_size_mb).sum();
        report.disk.iter_mut().for_each(|d| d.required_mb = required);
        report.outputs = reports;
    }
    Ok(report)
}

fn one(request: &PlanRequest, given: &GivenConfig, control: &Arc<Control>) -> Result<PlanReport, QuantError> {
    let PlanRequest { model_path, output_path, .. } = request;
    let tuning = Tuning::default();
    let mut p = prepare(model_path, output_path.as_deref(), given, Mode::Diffusion, tuning, control)?;
    let roles: Vec<BitWidth> = p.plan.layers.iter().map(|l| l.spec.scheme.bits).collect();
    let threads = thread_count(p.config.num_threads);
    let judge = Judge::find(&p.disk, &Planned { config: &p.config, source: &p.source, plan: &p.plan }, tuning, threads)?;
    if let Some(judge) = &judge {
        judge.assign(&p.config, p.layout, &mut p.plan);
    }
    let known: Vec<Known> = (0..p.plan.layers.len()).map(|i| judge.as_ref().and_then(|j| j.extent(i))).collect();
    let path = judge.as_ref().map_or([0.0; 2], Judge::time_path_operations);
    let time = pace::estimate(&p, &known, path, control)?;
    let target = trade(&p);
    let exact = !archives(&p);
    let mixes = target.as_ref().is_some_and(|t| !t.raises.is_empty());
    Ok(report(request, &p, &roles, &known, Parts { time, target, exact: exact && !mixes }))
}

/// Whether the end of a file is made when its layers are known.
fn archives(p: &Prepared) -> bool {
    p.plan.files(&p.source, p.layout).iter().any(|f| f.container == Container::Parquet)
}

struct Parts {
    time: aq_core::plan_report::TimeEstimate,
    target: Option<Trade>,
    exact: bool,
}

fn report(request: &PlanRequest, p: &Prepared, roles: &[BitWidth], known: &[Known], parts: Parts) -> PlanReport {
    let Prepared { config, source, plan, layout, .. } = p;
    let files: Vec<PlannedFile> = plan
        .files(source, *layout)
        .iter()
        .map(|f| {
            let name = files::folder(source, &source.components[f.component]).join(&f.name);
            PlannedFile { name: name.to_string_lossy().into_owned(), bytes: f.container.planned_len(&f.out()) }
        })
        .collect();
    let written: u64 = files.iter().map(|f| f.bytes).sum();
    let layers: Vec<PlannedLayer> = plan.layers.iter().zip(roles).zip(known).map(|((l, role), known)| layer(p, l, *role, known)).collect();
    let (bytes, weights) = layers.iter().fold((0, 0), |(b, w), l| (b + l.bytes, w + l.parameters));
    let kept = plan.kept.iter().map(|k| Skipped { name: k.name.clone(), why: k.why.clone(), bytes: k.bytes });
    let left = source.left_out.iter().map(|l| Skipped { name: l.name.clone(), why: l.why.clone(), bytes: l.bytes });
    PlanReport {
        model_path: request.model_path.to_string_lossy().into_owned(),
        modality: plan.modality.as_str(),
        modality_source: plan.modality_source.clone(),
        layout: layout.name(),
        bit_width: config.bit_width,
        group_size: config.group_size,
        components: components(source, plan),
        layers,
        skipped: kept.chain(left).collect(),
        files,
        original_size_mb: megabytes(plan.bytes(source)),
        model_size_mb: megabytes(written),
        exact: parts.exact,
        compression_ratio: plan.bytes(source) as f64 / written.max(1) as f64,
        bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
        memory: MemoryEstimate { estimate_mb: megabytes(pace::memory(p, known)), limit_mib: config.max_memory_limit_mb },
        time: parts.time,
        disk: request.output_path.as_ref().map(|path| DiskEstimate {
            path: path.to_string_lossy().into_owned(),
            required_mb: megabytes(written),
            free_mb: os::available_space(path).map(megabytes),
        }),
        target: parts.target,
        warnings: vec![],
        resolved_config: as_json(config),
        outputs: vec![],
    }
}

fn layer(p: &Prepared, l: &LayerPlan, role: BitWidth, known: &Known) -> PlannedLayer {
    let bytes = p.layout.tensors(&l.spec).iter().map(aq_io::layout::OutTensor::body).sum();
    let parameters = l.spec.geometry.numel() as u64;
    PlannedLayer {
        name: l.name.clone(),
        written_as: (l.spec.written != l.spec.tensor).then(|| l.spec.written.clone()),
        joined: l.joined.clone(),
        shape: l.spec.model_shape().iter().map(|&d| d as u64).collect(),
        parameters,
        role: l.role.clone(),
        scheme: scheme_report(&l.spec),
        bytes,
        bits_per_weight: bytes as f64 * 8.0 / parameters as f64,
        why: why(p, l, role),
        inputs: known.filter(|_| l.spec.scheme.method == Method::Gptq).map(|k| if k.recorded { "recorded" } else { "computed" }),
    }
}

/// Why a layer has its width; `role`: the one it had before its inputs were known.
fn why(p: &Prepared, l: &LayerPlan, role: BitWidth) -> String {
    let (bits, job) = (l.spec.scheme.bits, p.config.bit_width);
    if l.pinned {
        return "layerBitWidths asks for it".into();
    }
    let kept = rules().role(l.spec.module(), l.spec.model_shape().len());
    if bits != role {
        return format!("{}; its inputs are computed, so {bits} bits will do", kept.why);
    }
    if kept.action == Action::Keep8 && bits == BitWidth::Eight && bits != job {
        return kept.why.clone();
    }
    if p.plan.widened.contains(&l.name) {
        return format!("layout {} has no codes of fewer bits for its rows", p.layout.name());
    }
    if bits > job {
        return "the first-block rule raises it".into();
    }
    "the job's width".into()
}

/// What a target size leaves, and what each block would cost.
fn trade(p: &Prepared) -> Option<Trade> {
    let target = target_bytes(&p.config)?;
    let subject = super::target::Subject { source: &p.source, found: &p.found, layout: p.layout };
    let base = planned_bytes(&subject, &p.plan);
    let left = target.saturating_sub(base);
    let mixes = p.config.enable_mixed_precision && p.config.bit_width != BitWidth::Eight;
    let free = |l: &LayerPlan| !l.pinned && !l.yields && l.spec.scheme.bits != BitWidth::Eight;
    let raises = if mixes { blocks(p.plan.layers.iter().enumerate().filter(|(_, l)| free(l))) } else { vec![] };
    let raises = raises.into_iter().filter_map(|(block, members)| raise(p, &subject, block, &members, base, left)).collect();
    Some(Trade { target_mb: megabytes(target), bit_width: p.config.bit_width, base_mb: megabytes(base), left_mb: megabytes(left), raises })
}

fn raise(p: &Prepared, subject: &super::target::Subject<'_>, block: String, members: &[usize], base: u64, left: u64) -> Option<Raise> {
    let width = |i: &usize| p.plan.layers[*i].spec.scheme.bits;
    let from = members.iter().map(width).min()?;
    let to = from.wider()?;
    let least: Vec<usize> = members.iter().copied().filter(|i| width(i) == from).collect();
    let mut plan: Plan = p.plan.clone();
    for &i in &least {
        plan.layers[i].spec = widened(p.layout, &plan.layers[i].spec, to);
    }
    let cost = planned_bytes(subject, &plan).saturating_sub(base);
    Some(Raise { block, layers: least.len(), from, to, cost_mb: megabytes(cost), fits: cost <= left })
}
