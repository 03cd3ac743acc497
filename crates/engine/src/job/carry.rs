//! Tensors that are carried over, checked on the way: nothing that is not finite is written unasked. Their values are unchanged; their type is the
//! layout's choice.

use super::blocks::LayerFiles;
use super::context::JobContext;
use crate::control::Control;
use crate::error::{QuantError, WorkFailure};
use crate::memory::{Memory, resize};
use aq_core::config::NonFinitePolicy;
use aq_io::TensorInfo;
use aq_io::fault::{self, Effect, Site};
use aq_io::layout::{LayerSpec, Layout, OutTensor};
use aq_io::output::Placed;
use aq_io::source::SourceTensor;
use aq_kernels::convert::{all_finite, first_non_finite, from_f32, to_f32};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// A multiple of every element size.
const CHUNK: usize = 1 << 20;
/// The same; smaller pieces would not help a system without memory.
const LEAST_CHUNK: usize = 1 << 12;

/// What tensors are carried over with.
#[derive(Clone, Copy)]
pub struct Carrier<'a> {
    /// Stop flag and progress.
    pub control: &'a Control,
    /// Memory in permits.
    pub memory: &'a Memory,
    /// What values that are not finite mean.
    pub non_finite: NonFinitePolicy,
}

/// What a layer becomes that is not quantized after all.
pub fn carried(job: &JobContext<'_>, source: &SourceTensor<'_>, layer: &LayerSpec) -> Result<OutTensor, QuantError> {
    let tensor = job.layout.carry(&source.info).map_err(|why| not_carried(job.layout, source.path(), &source.info, why))?;
    Ok(OutTensor { name: layer.written.clone(), ..tensor })
}

/// The error for a tensor that the layout has no place for.
pub fn not_carried(layout: &dyn Layout, path: &Path, tensor: &TensorInfo, why: String) -> QuantError {
    let failure = WorkFailure::NotCarried { tensor: tensor.name.clone(), layout: layout.name(), why };
    QuantError::QuantizationFailed { path: path.into(), layer: Some(tensor.name.clone()), failure }
}

/// Copies a tensor and returns the checksum of what was written; counts its bytes for `name` if given.
pub fn copy(job: &Carrier<'_>, files: &LayerFiles<'_>, placed: &Placed, name: Option<&str>) -> Result<u64, QuantError> {
    let mut checksum = Xxh3::new();
    let t = &files.source.info;
    let check = t.dtype.is_float() && job.non_finite == NonFinitePolicy::Error;
    let (from, to) = (t.dtype, placed.tensor.dtype);
    let (mut buffer, mut floats, mut converted) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut chunk) = (0, CHUNK);
    while at < t.len {
        job.control.check()?;
        let bytes = chunk.min((t.len - at) as usize);
        let values = bytes / from.size();
        let working = (bytes + if check || from != to { values * 4 } else { 0 } + if from == to { 0 } else { values * to.size() }) as u64;
        let permit = job.memory.acquire(working, job.control)?;
        if fault::hit(Site::Chunk) == Some(Effect::Alloc) || resize(&mut buffer, bytes).is_err() {
            drop(permit);
            job.memory.step_down(job.control, working)?;
            chunk = (chunk / 2).max(LEAST_CHUNK);
            continue;
        }
        files.source.read(&mut buffer, at)?;
        if check && !all_finite(&buffer, from, &mut floats) {
            return Err(non_finite(files.source)?);
        }
        let written = if from == to {
            &buffer
        } else {
            floats.resize(values, 0.0);
            to_f32(&buffer, from, &mut floats);
            t.apply_scale((at / from.size() as u64) as usize, &mut floats);
            if check && first_non_finite(&floats).is_some() {
                return Err(non_finite(files.source)?); // a double that no single holds
            }
            converted.clear();
            from_f32(&floats, to, &mut converted);
            &converted
        };
        checksum.update(written);
        files.writer.write(placed, at / from.size() as u64 * to.size() as u64, written)?;
        at += buffer.len() as u64;
        if let Some(name) = name {
            job.control.progress.bytes(name, buffer.len() as u64);
        }
    }
    Ok(checksum.digest())
}

/// The error for a tensor with values that are not finite: where the first is, and how many there are.
pub fn non_finite(source: &SourceTensor<'_>) -> Result<QuantError, QuantError> {
    let t = &source.info;
    let (mut first, mut count) = (None, 0);
    let (mut buffer, mut floats) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < t.len {
        buffer.resize(CHUNK.min((t.len - at) as usize), 0);
        source.read(&mut buffer, at)?;
        floats.resize(buffer.len() / t.dtype.size(), 0.0);
        to_f32(&buffer, t.dtype, &mut floats);
        count += floats.iter().filter(|v| !v.is_finite()).count() as u64;
        if first.is_none() {
            first = first_non_finite(&floats).map(|i| (at / t.dtype.size() as u64 + i as u64, floats[i]));
        }
        at += buffer.len() as u64;
    }
    let (flat, value) = first.unwrap_or((0, f32::NAN));
    let index = unravel(flat, &t.shape);
    Ok(QuantError::NonFiniteWeights { path: source.path().into(), tensor: t.name.clone(), index, value, count })
}

/// The index of a flat position in a shape.
pub fn unravel(flat: u64, shape: &[usize]) -> Vec<u64> {
    let mut rest = flat;
    let mut index: Vec<u64> = Vec::with_capacity(shape.len());
    for &d in shape.iter().rev() {
        let d = d.max(1) as u64;
        index.push(rest % d);
        rest /= d;
    }
    index.reverse();
    index
}
