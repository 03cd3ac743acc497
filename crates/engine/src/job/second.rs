//! Second moments of a layer's inputs, made ready for its rows by all threads of the job; and whether the layer is rotated under them.

use super::blocks::{Block, Encoding, LayerFiles, Lent, Part, trial, working_set};
use super::context::JobContext;
use super::judge::LayerInputs;
use super::rotation;
use crate::error::QuantError;
use crate::memory::Hold;
use crate::time::StepInputs;
use aq_core::report::{InputOrigin, SecondForm, SecondReport};
use aq_core::{BitWidth, Geometry, Method};
use aq_io::layout::LayerSpec;
use aq_kernels::Level;
use aq_kernels::second::{Factor, Factored, Inputs, Moments, Second, Span};
use rayon::prelude::*;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Rows of a basis: what sweeps need to come near the full form on a computed time path (`algorithms.md` section 7).
const RANK: usize = 64;
/// The full form is better and is taken unless it needs more than so many times the operations of the factored one.
const MOST_TIMES: f64 = 8.0;
/// Nor is it worth a thought under so many operations: a tenth of a second.
const LITTLE: f64 = 2e9;
/// What rotation must lower the output's error by at 4 bits.
const LEAST_GAIN_DB: f64 = 0.5;
/// Places where that is tried, and rows of each: one panel.
const PLACES: (usize, usize) = (4, 16);
/// Floats that are hashed at a time.
const HASHED: usize = 1024;

/// What is known of a layer's inputs, and in which form.
pub struct Prepared<'a> {
    /// For the kernels.
    pub second: Second,
    /// For the report.
    pub report: SecondReport,
    key: Key,
    span: Option<Arc<Span>>,
    _hold: Option<Hold<'a>>,
}

/// What a form is made from.
#[derive(PartialEq, Eq)]
struct Key {
    input: u64,
    rotation: Option<usize>,
    by_order: bool,
    out: usize,
}

/// The last ones that were made: layers with one input (q, k and v) follow each other.
pub type Recent<'a> = Vec<Arc<Prepared<'a>>>;

/// As many as two forms of one input: rotated and not.
const KEPT: usize = 2;

/// The layer with the rotation that pays under its inputs, and these made ready; without them by its weights alone.
pub fn chosen<'a>(
    job: &JobContext<'a>,
    spec: &LayerSpec,
    files: &LayerFiles<'_>,
    inputs: &LayerInputs,
) -> Result<(LayerSpec, Option<Arc<Prepared<'a>>>), QuantError> {
    let by_weights = |spec: &LayerSpec| Ok((rotation::chosen(job, spec, files)?, None));
    if spec.scheme.method != Method::Gptq || inputs.learn.is_empty() {
        return by_weights(spec);
    }
    let with = |rotation| spec.with_scheme(spec.scheme.with_rotation(rotation));
    let block = rotation::block(job.config, job.layout, spec);
    let (plain, rotated) = (with(None), block.map(|n| with(Some(n))));
    let ready = |spec: &LayerSpec| Ok::<_, QuantError>(prepared(job, inputs, spec)?.map(|p| (spec.clone(), p)));
    let found = match (spec.scheme.bits, rotated) {
        (BitWidth::Two, Some(rotated)) => match ready(&rotated)? {
            None => ready(&plain)?,
            found => found,
        },
        (BitWidth::Four, Some(rotated)) => match (ready(&plain)?, ready(&rotated)?) {
            (Some(a), Some(b)) => {
                let errors = [measured(job, &a, files, &inputs.judge)?, measured(job, &b, files, &inputs.judge)?];
                let pays = matches!(errors, [Some(a), Some(b)] if 10.0 * (a / b).log10() > LEAST_GAIN_DB);
                Some(if pays { b } else { a })
            }
            (a, _) => a,
        },
        _ => ready(&plain)?,
    };
    match found {
        Some((spec, prepared)) => Ok((spec, Some(prepared))),
        None => by_weights(&spec.with_scheme(spec.scheme.with_method(Method::Mse))),
    }
}

/// Inputs made ready for a layer, or found among the recent ones; `None` where nothing can be learned from them.
pub fn prepared<'a>(job: &JobContext<'a>, inputs: &LayerInputs, spec: &LayerSpec) -> Result<Option<Arc<Prepared<'a>>>, QuantError> {
    job.control.check()?;
    let by_order = spec.scheme.bits != BitWidth::Two && job.tuning.order;
    let input = fingerprint(&inputs.learn, spec.geometry);
    let key = Key { input, rotation: spec.scheme.rotation, by_order, out: spec.geometry.out };
    let mut recent = job.recent();
    if let Some(found) = recent.iter().find(|p| p.key == key) {
        return Ok(Some(found.clone()));
    }
    let rows = inputs.learn.iter().filter(|i| counts(i)).map(|i| i.rows).sum();
    let (out, row) = (spec.geometry.out, spec.geometry.row());
    let most = most_rank(rows, row, inputs.origin == InputOrigin::Recorded);
    let hold = if is_full(rows, row, out, most) { held(job, &mut recent, Second::full_bytes(rows, row)) } else { None };
    let full = hold.is_some();
    let made = if full {
        whole(&inputs.learn, spec, by_order).map(|(second, form)| (second, form, None))
    } else {
        let known = recent.iter().find(|p| p.key.input == input).and_then(|p| p.span.clone());
        spanned(&inputs.learn, spec, most, known).map(|(second, span)| (second, SecondForm::Factored, Some(span)))
    };
    let Some((second, form, span)) = made else { return Ok(None) };
    let [made_in, bytes] = if full { Second::full_bytes(rows, row) } else { Second::factored_bytes(rows, most, row) };
    // What is factored is small beside a layer; it is counted where there is room, and made where there is none.
    let mut hold = hold.or_else(|| job.memory.hold(bytes));
    hold.iter_mut().for_each(|h| h.shrink(bytes));
    let (rank, kept) = (span.as_ref().map(|s| s.rows.rows), span.as_ref().map(|s| s.kept));
    let report = SecondReport { form, inputs: inputs.origin, rows, rank, kept, bytes: made_in };
    let made = Arc::new(Prepared { second, report, key, span, _hold: hold });
    if recent.len() == KEPT {
        recent.remove(0);
    }
    recent.push(made.clone());
    Ok(Some(made))
}

/// Room for a full form while it is made; what was made last gives way to it.
fn held<'a>(job: &JobContext<'a>, recent: &mut Recent<'a>, [bytes, _]: [u64; 2]) -> Option<Hold<'a>> {
    loop {
        match job.memory.hold(bytes) {
            None if !recent.is_empty() => drop(recent.remove(0)),
            hold => return hold,
        }
    }
}

/// Multiplications of a layer under its inputs.
pub struct Operations {
    /// To make the inputs ready.
    pub ready: f64,
    /// Of its rows.
    pub rows: f64,
    /// In the full form.
    pub full: bool,
}

/// How much work a layer is under so many rows of inputs.
pub fn operations(rows: usize, row: usize, out: usize, recorded: bool) -> Operations {
    let rank = most_rank(rows, row, recorded);
    let (k, n, full) = (row as f64, (row * out) as f64, is_full(rows, row, out, rank));
    let ready = k * if full { k * (k / 3.0 + rows as f64) } else { (rows * rank) as f64 };
    Operations { ready, rows: n * if full { 1.5 * k } else { 4.0 * rank as f64 }, full }
}

/// Inputs in the full form, or in that of a rank; for measurements.
pub fn made(inputs: &[StepInputs], spec: &LayerSpec, rank: Option<usize>) -> Option<Second> {
    match rank {
        None => whole(inputs, spec, spec.scheme.bits != BitWidth::Two).map(|made| made.0),
        Some(rank) => spanned(inputs, spec, rank, None).map(|made| made.0),
    }
}

/// Rows of a basis. Computed inputs lie near a curve; recorded ones may fill as many directions as they are rows.
fn most_rank(rows: usize, row: usize, recorded: bool) -> usize {
    if recorded && rows <= row { rows } else { RANK.min(rows) }
}

/// By operations a weight: half a product with `H` for compensation, one for the sweep, and the layer's part of the factorisation; or two
/// sweeps through the factor, each of two products.
fn is_full(rows: usize, row: usize, out: usize, rank: usize) -> bool {
    let (rows, k, out) = (rows as f64, row as f64, out as f64);
    let full = 1.5 * k + (k * k / 3.0 + rows * k) / out;
    full * k * out <= LITTLE || full <= MOST_TIMES * 4.0 * rank as f64
}

/// Recorded rows in the order of the layer's groups, rotated; every step counts by its importance, whatever its rows.
fn arranged(level: Level, inputs: &[StepInputs], g: Geometry, rotation: Option<usize>) -> Option<Inputs> {
    let weight: f64 = inputs.iter().filter(|i| i.rows > 0).map(|i| f64::from(i.weight)).sum();
    let mut all = Inputs::new(g);
    for step in inputs.iter().filter(|i| counts(i)) {
        let share = f64::from(step.weight) / weight / step.rows as f64;
        if !all.push(level, &step.data, g, rotation, share) {
            return None;
        }
    }
    (all.rows > 0).then_some(all)
}

/// The moments and their factor.
fn whole(inputs: &[StepInputs], spec: &LayerSpec, by_order: bool) -> Option<(Second, SecondForm)> {
    let level = Level::current();
    let rows = &arranged(level, inputs, spec.geometry, spec.scheme.rotation)?;
    let mut moments = Moments::new(rows.row);
    let packed = rows.packed();
    moments.parts().into_par_iter().enumerate().for_each(|(i, part)| Moments::fill(level, &packed, i, part));
    drop(packed);
    if !moments.damp() {
        return None;
    }
    let order = by_order.then(|| moments.falling());
    let natural: Vec<usize> = (0..rows.row).collect();
    let mut factor = Factor::new(moments.matrix(), order.as_ref().unwrap_or(&natural));
    let factored = factor.panels().all(|first| {
        let done = factor.panel(level, first);
        if done {
            let (rest, parts) = factor.later(first);
            parts.into_par_iter().for_each(|(row, part)| rest.subtract(level, row, part));
        }
        done
    });
    let form = if factored { SecondForm::Full } else { SecondForm::Sweeps };
    Some((Second::full(moments, factored.then_some(&factor), order, rows), form))
}

/// Rows that span the inputs, themselves where they are few, before they are rotated: what spans them rotated is the same, rotated.
fn spanned(inputs: &[StepInputs], spec: &LayerSpec, rank: usize, known: Option<Arc<Span>>) -> Option<(Second, Arc<Span>)> {
    let level = Level::current();
    let span = match known {
        Some(span) => span,
        None => Arc::new(Span::of(level, &arranged(level, inputs, spec.geometry, None)?, rank)),
    };
    let rotated = span.rows.rotated(level, spec.geometry, spec.scheme.rotation)?;
    Some((Second::Factored(Box::new(Factored::new(level, &rotated)?)), span))
}

/// Whether anything is learned from a step.
fn counts(inputs: &StepInputs) -> bool {
    inputs.rows > 0 && inputs.weight > 0.0
}

/// Of inputs in the order of a layer's groups.
fn fingerprint(inputs: &[StepInputs], g: Geometry) -> u64 {
    let mut hash = Xxh3::new();
    let mut bytes = [0; 4 * HASHED];
    for step in inputs {
        hash.update(&step.weight.to_le_bytes());
        hash.update(&step.rows.to_le_bytes());
        for values in step.data.chunks(HASHED) {
            for (to, value) in bytes.chunks_exact_mut(4).zip(values) {
                to.copy_from_slice(&value.to_le_bytes());
            }
            hash.update(&bytes[..4 * values.len()]);
        }
    }
    hash.update(&g.channels.to_le_bytes());
    hash.update(&g.taps.to_le_bytes());
    hash.digest()
}

/// Squared error of the output over some rows of the layer; `None` where they cannot be encoded so.
fn measured(
    job: &JobContext<'_>,
    (spec, prepared): &(LayerSpec, Arc<Prepared<'_>>),
    files: &LayerFiles<'_>,
    inputs: &[StepInputs],
) -> Result<Option<f64>, QuantError> {
    let encoding = Encoding { spec, second: Some(&prepared.second) };
    let (count, rows) = PLACES;
    let places: Vec<_> = rotation::places(spec.geometry.out, count, rows).collect();
    let of = |lent: &mut Lent<'_>, place: &Block| {
        let buffers = &mut lent.buffers;
        let bytes = place.rows as u64 * working_set(spec.geometry, files.source.info.dtype.size());
        let _permit = job.memory.acquire(bytes, job.control)?;
        match trial(job, &encoding, files, *place, buffers)? {
            Part::Encoded((_, flags)) if !flags.rotated_too_large => Ok(Some(buffers.output_error(inputs, spec.geometry.row()))),
            _ => Ok(None),
        }
    };
    let errors: Result<Vec<Option<f64>>, QuantError> = places.par_iter().map_init(|| job.buffers.lend(), of).collect();
    Ok(errors?.into_iter().sum())
}
