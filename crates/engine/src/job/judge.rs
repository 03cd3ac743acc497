//! Judging layers by what they do: the calibration of a job, and a layer's output over the time groups.
//!
//! Rows of one layer are held while it is worked on. Groups are cut once for the job, where the inputs drift; they set how finely quality
//! is resolved over time and change no weight.

use super::layer::figures;
use crate::calibration::{FEW, failed, names};
use crate::control::Control;
use crate::error::QuantError;
use crate::plan::base_scheme;
use crate::plan::{LayerPlan, Plan};
use crate::time::{GroupQuality, OutputSums, StepInputs, measure, segment};
use crate::time_path::{self, TimePath};
use crate::tuning::Tuning;
use aq_core::report::{Figures, InputOrigin, TimeGroup, Warning};
use aq_core::{BitWidth, Method, ResolvedConfig};
use aq_io::calibration::{Axis, Calibration, StepRows};
use aq_io::layout::{LayerSpec, Layout};
use aq_io::source::Source;
use aq_io::{Disk, IoError};
use aq_kernels::RowSums;
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Of the job's memory, rows of calibration take this part.
const MEMORY_PART: u64 = 2;
/// The same of the rows of one layer, where layers come one at a time.
const ONE_AT_A_TIME: u64 = 4;
const MOST_NAMED: usize = 5;

/// Every so many of the computed steps a layer is judged by.
const JUDGED_EVERY: usize = 40;

/// What is known of a layer's inputs.
#[derive(Default)]
pub struct LayerInputs {
    /// What decides about its codes.
    pub learn: Arc<Vec<StepInputs>>,
    /// What its output is judged by.
    pub judge: Arc<Vec<StepInputs>>,
    /// Where they come from.
    pub origin: InputOrigin,
}

/// How much is known of a layer's inputs.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Rows that decide about its codes.
    pub rows: usize,
    /// Rows that its output is judged by.
    pub judged: usize,
    /// From the calibration file.
    pub recorded: bool,
}

/// The inputs that a job knows: recorded ones, and those of a computed time path.
pub struct Judge {
    calibration: Option<Calibration>,
    time_path: Option<TimePath>,
    /// For each layer of the plan, its name in the file.
    names: Vec<Option<String>>,
    /// All recorded steps, ascending; those that computed layers are judged by where nothing was recorded.
    steps: Vec<i32>,
    /// Ranges of `steps`.
    groups: Vec<Range<usize>>,
    /// Rows of a step, at most.
    samples: usize,
    /// Values of rows that a layer may hold.
    most_values: usize,
}

/// What a job is about to do.
#[derive(Clone, Copy)]
pub struct Planned<'a> {
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// The source.
    pub source: &'a Source,
    /// The plan.
    pub plan: &'a Plan,
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

/// What modulation is taken down to where its inputs are computed, if the job has no more.
pub fn narrowed(config: &ResolvedConfig, layout: &dyn Layout, layer: &LayerPlan) -> Option<LayerSpec> {
    let wide = layer.yields && layer.spec.scheme.bits == BitWidth::Eight && config.bit_width != BitWidth::Eight;
    let narrow = base_scheme(config).with_bits(BitWidth::Four).with_method(layer.spec.scheme.method);
    wide.then(|| layout.fit(&layer.spec.with_scheme(narrow)).ok()).flatten()
}

impl Judge {
    /// Opens the calibration that the options name, if they do, and finds the time path, if there is one; time groups are cut where inputs drift.
    pub fn open(disk: &Disk, p: &Planned<'_>, control: &Control, tuning: Tuning, threads: usize) -> Result<Option<Self>, QuantError> {
        let Some(mut judge) = Self::find(disk, p, tuning, threads)? else { return Ok(None) };
        judge.cut_groups(p, control)?;
        judge.warn(p.config, p.plan, control);
        Ok(Some(judge))
    }

    /// The same from names and headers alone: which inputs are known, and no time groups.
    pub fn find(disk: &Disk, p: &Planned<'_>, tuning: Tuning, threads: usize) -> Result<Option<Self>, QuantError> {
        let &Planned { config, source, plan } = p;
        let calibration = match &config.calibration {
            Some(path) => Some(Calibration::open(disk, Path::new(path)).map_err(|e| failed(e, path))?),
            None => None,
        };
        let computes = tuning.time_path && config.enable_time_aware && config.method.by_output();
        let time_path = if computes { TimePath::find(source, plan) } else { None };
        if calibration.is_none() && time_path.is_none() {
            return Ok(None);
        }
        let names = calibration.as_ref().map_or_else(|| Ok(vec![None; plan.layers.len()]), |c| names(c, plan))?;
        let samples = config.calibration_samples as usize;
        // Layers whose rows decide about their codes come one at a time, so that no code depends on the number of threads.
        let part = if config.method.by_output() { ONE_AT_A_TIME } else { MEMORY_PART * threads as u64 };
        let budget = (config.max_memory_limit_mb << 20) / part;
        let recorded = |c: &Calibration| names.iter().flatten().flat_map(|n| c.steps(n)).map(|s| s.step).collect::<BTreeSet<i32>>();
        let steps: Vec<i32> = match &calibration {
            Some(c) => recorded(c).into_iter().collect(),
            None => (0..time_path::STEPS).step_by(JUDGED_EVERY).collect(),
        };
        Ok(Some(Self { calibration, time_path, names, steps, groups: vec![], samples, most_values: (budget / 4) as usize }))
    }

    /// Multiplications and activations of the time path.
    pub fn time_path_operations(&self) -> [f64; 2] {
        self.time_path.as_ref().map_or([0.0; 2], TimePath::operations)
    }

    /// How much is known of a layer's inputs; `None` where nothing is.
    pub fn extent(&self, layer: usize) -> Option<Extent> {
        if self.is_computed(layer) {
            let rows = time_path::STEPS as usize;
            return Some(Extent { rows, judged: rows.div_ceil(JUDGED_EVERY), recorded: false });
        }
        let rows = self.rows(layer);
        let rows = self.steps(layer).iter().map(|s| s.rows.min(rows)).sum();
        (rows > 0).then_some(Extent { rows, judged: rows, recorded: true })
    }

    fn cut_groups(&mut self, p: &Planned<'_>, control: &Control) -> Result<(), QuantError> {
        let &Planned { config, source, .. } = p;
        if !config.enable_time_aware {
            self.groups.push(0..self.steps.len());
            return Ok(());
        }
        // Mean squares of each layer's inputs, as parts of their sum over time: what drifts counts, not how large a layer's inputs are.
        let mut features = vec![Vec::new(); self.steps.len()];
        for layer in 0..self.names.len() {
            control.check()?;
            let recorded = self.calibration.is_some();
            let inputs = if recorded { self.recorded(layer)?.map(Arc::new) } else { self.computed(source, layer)?.map(|c| c.judge) };
            let Some(inputs) = inputs else { continue };
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
        if config.enable_time_aware && self.calibration.is_some() && self.groups.len() < wanted {
            let (groups, steps) = (self.groups.len(), self.steps.len());
            let message = format!("There are {steps} recorded steps, so {groups} time groups instead of {wanted}.");
            let details = json!({"wanted": wanted, "groups": groups, "steps": steps});
            control.ledger.warn(Warning { code: "AQ_WARN_TIME_GROUPS", message, details });
        }
        let known = |layer: usize| self.names[layer].is_some() || self.is_computed(layer);
        let without: Vec<&str> = plan.layers.iter().enumerate().filter(|(i, _)| !known(*i)).map(|(_, l)| l.name.as_str()).collect();
        if self.calibration.is_some() && !without.is_empty() {
            let count = without.len();
            let message = format!("{count} layer(s) have no calibration: they are rounded and judged by their weights alone.");
            let details = json!({"count": count, "layers": without.iter().take(MOST_NAMED).collect::<Vec<_>>()});
            control.ledger.warn(Warning { code: "AQ_WARN_WEIGHT_ONLY", message, details });
        }
        let few: Vec<&str> =
            plan.layers.iter().enumerate().filter(|(i, l)| self.has_few_rows(*i, l)).map(|(_, l)| l.name.as_str()).collect();
        if config.method.by_output() && !few.is_empty() {
            let count = few.len();
            let message =
                format!("{count} layer(s) have fewer calibration rows than an eighth of their inputs: record more steps or rows.");
            let details = json!({"count": count, "layers": few.iter().take(MOST_NAMED).collect::<Vec<_>>()});
            control.ledger.warn(Warning { code: "AQ_WARN_FEW_ROWS", message, details });
        }
        let cut = (0..self.names.len()).filter(|&i| self.rows(i) < self.wanted_rows(i)).count();
        if cut > 0 {
            let message = format!("{cut} layer(s) use fewer calibration rows than there are: maxMemoryLimitMb does not hold more.");
            control.ledger.warn(Warning { code: "AQ_WARN_CALIBRATION_CUT", message, details: json!({"count": cut}) });
        }
    }

    /// Whether recorded rows decide about a layer and say little of its inputs.
    fn has_few_rows(&self, index: usize, layer: &LayerPlan) -> bool {
        let rows: usize = self.steps(index).iter().map(|s| s.rows.min(self.samples)).sum();
        rows > 0 && rows < layer.spec.geometry.row() / FEW && !self.is_computed(index)
    }

    /// Whether a layer's inputs are computed: unless they would be sampled and there are recorded ones.
    fn is_computed(&self, layer: usize) -> bool {
        self.time_path.as_ref().is_some_and(|t| t.knows(layer) && !(t.is_sampled(layer) && self.names[layer].is_some()))
    }

    /// Tells the plan which layers have inputs that decide about their codes. Modulation driven by the time path, which is kept at 8 bits
    /// without its inputs, is taken down to 4 where the job has no more.
    pub fn assign(&self, config: &ResolvedConfig, layout: &dyn Layout, plan: &mut Plan) {
        for (index, layer) in plan.layers.iter_mut().enumerate() {
            let computed = self.is_computed(index);
            if !config.method.by_output() || !(computed || self.names[index].is_some()) {
                continue;
            }
            let learned = layer.spec.with_scheme(layer.spec.scheme.with_method(Method::Gptq));
            layer.spec = layout.fit(&learned).unwrap_or(learned);
            if let Some(narrow) = narrowed(config, layout, layer).filter(|_| computed) {
                layer.spec = narrow;
            }
        }
    }

    /// Recorded steps of a layer.
    fn steps(&self, layer: usize) -> &[StepRows] {
        self.calibration.as_ref().zip(self.names[layer].as_ref()).map_or(&[], |(c, n)| c.steps(n))
    }

    /// Rows of a step that a layer would use.
    fn wanted_rows(&self, layer: usize) -> usize {
        self.steps(layer).iter().map(|s| s.rows).max().unwrap_or(0).min(self.samples)
    }

    /// Rows of a step that a layer uses: as many as its share of memory holds, one at least.
    fn rows(&self, layer: usize) -> usize {
        let row: usize = self.steps(layer).iter().map(|s| s.in_features).sum();
        self.wanted_rows(layer).min((self.most_values / row.max(1)).max(1))
    }

    /// What is known of a layer's inputs; `None` where nothing is.
    pub fn inputs(&self, source: &Source, layer: usize) -> Result<Option<LayerInputs>, QuantError> {
        if let Some(computed) = self.computed(source, layer)? {
            return Ok(Some(computed));
        }
        let Some(recorded) = self.recorded(layer)?.map(Arc::new) else { return Ok(None) };
        Ok(Some(LayerInputs { learn: recorded.clone(), judge: recorded, origin: InputOrigin::Recorded }))
    }

    fn computed(&self, source: &Source, layer: usize) -> Result<Option<LayerInputs>, QuantError> {
        let Some(time_path) = self.time_path.as_ref().filter(|_| self.is_computed(layer)) else { return Ok(None) };
        let Some(learn) = time_path.inputs(source, layer)? else { return Ok(None) };
        let judge = Arc::new(learn.iter().step_by(JUDGED_EVERY).cloned().collect());
        let origin = if time_path.is_sampled(layer) { InputOrigin::Sampled } else { InputOrigin::Computed };
        Ok(Some(LayerInputs { learn, judge, origin }))
    }

    fn recorded(&self, layer: usize) -> Result<Option<Vec<StepInputs>>, QuantError> {
        let Some((calibration, name)) = self.calibration.as_ref().zip(self.names[layer].as_ref()) else { return Ok(None) };
        let most = self.rows(layer);
        let mut inputs = Vec::new();
        for (i, step) in self.steps(layer).iter().enumerate() {
            let mut data = Vec::new();
            calibration.read(name, i, most, &mut data).map_err(|e| failed(e, &calibration.path().to_string_lossy()))?;
            let rows = data.len() / step.in_features.max(1);
            inputs.push(StepInputs { step: step.step, weight: step.weight, rows, data });
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }

    /// Groups that inputs have steps of: which, and these steps.
    pub fn groups_of(&self, inputs: &[StepInputs]) -> Vec<(usize, Range<usize>)> {
        let of = |group: &Range<usize>| {
            // Half way between recorded steps, so that computed ones between two groups belong to one of them.
            let begin = if group.start == 0 { i32::MIN } else { i32::midpoint(self.steps[group.start - 1], self.steps[group.start]) };
            let end = self.steps.get(group.end).map_or(i32::MAX, |next| i32::midpoint(self.steps[group.end - 1], *next));
            inputs.partition_point(|i| i.step <= begin)..inputs.partition_point(|i| i.step <= end)
        };
        self.groups.iter().map(of).enumerate().filter(|(_, range)| !range.is_empty()).collect()
    }

    /// Quality of a layer's output in each group that it has steps of.
    pub fn quality(&self, inputs: &[StepInputs], sums: &[OutputSums]) -> Vec<TimeGroup> {
        let steps: Vec<i32> = inputs.iter().map(|i| i.step).collect();
        let (indexes, ranges): (Vec<usize>, Vec<Range<usize>>) = self.groups_of(inputs).into_iter().unzip();
        let of = |(index, q): (usize, GroupQuality)| TimeGroup {
            index: index as u32,
            first: q.first,
            last: q.last,
            cosine: q.cosine,
            sqnr_db: q.sqnr_db,
        };
        indexes.into_iter().zip(measure(&steps, sums, &ranges)).map(of).collect()
    }

    /// First and last step of each group.
    pub fn ranges(&self) -> Vec<[i32; 2]> {
        self.groups.iter().filter(|g| !g.is_empty()).map(|g| [self.steps[g.start], self.steps[g.end - 1]]).collect()
    }

    /// What steps count.
    pub fn axis(&self) -> Axis {
        self.calibration.as_ref().map_or_else(Axis::default, Calibration::axis)
    }

    /// What tells this calibration from another, for the journal.
    pub fn identity(&self) -> Option<(String, serde_json::Value)> {
        let calibration = self.calibration.as_ref()?;
        let value = json!({"bytes": calibration.len(), "modified": calibration.modified_ms()});
        Some((calibration.path().to_string_lossy().into_owned(), value))
    }

    /// The same for jobs on other machines: without path and time.
    pub fn sample(&self) -> Result<Option<serde_json::Value>, QuantError> {
        let Some(calibration) = &self.calibration else { return Ok(None) };
        Ok(Some(json!({"bytes": calibration.len(), "sample": calibration.sample()?})))
    }

    /// Fails if the file is no longer what it was.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        self.calibration.as_ref().map_or(Ok(()), Calibration::check_unchanged)
    }
}
