//! What a calibration file holds for a model: every value read and checked, nothing written.

use super::rank::rank;
use super::{failed, names};
use crate::control::Control;
use crate::error::QuantError;
use crate::job::pool;
use crate::modality;
use crate::plan::{Plan, plan};
use crate::time_path::TimePath;
use aq_core::report::Warning;
use aq_core::{GivenConfig, Mode, Phase};
use aq_io::calibration::{Calibration, StepRows};
use aq_io::layout::layout;
use aq_io::source::{self, Source};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows that a layer's rank is found from: its cost is quadratic in them.
const RANKED_ROWS: usize = 256;
/// With fewer rows than a part of its inputs, a layer's second moments say little.
pub const FEW: usize = 8;
const MOST_NAMED: usize = 5;

/// What to look at.
#[derive(Debug, Clone)]
pub struct CalibrationRequest {
    /// The file.
    pub calibration: PathBuf,
    /// The model that it is for.
    pub model: Option<PathBuf>,
    /// Options: which components, whose modality, how many threads.
    pub config: GivenConfig,
}

/// What a file holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationReport {
    path: String,
    bytes: u64,
    axis: &'static str,
    steps: Vec<i32>,
    rows: u64,
    layers: Vec<LayerRows>,
    /// Layers that a job would quantize and that the file does not know, but for computed ones.
    missing: Vec<String>,
    /// Layers whose inputs follow from the time step alone.
    computed: Vec<String>,
    /// Layers of the model that a job leaves in float.
    unused: Vec<String>,
    /// Names in the file that the model does not have.
    unknown: Vec<String>,
    /// Layers with summaries and no rows.
    summarised: Vec<String>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerRows {
    name: String,
    in_features: usize,
    steps: usize,
    rows: usize,
    least_rows: usize,
    most_rows: usize,
    /// Directions that hold 99 % of the energy of `ranked_rows` rows.
    rank: usize,
    ranked_rows: usize,
    /// Importance of each step, where they differ.
    weights: Option<Vec<f32>>,
    /// A job computes the inputs of this layer itself.
    computed: bool,
    /// Fewer than second moments need.
    few_rows: bool,
}

/// The layers of a model that a job with these options would quantize.
struct Model {
    plan: Plan,
    path: Option<TimePath>,
    /// Names of all its tensors, as files may have them.
    modules: BTreeSet<String>,
}

/// Reads a file and holds it against a model, if there is one.
pub fn summary(request: &CalibrationRequest, control: &Arc<Control>) -> Result<CalibrationReport, QuantError> {
    control.enter(Phase::Config)?;
    let config = request.config.resolve(Mode::Diffusion).map_err(QuantError::InvalidConfig)?;
    let disk = control.disk(config.io_retries);
    let path = request.calibration.to_string_lossy().into_owned();
    let model = match &request.model {
        None => None,
        Some(model) => {
            control.enter(Phase::Open)?;
            let source = source::open(&disk, model)?;
            let found = modality::detect(&source, config.modality)?;
            control.enter(Phase::Plan)?;
            let plan = plan(&source, &config, &found, layout(config.layout))?;
            let path = if config.enable_time_aware { TimePath::find(&source, &plan) } else { None };
            Some(Model { plan, path, modules: modules(&source) })
        }
    };
    control.enter(Phase::Calibrate)?;
    let calibration = Calibration::open(&disk, &request.calibration).map_err(|e| failed(e, &path))?;
    let known = model.as_ref().map(|m| names(&calibration, &m.plan)).transpose()?;
    let all: Vec<&str> = calibration.layers().collect();
    let read = |name: &&str| rows_of(&calibration, name, control);
    let layers: Vec<Result<LayerRows, QuantError>> = pool(config.num_threads)?.install(|| all.par_iter().map(read).collect());
    let mut layers: Vec<LayerRows> = layers.into_iter().collect::<Result<_, _>>()?;
    calibration.check_unchanged()?;

    let used: BTreeSet<&str> = known.iter().flatten().flatten().map(String::as_str).collect();
    let others = all.iter().filter(|n| known.is_some() && !used.contains(*n)).map(|n| (*n).to_owned());
    let (unused, unknown): (Vec<String>, Vec<String>) = others.partition(|n| model.as_ref().is_some_and(|m| m.modules.contains(n)));
    let (mut missing, mut computed) = (Vec::new(), Vec::new());
    for (index, name) in known.iter().flatten().enumerate() {
        let Some(model) = &model else { continue };
        let layer = model.plan.layers[index].name.clone();
        // Recorded inputs are taken where a part of the computed ones would be sampled.
        let is_computed = model.path.as_ref().is_some_and(|p| p.knows(index) && !(p.is_sampled(index) && name.is_some()));
        if is_computed {
            layers.iter_mut().filter(|l| Some(&l.name) == name.as_ref()).for_each(|l| (l.computed, l.few_rows) = (true, false));
            computed.push(layer);
        } else if name.is_none() {
            missing.push(layer);
        }
    }
    let summarised = calibration.summarised().filter(|n| calibration.steps(n).is_empty()).map(str::to_owned).collect();
    let steps: BTreeSet<i32> = all.iter().flat_map(|n| calibration.steps(n)).map(|s| s.step).collect();
    let warnings = warnings(&layers, &missing, &unknown);
    Ok(CalibrationReport {
        path,
        bytes: calibration.len(),
        axis: calibration.axis().as_str(),
        steps: steps.into_iter().collect(),
        rows: layers.iter().map(|l| l.rows as u64).sum(),
        layers,
        missing,
        computed,
        unused,
        unknown,
        summarised,
        warnings,
    })
}

/// With their component and without.
fn modules(source: &Source) -> BTreeSet<String> {
    let names = source.components.iter().flat_map(|c| {
        c.tensors().flat_map(|(_, t)| {
            let module = t.name.strip_suffix(".weight").unwrap_or(&t.name);
            [module.to_owned(), format!("{}/{module}", c.name)]
        })
    });
    names.collect()
}

/// All rows of a layer, one step in memory at a time.
fn rows_of(calibration: &Calibration, name: &str, control: &Control) -> Result<LayerRows, QuantError> {
    let steps: &[StepRows] = calibration.steps(name);
    let row = steps.first().map_or(0, |s| s.in_features);
    let each = RANKED_ROWS.div_ceil(steps.len().max(1));
    let (mut sample, mut data) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        control.check()?;
        data.clear();
        calibration.read(name, index, usize::MAX, &mut data).map_err(|e| failed(e, &calibration.path().to_string_lossy()))?;
        sample.extend_from_slice(&data[..step.rows.min(each) * row]);
    }
    sample.truncate(RANKED_ROWS * row);
    let count = |s: &StepRows| s.rows;
    let rows = steps.iter().map(count).sum();
    let weighs = steps.windows(2).any(|s| s[0].weight.total_cmp(&s[1].weight).is_ne());
    Ok(LayerRows {
        name: name.to_owned(),
        in_features: row,
        steps: steps.len(),
        rows,
        least_rows: steps.iter().map(count).min().unwrap_or(0),
        most_rows: steps.iter().map(count).max().unwrap_or(0),
        rank: rank(&sample, row),
        ranked_rows: sample.len() / row.max(1),
        weights: weighs.then(|| steps.iter().map(|s| s.weight).collect()),
        computed: false,
        few_rows: rows < row / FEW,
    })
}

fn warnings(layers: &[LayerRows], missing: &[String], unknown: &[String]) -> Vec<Warning> {
    let few: Vec<&str> = layers.iter().filter(|l| l.few_rows).map(|l| l.name.as_str()).collect();
    let names = |list: &[&str]| json!({"count": list.len(), "layers": list.iter().take(MOST_NAMED).collect::<Vec<_>>()});
    let of = |list: &[String]| names(&list.iter().map(String::as_str).collect::<Vec<_>>());
    let mut warnings = Vec::new();
    if !few.is_empty() {
        let message = format!("{} layer(s) have fewer rows than an eighth of their inputs: record more steps or rows.", few.len());
        warnings.push(Warning { code: "AQ_WARN_FEW_ROWS", message, details: names(&few) });
    }
    if !missing.is_empty() {
        let count = missing.len();
        let message = format!("{count} layer(s) have no calibration: they are rounded and judged by their weights alone.");
        warnings.push(Warning { code: "AQ_WARN_WEIGHT_ONLY", message, details: of(missing) });
    }
    if !unknown.is_empty() {
        let message = format!("{} name(s) in the file are none of the model's.", unknown.len());
        warnings.push(Warning { code: "AQ_WARN_UNKNOWN_LAYERS", message, details: of(unknown) });
    }
    warnings
}
