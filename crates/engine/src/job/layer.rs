//! One layer: the attempt at its planned width, and the ladder 2 -> 4 -> 8 when its similarity misses the user's threshold.

use super::blocks::{BlockEnd, Encoding, LayerFiles, encode, row_blocks};
use super::carry;
use super::checksum::combine;
use super::context::JobContext;
use super::files::Written;
use super::judge::Judged;
use super::second;
use super::tables::{Aside, table};
use crate::error::{QuantError, WorkFailure};
use crate::plan::{LayerPlan, fit_from};
use crate::time::{OutputSums, StepInputs};
use aq_core::config::NonFinitePolicy;
use aq_core::report::{Attempt, Figures, LayerOutcome, SecondReport};
use aq_core::{Geometry, Notice, ScaleDtype};
use aq_io::layout::{LayerSpec, OutTensor};
use aq_io::output::{Placed, ShardWriter};
use aq_kernels::{RowFlags, RowSums};
use rayon::prelude::*;

/// A layer that was measured.
#[derive(Debug, Clone)]
pub struct LayerDone {
    /// With the scheme it ended with.
    pub spec: LayerSpec,
    /// Where its tensors are.
    pub placed: Vec<Placed>,
    /// Sums over the whole layer.
    pub sums: RowSums,
    /// Error figures and quality over time.
    pub judged: Judged,
    /// Widths tried.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub outcome: LayerOutcome,
    /// In which form its inputs decided about its codes, where they did.
    pub second: Option<SecondReport>,
    /// Its table over time, laid aside.
    pub table: Option<Aside>,
}

/// How a layer ended.
#[derive(Debug, Clone)]
pub enum LayerEnd {
    /// Encoded.
    Done(Box<LayerDone>),
    /// Holds values that are not finite, and the user wants such tensors kept.
    Kept(Placed),
}

impl LayerEnd {
    /// Where its tensors are.
    pub fn placed(&self) -> &[Placed] {
        match self {
            Self::Done(done) => &done.placed,
            Self::Kept(placed) => std::slice::from_ref(placed),
        }
    }
}

impl From<&LayerEnd> for Written {
    fn from(end: &LayerEnd) -> Self {
        match end {
            LayerEnd::Done(done) => Self { spec: Some(done.spec.clone()), placed: done.placed.clone() },
            LayerEnd::Kept(placed) => Self { spec: None, placed: vec![placed.clone()] },
        }
    }
}

/// Sums of a layer, rows added in order.
struct Measured {
    sums: RowSums,
    judged: Judged,
    flags: RowFlags,
    checksum: u64,
    table: Option<Vec<u8>>,
}

/// Encodes a layer until it passes, or has no width left; with the checksum of what was written.
pub fn quantize(job: &JobContext<'_>, index: usize, files: &LayerFiles<'_>, placed: Vec<Placed>) -> Result<(LayerEnd, u64), QuantError> {
    let layer = &job.plan.layers[index];
    let inputs = job.judge.map_or(Ok(None), |j| j.inputs(job.source, index))?.unwrap_or_default();
    let (mut spec, mut prepared) = second::chosen(job, &layer.spec, files, &inputs)?;
    let mut placed = replace(job, files, &spec, placed)?;
    let mut attempts: Vec<Attempt> = Vec::new();
    loop {
        let Some(measured) = attempt(
            job,
            layer,
            &Encoding { spec: &spec, second: prepared.as_ref().map(|p| &p.second) },
            files,
            &placed,
            &inputs.judge,
            attempts.is_empty(),
        )?
        else {
            return keep(job, files, &spec);
        };
        if measured.flags.rotated_too_large {
            spec = spec.with_scheme(spec.scheme.with_rotation(None));
            prepared = if prepared.is_some() { second::prepared(job, &inputs, &spec)? } else { None };
            placed = replace(job, files, &spec, placed)?;
            continue;
        }
        if measured.flags.needs_f32 && spec.scheme.scale_dtype == ScaleDtype::F16 {
            spec = spec.with_scheme(spec.scheme.with_scale_dtype(ScaleDtype::F32));
            placed = replace(job, files, &spec, placed)?;
            continue;
        }
        if let Some(group) = measured.flags.overflow {
            let failure = WorkFailure::ScaleOverflow { group, dtype: spec.scheme.scale_dtype.name() };
            return Err(QuantError::QuantizationFailed { path: files.source.path().into(), layer: Some(layer.name.clone()), failure });
        }
        if !measured.sums.vv.is_finite() {
            // A decoded value that the type of the output does not hold (`plainDtype`), or one past f32, where a scale next to the
            // largest was rounded up.
            let failure = WorkFailure::ScaleOverflow { group: 0, dtype: spec.dtype.name() };
            return Err(QuantError::QuantizationFailed { path: files.source.path().into(), layer: Some(layer.name.clone()), failure });
        }
        let similarity = measured.judged.similarity();
        attempts.push(Attempt { bit_width: spec.scheme.bits, similarity });
        let passed = similarity >= job.config.min_accuracy;
        let wider = spec.scheme.bits.wider().filter(|_| !passed && !layer.pinned && !job.config.fail_fast);
        let wider = wider.and_then(|bits| fit_from(job.layout, &spec.with_scheme(spec.scheme.with_bits(bits))).ok());
        if let Some(wider) = wider {
            (spec, prepared) = second::chosen(job, &wider, files, &inputs)?;
            placed = replace(job, files, &spec, placed)?;
            continue;
        }
        let outcome = match (passed, attempts.len()) {
            (true, 1) => LayerOutcome::Quantized,
            (true, _) => LayerOutcome::Raised,
            (false, _) => LayerOutcome::Failed,
        };
        if outcome == LayerOutcome::Raised {
            job.control.ledger.notice(Notice::Fallback {
                layer: layer.name.clone(),
                from: layer.spec.scheme.bits,
                to: spec.scheme.bits,
                similarity: attempts[0].similarity,
                threshold: job.config.min_accuracy,
            });
        }
        let Measured { sums, judged, checksum, table, .. } = measured;
        let second = prepared.map(|p| p.report);
        let table = job.tables.zip(table).map(|(tables, table)| tables.lay(judged.groups.len(), &table)).transpose()?;
        return Ok((LayerEnd::Done(Box::new(LayerDone { spec, placed, sums, judged, attempts, outcome, second, table })), checksum));
    }
}

/// Room for the layer under its new scheme.
fn replace(job: &JobContext<'_>, files: &LayerFiles<'_>, spec: &LayerSpec, placed: Vec<Placed>) -> Result<Vec<Placed>, QuantError> {
    room(files.writer, job.layout.tensors(spec), placed)
}

/// Room for tensors: that of `placed` where they take the same place in it, else past the planned end.
pub fn room(writer: &ShardWriter, tensors: Vec<OutTensor>, placed: Vec<Placed>) -> Result<Vec<Placed>, QuantError> {
    if placed.len() != tensors.len() || !placed.iter().zip(&tensors).all(|(p, t)| p.tensor.takes_the_place_of(t)) {
        return Ok(writer.append(&tensors)?);
    }
    let same = placed.iter().zip(&tensors).all(|(p, t)| p.tensor.fixed == t.fixed);
    let placed: Vec<Placed> = placed.into_iter().zip(tensors).map(|(p, tensor)| Placed { tensor, ..p }).collect();
    if !same {
        writer.keep(&placed)?;
    }
    Ok(placed)
}

/// Encodes all blocks once; `None` when a value is not finite.
fn attempt(
    job: &JobContext<'_>,
    layer: &LayerPlan,
    encoding: &Encoding<'_>,
    files: &LayerFiles<'_>,
    placed: &[Placed],
    inputs: &[StepInputs],
    first: bool,
) -> Result<Option<Measured>, QuantError> {
    let geometry = encoding.spec.geometry;
    let blocks = row_blocks(geometry, files.source.info.dtype.size());
    let bytes_per_row = (geometry.row() * files.source.info.dtype.size()) as u64;
    let ends: Vec<Result<BlockEnd, QuantError>> = blocks
        .par_iter()
        .map_init(
            || job.buffers.lend(),
            |lent, &block| {
                let end = encode(job, encoding, files, placed, block, inputs, &mut lent.buffers)?;
                if first {
                    job.control.progress.bytes(&layer.name, block.rows as u64 * bytes_per_row);
                }
                Ok(end)
            },
        )
        .collect();
    let ends: Vec<BlockEnd> = ends.into_iter().collect::<Result<_, _>>()?; // the first in row order, whichever came first
    let (mut sums, mut flags, mut worst) = (RowSums::default(), RowFlags::default(), 1.0);
    let mut outputs = vec![OutputSums::default(); inputs.len()];
    let mut checksums = Vec::with_capacity(ends.len());
    for end in &ends {
        let BlockEnd::Encoded(block) = end else { return Ok(None) };
        for row in &block.rows {
            sums.add(row);
            worst = f64::min(worst, row.cosine());
        }
        for steps in block.outputs.chunks_exact(inputs.len().max(1)) {
            outputs.iter_mut().zip(steps).for_each(|(total, step)| total.add(step));
        }
        flags.join(block.flags);
        checksums.push(block.checksum);
    }
    let judge = job.judge.filter(|_| !inputs.is_empty());
    let groups = judge.map(|j| j.quality(inputs, &outputs)).unwrap_or_default();
    let table = judge.filter(|_| job.tables.is_some()).map(|judge| {
        let ranges: Vec<_> = judge.groups_of(inputs).into_iter().map(|g| g.1).collect();
        let rows = ends.iter().filter_map(|end| if let BlockEnd::Encoded(block) = end { Some(block) } else { None });
        table(inputs, &ranges, &groups, geometry.row(), rows.flat_map(|block| block.outputs.chunks_exact(inputs.len())))
    });
    Ok(Some(Measured { sums, judged: Judged::new(&sums, worst, groups), flags, checksum: combine(&checksums), table }))
}

/// Error figures of sums.
pub fn figures(sums: &RowSums, worst_row_cosine: f64) -> Figures {
    Figures { cosine: sums.cosine(), sqnr_db: sums.sqnr_db(), worst_row_cosine, max_abs_error: sums.max_abs }
}

/// Values that are not finite: an error with the first and their number, or the tensor as it is.
fn keep(job: &JobContext<'_>, files: &LayerFiles<'_>, layer: &LayerSpec) -> Result<(LayerEnd, u64), QuantError> {
    if job.config.non_finite == NonFinitePolicy::Error {
        return Err(carry::non_finite(files.source)?);
    }
    let tensor = carry::carried(job, files.source, layer)?;
    let placed = files.writer.append(std::slice::from_ref(&tensor))?.remove(0);
    let checksum = carry::copy(&job.carrier(), files, &placed, None)?;
    Ok((LayerEnd::Kept(placed), checksum))
}

/// Bytes on disk * 8 / weights.
pub fn bits_per_weight(placed: &[Placed], geometry: Geometry) -> f64 {
    placed.iter().map(|p| p.tensor.body()).sum::<u64>() as f64 * 8.0 / geometry.numel() as f64
}
