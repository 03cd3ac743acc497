//! The report, from what the layers ended with.

use super::layer::{LayerDone, LayerEnd, bits_per_weight};
use crate::device::Compute;
use crate::ledger::Ledger;
use crate::plan::{LayerPlan, Plan};
use aq_core::ResolvedConfig;
use aq_core::report::{
    BackendReport, ComponentReport, Fallback, LayerOutcome, LayerReport, Measure, QuantizeReport, SchemeReport, Skipped, TargetReport,
    Warning, megabytes,
};
use aq_io::layout::LayerSpec;
use aq_io::source::Source;
use aq_kernels::RowSums;
use serde_json::json;
use std::path::Path;

/// What the report needs besides the layers.
pub struct ReportInput<'a> {
    /// The source.
    pub source: &'a Source,
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// The plan.
    pub plan: &'a Plan,
    /// Layers of this job, in plan order, and how they ended.
    pub ends: Vec<(&'a LayerPlan, &'a LayerEnd)>,
    /// Bytes of the source that were rewritten.
    pub original: u64,
    /// Bytes of the written weight files.
    pub written: u64,
    /// Output folder.
    pub output: &'a Path,
    /// Layout's name.
    pub layout: &'static str,
    /// Seconds so far.
    pub seconds: f64,
    /// Worker threads.
    pub threads: usize,
    /// What computed.
    pub compute: &'a Compute,
    /// What a target size bought.
    pub target: Option<TargetReport>,
    /// What happened on the way.
    pub ledger: &'a Ledger,
}

/// The report of a job that succeeded.
pub fn report(input: &ReportInput<'_>) -> QuantizeReport {
    let &ReportInput { source, config, plan, output, original, .. } = input;
    let (mut layers, mut warnings) = (Vec::new(), input.ledger.warnings());
    // Whose share they are does not matter: the joined report has them.
    let whole = config.partition.is_none();
    let kept = plan.kept.iter().filter(|_| whole).map(|k| Skipped { name: k.name.clone(), why: k.why.clone(), bytes: k.bytes });
    let mut skipped: Vec<Skipped> = kept.collect();
    let mut total = RowSums::default();
    let (mut weighted, mut weights, mut bytes) = (0.0, 0, 0);
    for &(planned, end) in &input.ends {
        match end {
            LayerEnd::Done(done) => {
                let n = done.spec.geometry.numel();
                total.add(&done.sums);
                weighted += done.judged.figures.cosine * n as f64;
                weights += n;
                bytes += done.placed.iter().map(|p| p.tensor.body()).sum::<u64>();
                let layer = layer_report(planned, done);
                warnings.extend(raised(&layer, config));
                layers.push(layer);
            }
            LayerEnd::Kept(placed) => {
                let message = format!("Tensor {} holds values that are not finite and was kept as it is.", placed.tensor.name);
                warnings.push(Warning { code: "AQ_WARN_NON_FINITE_KEPT", message, details: json!({"layer": planned.name}) });
                skipped.push(Skipped {
                    name: planned.name.clone(),
                    why: "it holds values that are not finite".into(),
                    bytes: placed.tensor.len,
                });
            }
        }
    }
    skipped.extend(source.left_out.iter().filter(|_| whole).map(|l| Skipped { name: l.name.clone(), why: l.why.clone(), bytes: l.bytes }));
    let size = megabytes(input.written);
    if let Some(target) = input.target.as_ref().filter(|t| size > t.target_mb) {
        let message =
            format!("The weights take {size:.2} MB, the target was {:.2} MB: layers were raised to reach minAccuracy.", target.target_mb);
        warnings.push(Warning { code: "AQ_WARN_TARGET_EXCEEDED", message, details: json!({"sizeMb": size, "targetMb": target.target_mb}) });
    }
    let manifest = output.join(super::manifest::FILE).to_string_lossy().into_owned();
    QuantizeReport {
        quantized_path: output.to_string_lossy().into_owned(),
        manifest_path: manifest.clone(),
        report_path: manifest,
        modality: plan.modality.as_str(),
        modality_source: plan.modality_source.clone(),
        layout: input.layout,
        bit_width: config.bit_width,
        group_size: config.group_size,
        compression_ratio: original as f64 / input.written.max(1) as f64,
        cosine_similarity: weighted / weights.max(1) as f64,
        sqnr_db: total.sqnr_db(),
        bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
        model_size_mb: megabytes(input.written),
        original_size_mb: megabytes(original),
        quantization_time_s: input.seconds,
        backend: BackendReport {
            device: input.compute.name.clone(),
            reason: reason(input),
            simd: aq_kernels::Level::current().name(),
            threads: input.threads,
        },
        components: components(source, plan),
        layers,
        skipped,
        target: input.target.clone(),
        // The job is not over: its end fills them in.
        retries: vec![],
        degradations: vec![],
        warnings,
        resolved_config: serde_json::to_value(config).unwrap_or_default(),
        outputs: vec![],
    }
}

/// One layer, as both reports tell it.
pub fn layer_report(planned: &LayerPlan, done: &LayerDone) -> LayerReport {
    let (from, to) = (planned.spec.scheme.bits, done.spec.scheme.bits);
    LayerReport {
        name: planned.name.clone(),
        written_as: (done.spec.written != done.spec.tensor).then(|| done.spec.written.clone()),
        joined: planned.joined.clone(),
        shape: done.spec.model_shape().iter().map(|&d| d as u64).collect(),
        parameters: done.spec.geometry.numel() as u64,
        role: planned.role.clone(),
        outcome: done.outcome,
        scheme: scheme_report(&done.spec),
        bits_per_weight: bits_per_weight(&done.placed, done.spec.geometry),
        figures: done.judged.figures,
        measure: if done.judged.groups.is_empty() { Measure::Weights } else { Measure::Output },
        similarity: done.judged.similarity(),
        time_groups: done.judged.groups.clone(),
        attempts: done.attempts.clone(),
        second_moments: done.second,
        fallback: (done.outcome == LayerOutcome::Raised).then_some(Fallback { from, to }),
    }
}

/// Why it was this device, and what was not given to it. Each layer says by its method or its blocks whether it is among those.
fn reason(input: &ReportInput<'_>) -> String {
    let done = input.ends.iter().filter_map(|(_, end)| if let LayerEnd::Done(done) = end { Some(&done.spec.scheme) } else { None });
    let (all, left) = done.fold((0, 0), |(all, left), scheme| (all + 1, left + usize::from(input.compute.leaves(scheme))));
    let reason = &input.compute.reason;
    if left == 0 { reason.clone() } else { format!("{reason}; {left} of {all} layers, by gptq or in blocks, were encoded on the CPU") }
}

pub(super) fn scheme_report(spec: &LayerSpec) -> SchemeReport {
    let s = spec.scheme;
    SchemeReport {
        bits: s.bits,
        group_size: s.group_size,
        stored_group_size: spec.geometry.group,
        symmetric: s.symmetric(),
        method: s.method,
        scale_dtype: s.scale_dtype,
        rotation: s.rotation,
        block_type: s.blocks,
    }
}

fn raised(layer: &LayerReport, config: &ResolvedConfig) -> Option<Warning> {
    let Fallback { from, to } = layer.fallback?;
    let first = layer.attempts.first()?.similarity;
    Some(Warning {
        code: "AQ_WARN_BITS_RAISED",
        message: format!(
            "Layer {} reached {first:.4} at {from} bits, under {:.4}, and is stored at {to} bits.",
            layer.name, config.min_accuracy
        ),
        details: json!({"layer": layer.name, "from": from, "to": to, "similarity": first, "threshold": config.min_accuracy}),
    })
}

pub(super) fn components(source: &Source, plan: &Plan) -> Vec<ComponentReport> {
    let one = |(i, c): (usize, &aq_io::source::Component)| {
        let planned = plan.components.iter().find(|p| p.component == i);
        let layers =
            planned.map_or(0, |p| p.units.iter().filter(|u| matches!(u.plan, crate::plan::TensorPlan::Quantize(_))).count() as u64);
        ComponentReport {
            name: c.name.clone(),
            class_name: c.class_name(),
            quantized: planned.is_some(),
            layers,
            parameters: c.parameters(),
        }
    };
    source.components.iter().enumerate().map(one).collect()
}
