//! Judging layers by what they do: the calibration of a job, and a layer's output over the time groups.
//!
//! Rows of one layer are held while it is worked on. Groups are cut once for the job, where the inputs drift; they set how finely quality
//! is resolved over time and change no weight.

use super::layer::figures;
use crate::control::Control;
use crate::error::{QuantError, ShapeSubject, WorkFailure};
use crate::plan::Plan;
use crate::time::{OutputSums, StepInputs, measure, segment};
use aq_core::error::ConfigIssue;
use aq_core::report::{Figures, TimeGroup, Warning};
use aq_core::{Method, ResolvedConfig};
use aq_io::calibration::{Calibration, CalibrationError};
use aq_io::error::Missing;
use aq_io::{Disk, IoError};
use aq_kernels::RowSums;
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Of the job's memory, rows of calibration take this part.
const MEMORY_PART: u64 = 2;
const MOST_NAMED: usize = 5;

/// The calibration of a job.
pub struct Judge {
    calibration: Calibration,
    /// For each layer of the plan, its name in the file.
    names: Vec<Option<String>>,
    /// All recorded steps, ascending.
    steps: Vec<i32>,
    /// Ranges of `steps`.
    groups: Vec<Range<usize>>,
    /// Rows of a step, at most.
    samples: usize,
    /// Values of rows that a layer may hold.
    most_values: usize,
}

/// How good a layer is, and by what.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Figures of the weights.
    pub figures: Figures,
    /// Quality of the output in each time group; empty where there is no calibration.
    pub groups: Vec<TimeGroup>,
}

impl Judged {
    /// From sums over the layer.
    pub fn new(sums: &RowSums, worst_row: f64, groups: Vec<TimeGroup>) -> Self {
        Self { figures: figures(sums, worst_row), groups }
    }

    /// The group of least cosine.
    pub fn worst(&self) -> Option<&TimeGroup> {
        self.groups.iter().min_by(|a, b| a.cosine.total_cmp(&b.cosine))
    }

    /// The one figure that is held against the threshold.
    pub fn similarity(&self) -> f64 {
        self.worst().map_or(self.figures.cosine, |g| g.cosine)
    }
}

impl Judge {
    /// Opens the calibration that the options name, if they do.
    pub fn open(disk: &Disk, config: &ResolvedConfig, plan: &Plan, control: &Control, threads: usize) -> Result<Option<Self>, QuantError> {
        let Some(path) = &config.calibration else { return Ok(None) };
        let calibration = Calibration::open(disk, Path::new(path)).map_err(|e| failed(e, path))?;
        let known: BTreeSet<&str> = calibration.layers().collect();
        let find = |name: &str| known.get(name).map(|n| (*n).to_owned());
        let names: Vec<Option<String>> = plan.layers.iter().map(|l| find(&l.name).or_else(|| find(l.spec.module()))).collect();
        if names.iter().all(Option::is_none) {
            return Err(bad(&calibration, "names no layer of this model"));
        }
        for (layer, name) in plan.layers.iter().zip(&names) {
            let Some(name) = name else { continue };
            let row = layer.spec.geometry.row();
            if let Some(step) = calibration.steps(name).iter().find(|s| s.in_features != row) {
                let (expected, actual) = (vec![row as u64], vec![step.in_features as u64]);
                let subject = ShapeSubject::Calibration;
                return Err(QuantError::ShapeMismatch { subject, name: layer.name.clone(), expected, actual });
            }
        }
        let all = names.iter().flatten().flat_map(|n| calibration.steps(n)).map(|s| s.step).collect::<BTreeSet<i32>>();
        let samples = config.calibration_samples as usize;
        let budget = (config.max_memory_limit_mb << 20) / MEMORY_PART / threads as u64;
        let steps: Vec<i32> = all.into_iter().collect();
        let mut judge = Self { calibration, names, steps, groups: vec![], samples, most_values: (budget / 4) as usize };
        judge.cut_groups(config, control)?;
        judge.warn(config, plan, control);
        Ok(Some(judge))
    }

    fn cut_groups(&mut self, config: &ResolvedConfig, control: &Control) -> Result<(), QuantError> {
        if !config.enable_time_aware {
            self.groups.push(0..self.steps.len());
            return Ok(());
        }
        // Mean squares of each layer's inputs, as parts of their sum over time: what drifts counts, not how large a layer's inputs are.
        let mut features = vec![Vec::new(); self.steps.len()];
        for (layer, _) in self.names.iter().enumerate().filter(|(_, n)| n.is_some()) {
            control.check()?;
            let Some(inputs) = self.inputs(layer)? else { continue };
            let square = |i: &StepInputs| i.data.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / i.data.len().max(1) as f64;
            let squares: Vec<(i32, f64)> = inputs.iter().map(|i| (i.step, square(i))).collect();
            let total: f64 = squares.iter().map(|s| s.1).sum();
            for (step, row) in self.steps.iter().zip(&mut features) {
                let of_step = squares.iter().find(|s| s.0 == *step).map_or(0.0, |s| s.1);
                row.push(if total > 0.0 { of_step / total } else { 0.0 });
            }
        }
        self.groups = segment(&features, config.num_time_groups as usize);
        Ok(())
    }

    fn warn(&self, config: &ResolvedConfig, plan: &Plan, control: &Control) {
        let wanted = config.num_time_groups as usize;
        if config.enable_time_aware && self.groups.len() < wanted {
            let (groups, steps) = (self.groups.len(), self.steps.len());
            let message = format!("There are {steps} recorded steps, so {groups} time groups instead of {wanted}.");
            let details = json!({"wanted": wanted, "groups": groups, "steps": steps});
            control.ledger.warn(Warning { code: "AQ_WARN_TIME_GROUPS", message, details });
        }
        let without: Vec<&str> = plan.layers.iter().zip(&self.names).filter(|(_, n)| n.is_none()).map(|(l, _)| l.name.as_str()).collect();
        if !without.is_empty() {
            let count = without.len();
            let message = format!("{count} layer(s) have no calibration: they are rounded and judged by their weights alone.");
            let details = json!({"count": count, "layers": without.iter().take(MOST_NAMED).collect::<Vec<_>>()});
            control.ledger.warn(Warning { code: "AQ_WARN_WEIGHT_ONLY", message, details });
        }
        let cut = (0..self.names.len()).filter(|&i| self.rows(i) < self.wanted_rows(i)).count();
        if cut > 0 {
            let message = format!("{cut} layer(s) use fewer calibration rows than there are: maxMemoryLimitMb does not hold more.");
            control.ledger.warn(Warning { code: "AQ_WARN_CALIBRATION_CUT", message, details: json!({"count": cut}) });
        }
    }

    /// Tells the plan which layers have inputs that decide about their codes.
    pub fn assign(&self, config: &ResolvedConfig, plan: &mut Plan) {
        for (layer, name) in plan.layers.iter_mut().zip(&self.names) {
            if name.is_some() && config.method.by_output() {
                layer.spec = layer.spec.with_scheme(layer.spec.scheme.with_method(Method::Gptq));
            }
        }
    }

    /// Rows of a step that a layer would use.
    fn wanted_rows(&self, layer: usize) -> usize {
        let steps = self.names[layer].as_ref().map_or(&[][..], |n| self.calibration.steps(n));
        steps.iter().map(|s| s.rows).max().unwrap_or(0).min(self.samples)
    }

    /// Rows of a step that a layer uses: as many as its share of memory holds, one at least.
    fn rows(&self, layer: usize) -> usize {
        let steps = self.names[layer].as_ref().map_or(&[][..], |n| self.calibration.steps(n));
        let row: usize = steps.iter().map(|s| s.in_features).sum();
        self.wanted_rows(layer).min((self.most_values / row.max(1)).max(1))
    }

    /// Recorded inputs of a layer; `None` where it has none.
    pub fn inputs(&self, layer: usize) -> Result<Option<Vec<StepInputs>>, QuantError> {
        let Some(name) = &self.names[layer] else { return Ok(None) };
        let most = self.rows(layer);
        let mut inputs = Vec::new();
        for (i, step) in self.calibration.steps(name).iter().enumerate() {
            let mut data = Vec::new();
            self.calibration.read(name, i, most, &mut data).map_err(|e| failed(e, &self.calibration.path().to_string_lossy()))?;
            let rows = data.len() / step.in_features.max(1);
            inputs.push(StepInputs { step: step.step, weight: step.weight, rows, data });
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }

    /// Quality of a layer's output in each group that it has steps of.
    pub fn quality(&self, inputs: &[StepInputs], sums: &[OutputSums]) -> Vec<TimeGroup> {
        let steps: Vec<i32> = inputs.iter().map(|i| i.step).collect();
        let mut list = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let (first, last) = (self.steps[group.start], self.steps[group.end - 1]);
            let range = steps.partition_point(|s| *s < first)..steps.partition_point(|s| *s <= last);
            if range.is_empty() {
                continue;
            }
            for q in measure(&steps, sums, &[range]) {
                list.push(TimeGroup { index: index as u32, first: q.first, last: q.last, cosine: q.cosine, sqnr_db: q.sqnr_db });
            }
        }
        list
    }

    /// What tells this calibration from another, for the journal.
    pub fn identity(&self) -> (String, serde_json::Value) {
        let value = json!({"bytes": self.calibration.len(), "modified": self.calibration.modified_ms()});
        (self.calibration.path().to_string_lossy().into_owned(), value)
    }

    /// Fails if the file is no longer what it was.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        self.calibration.check_unchanged()
    }
}

fn bad(calibration: &Calibration, problem: &str) -> QuantError {
    let failure = WorkFailure::BadCalibration { record: 0, problem: problem.into() };
    QuantError::QuantizationFailed { path: calibration.path().into(), layer: None, failure }
}

/// A missing calibration file is a wrong option; everything else is told as what it is.
fn failed(error: CalibrationError, path: &str) -> QuantError {
    match error {
        CalibrationError::Io(IoError::NotFound { what: Missing::Model, .. }) | CalibrationError::Unsupported { .. } => {
            let expected = "the path of a .safetensors, .jsonl, .parquet or .arrow file";
            let mut issue = ConfigIssue::text("calibration", expected, path);
            issue.message += " Nothing is there; relative paths count from the working directory.";
            QuantError::InvalidConfig(vec![issue])
        }
        CalibrationError::Io(error) => error.into(),
        CalibrationError::Arrow { path, source } => QuantError::Arrow { path, source },
        CalibrationError::Parquet { path, source } => QuantError::Parquet { path, source },
        CalibrationError::Json { path, line, column, source } => QuantError::Serde { path, line, column, source },
        CalibrationError::Record { path, record, problem } => {
            let failure = WorkFailure::BadCalibration { record, problem };
            QuantError::QuantizationFailed { path, layer: None, failure }
        }
    }
}
