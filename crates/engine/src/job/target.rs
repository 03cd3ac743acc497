//! A target size: the width that fits it, and the blocks that the rest of the budget raises.
//!
//! Errors of single layers do not tell which of them the network can bear (`algorithms.md` section 5: a layer of 3 % of the weights was 71 % of
//! the error, its own error ordinary). So whole blocks are raised: first those that the first-block rule names, then the others by what
//! their error falls for each byte. Modulation whose inputs are known comes last: with a third of a model's weights it gained nothing from 8
//! bits instead of 4 where blocks had 2. Every step is told.

use super::judge::{Judge, narrowed};
use super::rotation::places;
use crate::control::Control;
use crate::device::{Work, encode_rows};
use crate::error::{QuantError, WorkFailure};
use crate::modality::Found;
use crate::plan::{LayerPlan, Plan, TensorPlan, fit_from, plan};
use crate::time::{OutputSums, StepInputs, row_sums};
use crate::time_path::TimePath;
use crate::tuning::Tuning;
use aq_core::config::Protect;
use aq_core::report::{TargetReport, TargetStep, megabytes};
use aq_core::{BitWidth, GivenConfig, Method, Mode, ResolvedConfig};
use aq_io::layout::{EncodedRows, LayerSpec, Layout};
use aq_io::source::{Source, SourceTensor};
use aq_kernels::convert::first_non_finite;
use aq_kernels::{RowSums, Scratch};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

const MB: f64 = 1e6;
/// Places of a layer at which its error is measured, and rows of each.
const PLACES: (usize, usize) = (16, 4);

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub source: &'a Source,
    /// What it makes.
    pub found: &'a Found,
    /// What is written.
    pub layout: &'static dyn Layout,
}

/// The plan of a job; under a target size that of the largest width that fits, unless a width was given.
pub fn widest(s: &Subject<'_>, given: &GivenConfig, mode: Mode, config: ResolvedConfig) -> Result<(ResolvedConfig, Plan), QuantError> {
    let Some(target) = target_bytes(&config) else {
        let plan = plan(s.source, &config, s.found, s.layout)?;
        return Ok((config, plan));
    };
    let widths = if given.bit_width.is_some() { vec![config.bit_width] } else { vec![BitWidth::Eight, BitWidth::Four, BitWidth::Two] };
    let last = *widths.last().unwrap_or(&config.bit_width);
    let mut smallest = u64::MAX;
    for width in widths {
        let given = GivenConfig { bit_width: Some(u64::from(width.bits())), ..given.clone() };
        let resolved = given.resolve(mode).map_err(QuantError::InvalidConfig)?;
        let config = ResolvedConfig { max_memory_limit_mb: config.max_memory_limit_mb, ..resolved };
        let whole = plan(s.source, &config, s.found, s.layout)?;
        let lean = plan(s.source, &lean(&config), s.found, s.layout)?;
        let fits = |plan: &Plan| expected_bytes(s, &config, plan) <= target;
        // What the first-block rule raises must fit too, or a smaller width with raised blocks is better.
        if fits(&whole) || (width == last && fits(&lean)) {
            return Ok((config, lean));
        }
        smallest = smallest.min(expected_bytes(s, &config, &lean));
    }
    Err(unreachable(s.source, smallest, target))
}

pub(super) fn target_bytes(config: &ResolvedConfig) -> Option<u64> {
    config.target_model_size_mb.map(|mb| (mb * MB) as u64)
}

fn unreachable(source: &Source, smallest: u64, target: u64) -> QuantError {
    let failure = WorkFailure::TargetUnreachable { smallest, target };
    QuantError::QuantizationFailed { path: source.path.clone(), layer: None, failure }
}

/// Where widths are mixed, what the first-block rule raises is bought like the rest. At 8 bits there is nothing to raise to.
fn lean(config: &ResolvedConfig) -> ResolvedConfig {
    let mixed = config.enable_mixed_precision && config.bit_width != BitWidth::Eight;
    ResolvedConfig { protect_blocks: if mixed { Protect::None } else { config.protect_blocks }, ..config.clone() }
}

/// Bytes of all weight files of a plan, with their headers.
pub(super) fn planned_bytes(s: &Subject<'_>, plan: &Plan) -> u64 {
    plan.written(s.source, s.layout)
}

/// The same before inputs are known: modulation whose inputs will be computed for certain counts at the width that it will have.
fn expected_bytes(s: &Subject<'_>, config: &ResolvedConfig, plan: &Plan) -> u64 {
    let computes = config.enable_time_aware && config.method.by_output();
    let path = if computes { TimePath::find(s.source, plan) } else { None };
    let Some(path) = path else { return planned_bytes(s, plan) };
    let mut plan = plan.clone();
    for (index, layer) in plan.layers.iter_mut().enumerate() {
        let certain = path.knows(index) && !(path.is_sampled(index) && config.calibration.is_some());
        if let Some(spec) = narrowed(config, s.layout, layer).filter(|_| certain) {
            layer.spec = spec;
        }
    }
    planned_bytes(s, &plan)
}

/// What the budget buys. `None` where there is no target.
pub fn fill(
    s: &Subject<'_>,
    config: &ResolvedConfig,
    plan: &mut Plan,
    judge: Option<&Judge>,
    tuning: Tuning,
    control: &Control,
) -> Result<Option<TargetReport>, QuantError> {
    let Some(target) = target_bytes(config) else { return Ok(None) };
    let base = planned_bytes(s, plan);
    if base > target {
        return Err(unreachable(s.source, base, target));
    }
    let mut budget = Budget { subject: *s, target, planned: base, steps: Vec::new() };
    if config.enable_mixed_precision && config.bit_width != BitWidth::Eight {
        budget.protect(config, plan)?;
        budget.by_error(config, plan, &Errors::measure(s, plan, judge, tuning, control)?)?;
        budget.modulation(plan);
    }
    let (target_mb, base_mb, planned_mb) = (target as f64 / MB, megabytes(base), megabytes(budget.planned));
    Ok(Some(TargetReport { target_mb, bit_width: config.bit_width, base_mb, planned_mb, steps: budget.steps }))
}

/// The first part of a name up to a number: what repeats.
fn block_of(name: &str) -> &str {
    let mut end = 0;
    for segment in name.split('.') {
        end += segment.len();
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            return &name[..end];
        }
        end += 1;
    }
    name.split('.').next().unwrap_or(name)
}

/// Blocks in the order of the file, each with some layers.
pub(super) fn blocks<'p>(layers: impl Iterator<Item = (usize, &'p LayerPlan)>) -> Vec<(String, Vec<usize>)> {
    let mut list: Vec<(String, Vec<usize>)> = Vec::new();
    let mut places = HashMap::new();
    for (index, layer) in layers {
        let block = block_of(&layer.name);
        let at = *places.entry(block.to_owned()).or_insert_with(|| {
            list.push((block.to_owned(), Vec::new()));
            list.len() - 1
        });
        list[at].1.push(index);
    }
    list
}

struct Budget<'a> {
    subject: Subject<'a>,
    target: u64,
    planned: u64,
    steps: Vec<TargetStep>,
}

impl Budget<'_> {
    /// Raises layers if that fits; whether it did. `widths`: of each of them.
    fn take(&mut self, plan: &mut Plan, block: &str, raised: &[(usize, BitWidth)], why: &'static str, error: Option<[f64; 2]>) -> bool {
        let Some(&(first, to)) = raised.first() else { return false };
        let from = plan.layers[first].spec.scheme.bits;
        let before: Vec<LayerSpec> = raised.iter().map(|&(i, _)| plan.layers[i].spec.clone()).collect();
        for &(i, bits) in raised {
            plan.layers[i].spec = widened(self.subject.layout, &plan.layers[i].spec, bits);
        }
        let bytes = planned_bytes(&self.subject, plan);
        if bytes > self.target {
            for (&(i, _), spec) in raised.iter().zip(before) {
                plan.layers[i].spec = spec;
            }
            return false;
        }
        let cost_mb = (bytes as f64 - self.planned as f64) / MB;
        self.planned = bytes;
        self.steps.push(TargetStep { block: block.to_owned(), layers: raised.len(), from, to, cost_mb, why, error });
        true
    }

    /// Blocks that the first-block rule would raise, in the order of the file.
    fn protect(&mut self, config: &ResolvedConfig, plan: &mut Plan) -> Result<(), QuantError> {
        if config.protect_blocks == Protect::None {
            return Ok(());
        }
        let Subject { source, found, layout } = self.subject;
        let protected = crate::plan::plan(source, config, found, layout)?;
        let widths: BTreeMap<&str, BitWidth> = protected.layers.iter().map(|l| (l.name.as_str(), l.spec.scheme.bits)).collect();
        let wanted = |l: &LayerPlan| {
            widths.get(l.name.as_str()).copied().filter(|&bits| !l.yields && bits > config.bit_width.max(l.spec.scheme.bits))
        };
        let list = blocks(plan.layers.iter().enumerate().filter(|(_, l)| wanted(l).is_some()));
        for (block, members) in list {
            let raised: Vec<(usize, BitWidth)> = members.into_iter().filter_map(|i| Some((i, wanted(&plan.layers[i])?))).collect();
            self.take(plan, &block, &raised, "the first-block rule", None);
        }
        Ok(())
    }

    /// Modulation, which scales whole activations, at 8 bits again.
    fn modulation(&mut self, plan: &mut Plan) {
        let narrow = |l: &LayerPlan| l.yields && l.spec.scheme.bits != BitWidth::Eight;
        let raised: Vec<(usize, BitWidth)> =
            plan.layers.iter().enumerate().filter(|(_, l)| narrow(l)).map(|(i, _)| (i, BitWidth::Eight)).collect();
        self.take(plan, "modulation", &raised, "it scales whole activations", None);
    }

    /// Whole blocks by what their error falls for each byte, until nothing fits any more. Where most weights have come from 2 bits to 4, the
    /// job is one of 4 bits, and the first-block rule says what that needs.
    fn by_error(&mut self, config: &ResolvedConfig, plan: &mut Plan, errors: &Errors) -> Result<(), QuantError> {
        let mut again = (config.bit_width == BitWidth::Two).then(|| ResolvedConfig { bit_width: BitWidth::Four, ..config.clone() });
        let free = |l: &LayerPlan| !l.pinned && !l.yields && l.spec.scheme.bits != BitWidth::Eight;
        let mut list = blocks(plan.layers.iter().enumerate().filter(|(_, l)| free(l)));
        while !list.is_empty() {
            if let Some(wider) = again.take_if(|_| is_mostly_wider(plan)) {
                self.protect(&wider, plan)?;
            }
            let mut offers: Vec<Offer> = list
                .iter()
                .enumerate()
                .filter_map(|(at, (_, members))| Offer::of(at, members, plan, errors, self.subject.layout))
                .collect();
            offers.sort_by(|a, b| b.worth.total_cmp(&a.worth)); // stable: of equal ones the first of the file
            let taken =
                offers.into_iter().find(|o| self.take(plan, &list[o.at].0, &o.raised, "its error falls most for each byte", Some(o.error)));
            if taken.is_none() {
                break;
            }
            list.retain(|(_, members)| members.iter().any(|&i| plan.layers[i].spec.scheme.bits != BitWidth::Eight));
        }
        Ok(())
    }
}

/// A layer at another width: the least one from there on that the layout can carry.
pub(super) fn widened(layout: &dyn Layout, spec: &LayerSpec, bits: BitWidth) -> LayerSpec {
    fit_from(layout, &spec.with_scheme(spec.scheme.with_bits(bits))).unwrap_or_else(|_| spec.clone())
}

/// Whether most weights have more than 2 bits.
fn is_mostly_wider(plan: &Plan) -> bool {
    let weights = |wide: bool| {
        let of = |l: &&LayerPlan| (l.spec.scheme.bits != BitWidth::Two) == wide && !l.yields;
        plan.layers.iter().filter(of).map(|l| l.spec.geometry.numel()).sum::<usize>()
    };
    weights(true) > weights(false)
}

/// A block one width up.
struct Offer {
    at: usize,
    raised: Vec<(usize, BitWidth)>,
    error: [f64; 2],
    worth: f64,
}

impl Offer {
    /// Of the layers of a block that are at its least width.
    fn of(at: usize, members: &[usize], plan: &Plan, errors: &Errors, layout: &dyn Layout) -> Option<Self> {
        let width = |i: usize| plan.layers[i].spec.scheme.bits;
        let least = members.iter().map(|&i| width(i)).min()?;
        let wider = least.wider()?;
        let raised: Vec<(usize, BitWidth)> = members.iter().filter(|&&i| width(i) == least).map(|&i| (i, wider)).collect();
        let bytes = |bits: BitWidth| -> u64 {
            let of = |&(i, _): &(usize, BitWidth)| {
                layout.tensors(&widened(layout, &plan.layers[i].spec, bits)).iter().map(|t| t.len).sum::<u64>()
            };
            raised.iter().map(of).sum()
        };
        let error = [least, wider].map(|bits| raised.iter().map(|&(i, _)| errors.of(i, bits)).sum::<f64>());
        let cost = bytes(wider).saturating_sub(bytes(least));
        Some(Self { at, error, worth: (error[0] - error[1]) / cost.max(1) as f64, raised })
    }
}

/// Relative squared error of each layer at each width.
struct Errors(Vec<[f64; 3]>);

impl Errors {
    fn of(&self, layer: usize, bits: BitWidth) -> f64 {
        self.0[layer][place(bits)]
    }

    /// On some rows of each layer that may be raised.
    fn measure(s: &Subject<'_>, plan: &Plan, judge: Option<&Judge>, tuning: Tuning, control: &Control) -> Result<Self, QuantError> {
        let mut tensors: Vec<Option<SourceTensor<'_>>> = (0..plan.layers.len()).map(|_| None).collect();
        for t in plan.files(s.source, s.layout).into_iter().flat_map(|file| file.tensors) {
            if let TensorPlan::Quantize(i) = t.plan {
                tensors[i] = Some(t.source);
            }
        }
        let of = |(index, layer): (usize, &LayerPlan)| {
            control.check()?;
            let Some(tensor) = tensors[index].as_ref().filter(|_| !layer.pinned && !layer.yields) else { return Ok([0.0; 3]) };
            let inputs = judge.map_or(Ok(None), |j| j.inputs(s.source, index))?.unwrap_or_default();
            sampled(s.layout, &layer.spec, tensor, &inputs.judge, tuning)
        };
        let found: Vec<Result<[f64; 3], QuantError>> = plan.layers.par_iter().enumerate().map(of).collect();
        Ok(Self(found.into_iter().collect::<Result<_, _>>()?))
    }
}

fn place(bits: BitWidth) -> usize {
    BitWidth::ALL.iter().position(|b| *b == bits).unwrap_or_default()
}

/// Relative squared error of some rows of a layer at each width, searched alone: of its outputs where inputs are known, else of its weights.
fn sampled(
    layout: &dyn Layout,
    spec: &LayerSpec,
    tensor: &SourceTensor<'_>,
    inputs: &[StepInputs],
    tuning: Tuning,
) -> Result<[f64; 3], QuantError> {
    let (g, (count, rows)) = (spec.geometry, PLACES);
    let (mut weights, mut bytes, mut scratch) = (Vec::new(), Vec::new(), Scratch::default());
    let mut totals = [(0.0, 0.0); 3];
    for part in places(g.out, count, rows) {
        weights.resize(part.rows * g.row(), 0.0);
        tensor.read_rows(part.first, &mut weights, g.row(), &mut bytes)?;
        if first_non_finite(&weights).is_some() {
            continue; // which the encoding itself tells of
        }
        for (bits, total) in BitWidth::ALL.into_iter().zip(&mut totals) {
            let spec = widened(layout, &spec.with_scheme(spec.scheme.with_method(Method::Mse).with_rotation(None)), bits);
            let work = Work { geometry: spec.geometry, scheme: spec.scheme, tuning: tuning.rows(), weights: &weights, second: None };
            let mut encoded = EncodedRows::default();
            encode_rows(&work, &mut encoded, &mut scratch);
            let mut out = vec![Vec::new(); layout.tensors(&spec).len()];
            layout.write_rows(&spec, &encoded, &mut out);
            let mut decoded = vec![0.0; weights.len()];
            layout.read_rows(&spec, &out.iter().map(Vec::as_slice).collect::<Vec<_>>(), part.rows, &mut decoded);
            if inputs.is_empty() {
                let rows = weights.chunks_exact(g.row()).zip(decoded.chunks_exact(g.row()));
                rows.map(|(w, v)| RowSums::of(w, v)).for_each(|r| *total = (total.0 + r.ee, total.1 + r.ww));
            } else {
                let sums: Vec<OutputSums> = row_sums(inputs, &weights, &decoded, g.row());
                sums.iter().for_each(|o| *total = (total.0 + o.ee, total.1 + o.yy));
            }
        }
    }
    Ok(totals.map(|(error, signal)| if signal > 0.0 { error / signal } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_repeats() {
        for (name, block) in [
            ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0"),
            ("transformer/single_transformer_blocks.12.proj_mlp", "transformer/single_transformer_blocks.12"),
            ("model.layers.3.mlp.up_proj", "model.layers.3"),
            ("mid_block.attentions.0.to_q", "mid_block.attentions.0"),
            ("time_embedding.linear_1", "time_embedding"),
            ("w", "w"),
            ("", ""),
        ] {
            assert_eq!(block_of(name), block);
        }
    }
}
