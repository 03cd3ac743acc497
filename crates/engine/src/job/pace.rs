//! How long a job would take here. The kinds of work that it is made of (blocks of each scheme, second moments, outputs over time) are done on
//! made-up rows for half a second in all; the plan says how much of each there is.

use super::blocks::working_set;
use super::judge::Extent;
use super::pool::thread_count;
use super::rotation;
use super::run::Prepared;
use super::second::{self, Operations};
use crate::control::Control;
use crate::device::{Work, encode_rows};
use crate::error::QuantError;
use crate::memory::LARGEST_BLOCK;
use crate::plan::LayerPlan;
use crate::time::{StepInputs, row_sums};
use aq_core::plan_report::TimeEstimate;
use aq_core::{BlockType, Geometry, Method, Scheme, ZeroKind};
use aq_io::layout::{EncodedRows, LayerSpec};
use aq_kernels::second::Second;
use aq_kernels::{RowSums, Scratch};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// What is known of a layer's inputs.
pub type Known = Option<Extent>;

/// For all measurements.
const BUDGET: Duration = Duration::from_millis(500);
/// Weights that are encoded at a time.
const WEIGHTS: usize = 1 << 16;
/// Of made-up layers with known inputs: inputs, outputs, and rows.
const SAMPLE: (usize, usize, usize) = (256, 64, 128);
/// Rows that a trial of rotation encodes twice.
const TRIED: usize = 64;
/// Bytes a second of reading, writing and syncing files: those of ordinary solid-state disks.
const BYTES_PER_S: f64 = 1e9;
/// Opening, staging, syncing, renaming and drawing the report's page, seconds; and what a layer adds to all of that.
const FIXED: (f64, f64) = (0.12, 0.0005);
/// Seconds that a value of the time path takes, from its sine or exponential to its place in a table.
const ACTIVATION: f64 = 40e-9;
/// How often the time path is computed: to cut time groups, and to choose codes.
const TIMES: f64 = 2.0;

/// Layers that are encoded alike.
#[derive(PartialEq)]
struct Kind {
    blocks: Option<BlockType>,
    bits: u32,
    zero: ZeroKind,
    method: Method,
    group: usize,
}

impl Kind {
    fn of(spec: &LayerSpec) -> Self {
        let Scheme { bits, zero, method, blocks, .. } = spec.scheme;
        // A group of the whole row is one kind whatever the row.
        let group = spec.geometry.group.min(256);
        Self { blocks, bits: bits.bits(), zero, method: if method == Method::Gptq { Method::Mse } else { method }, group }
    }
}

/// Seconds a weight, or a multiplication, on one thread of all that work.
struct Rates {
    kinds: Vec<(Kind, f64)>,
    /// Making moments ready; encoding under them, in full form and factored; outputs.
    second: [f64; 4],
}

/// The time of a planned job; `path`: multiplications and activations of its time path.
pub fn estimate(p: &Prepared, known: &[Known], path: [f64; 2], control: &Control) -> Result<TimeEstimate, QuantError> {
    let began = Instant::now();
    let threads = thread_count(p.config.num_threads);
    let rates = p.pool.install(|| rates(p, known, control, threads))?;
    let mut seconds = FIXED.0 + FIXED.1 * p.plan.layers.len() as f64;
    let mut seen: Vec<(usize, usize)> = Vec::new();
    let [products, activations] = path;
    let mut cpu = TIMES * products * rates.second[0];
    seconds += TIMES * activations * ACTIVATION;
    for (layer, known) in p.plan.layers.iter().zip(known) {
        let (spec, g) = (&layer.spec, layer.spec.geometry);
        let (n, kind) = (g.numel() as f64, Kind::of(spec));
        let rate = rates.kinds.iter().find(|(k, _)| *k == kind).map_or(0.0, |(_, rate)| *rate);
        let tries = rotation::block(&p.config, p.layout, spec).is_some();
        cpu += rate * n;
        if let Some(known) = known {
            cpu += rates.second[3] * 2.0 * known.judged as f64 * n;
        }
        match known.filter(|_| spec.scheme.method == Method::Gptq) {
            Some(known) => {
                let Operations { ready, rows, full } = second::operations(known.rows, g.row(), g.out, known.recorded);
                let rate = rates.second[if full { 1 } else { 2 }];
                let trials = if tries && spec.scheme.bits == aq_core::BitWidth::Four { 2.0 } else { 1.0 };
                // Layers with one input (q, k and v; all modulations) share what is made of it.
                let shared = (known.rows, g.row());
                if !seen.contains(&shared) || known.recorded {
                    cpu += trials * rates.second[0] * ready;
                    seen.push(shared);
                }
                cpu += rate * rows * (1.0 + (trials - 1.0) * 2.0 * (TRIED.min(g.out) as f64) / g.out as f64);
            }
            None if tries => cpu += rate * 2.0 * (TRIED.min(g.out) * g.row()) as f64,
            None => {}
        }
    }
    seconds += cpu / threads as f64;
    let written = p.plan.written(&p.source, p.layout);
    seconds += (p.plan.bytes(&p.source) + 2 * written) as f64 / BYTES_PER_S;
    Ok(TimeEstimate { seconds, threads, measured_s: began.elapsed().as_secs_f64() })
}

fn rates(p: &Prepared, known: &[Known], control: &Control, threads: usize) -> Result<Rates, QuantError> {
    let mut kinds: Vec<(Kind, &LayerPlan)> = Vec::new();
    for layer in &p.plan.layers {
        let kind = Kind::of(&layer.spec);
        match kinds.iter_mut().find(|(k, _)| *k == kind) {
            // The largest layer speaks for its kind.
            Some((_, largest)) if largest.spec.geometry.numel() < layer.spec.geometry.numel() => *largest = layer,
            Some(_) => {}
            None => kinds.push((kind, layer)),
        }
    }
    let learned = p.plan.layers.iter().zip(known).find(|(l, k)| k.is_some() && l.spec.scheme.method == Method::Gptq);
    let share = BUDGET / (kinds.len() + usize::from(learned.is_some())).max(1) as u32;
    let mut measured = Vec::new();
    for (kind, layer) in kinds {
        control.check()?;
        measured.push((kind, blocks(p, layer, share, threads)));
    }
    let second = learned.map_or([0.0; 4], |(layer, _)| moments(&layer.spec, p.tuning.rows()));
    Ok(Rates { kinds: measured, second })
}

/// Seconds a weight on one thread, with all of them at work.
fn blocks(p: &Prepared, layer: &LayerPlan, share: Duration, threads: usize) -> f64 {
    let scheme = layer.spec.scheme;
    let method = if scheme.method == Method::Gptq { Method::Mse } else { scheme.method };
    let spec = layer.spec.with_scheme(scheme.with_method(method));
    let row = spec.geometry.row();
    let rows = (WEIGHTS / row).clamp(1, spec.geometry.out.max(1));
    let weights = made_up(rows * row);
    let tensors = p.layout.tensors(&spec).len();
    let one = |_| {
        let began = Instant::now();
        let (mut encoded, mut scratch, mut done) = (EncodedRows::default(), Scratch::default(), 0usize);
        let (mut out, mut decoded) = (vec![Vec::new(); tensors], vec![0.0; weights.len()]);
        while done == 0 || began.elapsed() < share {
            let work = Work { geometry: spec.geometry, scheme: spec.scheme, tuning: p.tuning.rows(), weights: &weights, second: None };
            encode_rows(&work, &mut encoded, &mut scratch);
            out.iter_mut().for_each(Vec::clear);
            p.layout.write_rows(&spec, &encoded, &mut out);
            p.layout.read_rows(&spec, &out.iter().map(Vec::as_slice).collect::<Vec<_>>(), rows, &mut decoded);
            let sums = weights.chunks_exact(row).zip(decoded.chunks_exact(row)).map(|(w, v)| RowSums::of(w, v));
            std::hint::black_box(sums.map(|s| s.ee).sum::<f64>());
            done += weights.len();
        }
        began.elapsed().as_secs_f64() / done as f64
    };
    let all: Vec<f64> = (0..threads).into_par_iter().map(one).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// Seconds a multiplication: of making moments ready, of rows under them in both forms, and of outputs.
fn moments(spec: &LayerSpec, tuning: aq_kernels::Tuning) -> [f64; 4] {
    let (row, out, rows) = SAMPLE;
    let shape = [out, row];
    let Some(geometry) = Geometry::of(&shape, spec.scheme.group_size) else { return [0.0; 4] };
    let scheme = spec.scheme.with_rotation(None);
    let spec = LayerSpec { shape: shape.to_vec(), reshaped: None, geometry, scheme, ..spec.clone() };
    let inputs = [StepInputs { step: 0, weight: 1.0, rows, data: made_up(rows * row) }];
    let weights = made_up(out * row);
    let timed = |work: &mut dyn FnMut() -> Option<Second>| {
        let began = Instant::now();
        let second = work();
        (began.elapsed().as_secs_f64(), second)
    };
    let encode = |second: &Option<Second>| {
        let (mut encoded, mut scratch) = (EncodedRows::default(), Scratch::default());
        let work = Work { geometry, scheme, tuning, weights: &weights, second: second.as_ref() };
        let began = Instant::now();
        encode_rows(&work, &mut encoded, &mut scratch);
        began.elapsed().as_secs_f64()
    };
    let (ready, full) = timed(&mut || second::made(&inputs, &spec, None));
    let (_, factored) = timed(&mut || second::made(&inputs, &spec, Some(64)));
    let began = Instant::now();
    std::hint::black_box(row_sums(&inputs, &weights, &weights, row).len());
    let outputs = began.elapsed().as_secs_f64() / (2 * rows * weights.len()) as f64;
    let (k, n) = (row as f64, weights.len() as f64);
    let [full, factored] = [encode(&full) / (1.5 * k * n), encode(&factored) / (4.0 * 64.0 * n)];
    [ready / (k * k * (k / 3.0 + rows as f64)), full, factored, outputs]
}

/// Values such as weights have: sums of a few uniform ones, always the same.
fn made_up(count: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| 0.05 * (uniform() + uniform() + uniform() + uniform())).collect()
}

/// Bytes that blocks in flight take, and the largest of what is made of inputs.
pub fn memory(p: &Prepared, known: &[Known]) -> u64 {
    let threads = thread_count(p.config.num_threads) as u64;
    let largest = p.plan.layers.iter().map(|l| working_set(l.spec.geometry, 4) * l.spec.geometry.out as u64).max().unwrap_or(0);
    let blocks = (threads * LARGEST_BLOCK.min(largest)).min(p.config.max_memory_limit_mb << 20);
    let inputs = |(l, known): (&LayerPlan, &Known)| {
        let known = known.filter(|_| l.spec.scheme.method == Method::Gptq)?;
        let (row, rows) = (l.spec.geometry.row(), known.rows);
        let full = second::operations(rows, row, l.spec.geometry.out, known.recorded).full;
        let [made_in, _] = if full { Second::full_bytes(rows, row) } else { Second::factored_bytes(rows, 64, row) };
        Some(made_in + 4 * (rows * row) as u64)
    };
    blocks + p.plan.layers.iter().zip(known).filter_map(inputs).max().unwrap_or(0)
}
