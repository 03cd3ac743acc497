//! Several layouts in one job: each is a part of the output with a folder of its own, all of them appear at once.
//!
//! A layout whose layers have the same schemes as those of one before it takes the codes from there: the search is done once.

use super::layer::bits_per_weight;
use super::run::{Prepared, as_json, decide, write};
use super::{manifest, rotation};
use crate::control::Control;
use crate::error::QuantError;
use crate::export::plan::{ExportPlan, plan};
use crate::export::{ExportRequest, Filling, fill};
use crate::plan::{ComponentPlan, LayerPlan, TensorPlan, Unit};
use aq_core::Phase;
use aq_core::config::PlainDtype;
use aq_core::report::{QuantizeReport, megabytes};
use aq_io::layout::LayerSpec;
use aq_io::output::Staging;
use aq_io::source::{self, Source};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Writes all parts; the report is that of the first, with those of all.
pub fn write_all(
    parts: &mut [Prepared],
    output: &Path,
    control: &Arc<Control>,
    staging: &mut Staging,
) -> Result<QuantizeReport, QuantError> {
    let layouts: Vec<&str> = parts.iter().map(|p| p.layout.name()).collect();
    let mut reports: Vec<QuantizeReport> = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter_mut().enumerate() {
        let name = part.layout.name();
        staging.part(number, name);
        control.ledger.output(number);
        let folder = output.join(name);
        let report = if let Some(i) = part.like {
            derive(part, &reports[i], &folder, control, staging)?
        } else {
            if number > 0 {
                decide(part, control)?;
            }
            write(part, &folder, control, staging, &layouts)?
        };
        part.judge = None; // what it knows of inputs is no longer wanted
        reports.push(report);
    }
    control.enter(Phase::Commit)?;
    control.ledger.output(0);
    let mut whole = reports[0].clone();
    whole.quantized_path = output.to_string_lossy().into_owned();
    whole.quantization_time_s = control.started.elapsed().as_secs_f64();
    whole.outputs = reports;
    Ok(whole)
}

/// The first of the earlier parts whose codes another one has.
pub fn like(part: &Prepared, earlier: &[Prepared]) -> Option<usize> {
    earlier.iter().position(|other| other.like.is_none() && other.layout.holds_codes() && has_codes_of(part, other))
}

/// Whether a part's layers are those of another: what is searched for one is what the other would find.
fn has_codes_of(part: &Prepared, other: &Prepared) -> bool {
    let rotated = |p: &Prepared, spec: &LayerSpec| rotation::block(&p.config, p.layout, spec);
    let same = |(a, b): (&LayerPlan, &LayerPlan)| {
        let (x, y) = (&a.spec, &b.spec);
        (&a.name, x.scheme, &x.shape, &x.written) == (&b.name, y.scheme, &y.shape, &y.written)
            && (a.pinned, rotated(part, x)) == (b.pinned, rotated(other, y))
    };
    // What a target size buys depends on what a layout takes; values in another type have an error of their own; one file does not tell of
    // which files it was.
    let of_model = |p: &Prepared, c: &ComponentPlan| p.layout.merged(&p.source.components[c.component]).is_some();
    let one_file = part.plan.components.iter().any(|c| of_model(other, c) && !of_model(part, c));
    let exact = part.layout.holds_codes() || matches!(part.config.plain_dtype, None | Some(PlainDtype::F32));
    let free = part.config.target_model_size_mb.is_none() && exact && !one_file;
    free && part.asked.len() == other.asked.len() && part.asked.iter().zip(&other.asked).all(same)
}

/// Puts tensors in the order that they have in the model, as a search of their own would write them.
fn as_in_the_model(planned: &mut ExportPlan, source: &Source, p: &Prepared) {
    for (component, of_model) in planned.plan.components.iter_mut().zip(&p.plan.components) {
        let tensor = |source: &Source, index: usize, unit: &Unit| {
            let place = unit.members[0];
            source.components[index].shards[place.shard].header.tensors[place.tensor].name.clone()
        };
        let names = of_model.units.iter().map(|unit| tensor(&p.source, of_model.component, unit));
        let order: HashMap<String, usize> = names.enumerate().map(|(i, name)| (name, i)).collect();
        let (layers, index) = (&planned.plan.layers, component.component);
        component.units.sort_by_key(|unit| match unit.plan {
            TensorPlan::Quantize(i) => order.get(&layers[i].spec.tensor).copied(),
            TensorPlan::Carry => order.get(&tensor(source, index, unit)).copied(),
        });
    }
}

/// Writes a part from the codes of one that stands in the staging.
fn derive(
    p: &Prepared,
    first: &QuantizeReport,
    output: &Path,
    control: &Arc<Control>,
    staging: &Staging,
) -> Result<QuantizeReport, QuantError> {
    let (begun, disk) = (Instant::now(), staging.disk());
    let source = source::open(disk, &staging.folder_of(first.layout))?;
    let earlier = manifest::read(disk, &source)?;
    let (layout, plain_dtype, num_threads) = (p.config.layout, p.config.plain_dtype, p.config.num_threads);
    let request = ExportRequest { from: source.root.clone(), to: output.into(), layout, plain_dtype, overwrite: false, num_threads };
    let mut planned = plan(&request, &source, p.plan.modality, p.layout, Some(p.config.bit_width))?;
    as_in_the_model(&mut planned, &source, p);
    control.progress.replan(p.plan.bytes(&p.source), planned.plan.bytes(&source));
    let config = manifest::what_is_written(&as_json(&p.config));
    let origin = Some((&p.source, &config));
    let filling = Filling { source: &source, earlier: earlier.as_ref(), planned: &planned, layout: p.layout, origin, control };
    let written = fill(&filling, staging, num_threads)?;
    let mut report = first.clone();
    let manifest = output.join(manifest::FILE).to_string_lossy().into_owned();
    (report.layout, report.quantized_path) = (p.layout.name(), output.to_string_lossy().into_owned());
    (report.manifest_path, report.report_path) = (manifest.clone(), manifest);
    report.resolved_config = as_json(&p.config);
    let bytes: u64 = written.files.iter().map(|f| f.bytes).sum();
    report.model_size_mb = megabytes(bytes);
    report.compression_ratio = p.plan.bytes(&p.source) as f64 / bytes.max(1) as f64;
    report.quantization_time_s = begun.elapsed().as_secs_f64();
    let (mut bits, mut weights) = (0.0, 0);
    for (planned, done) in planned.plan.layers.iter().zip(&written.layers) {
        let Some(layer) = report.layers.iter_mut().find(|l| l.name == planned.name) else { continue };
        layer.bits_per_weight = bits_per_weight(&done.placed, planned.spec.geometry);
        bits += layer.bits_per_weight * layer.parameters as f64;
        weights += layer.parameters;
    }
    report.bits_per_weight = bits / weights.max(1) as f64;
    let of_layers = first.warnings.iter().filter(|w| matches!(w.code, "AQ_WARN_BITS_RAISED" | "AQ_WARN_NON_FINITE_KEPT")).cloned();
    report.warnings = control.ledger.warnings().into_iter().chain(of_layers).collect();
    let mut files = written.files;
    files.extend(manifest::beside(earlier.as_ref()));
    manifest::write(staging, &report, &files)?;
    Ok(report)
}
