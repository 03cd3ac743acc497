//! Whether a layer is rotated: tried on some of its rows, always the same ones, and done where the error of their weights falls by more than
//! a decibel, which is where single channels are far larger than others. Never at 8 bits, where it was measured to hurt.

use super::blocks::{Block, Buffers, LayerFiles, Part, ROW_STEP, trial, working_set};
use super::context::JobContext;
use crate::error::QuantError;
use aq_core::{BitWidth, rotation_for};
use aq_io::layout::LayerSpec;
use aq_kernels::RowSums;

/// What the weights' error must fall by.
const LEAST_GAIN_DB: f64 = 1.0;
/// The largest block, and the least: smaller ones spread an outlier over too few values.
const BLOCKS: std::ops::RangeInclusive<usize> = 32..=256;
/// Places of a layer that are tried, each with [`ROW_STEP`] rows.
const PLACES: usize = 16;

/// The layer with the rotation that pays, or with none.
pub fn chosen(job: &JobContext<'_>, spec: &LayerSpec, files: &LayerFiles<'_>) -> Result<LayerSpec, QuantError> {
    let plain = spec.with_scheme(spec.scheme.with_rotation(None));
    let block = rotation_for(spec.geometry.channels, *BLOCKS.end()).filter(|n| BLOCKS.contains(n));
    if !job.config.enable_spatial || spec.scheme.bits == BitWidth::Eight || block.is_none() {
        return Ok(plain);
    }
    let rotated = spec.with_scheme(spec.scheme.with_rotation(block));
    let (mut buffers, mut errors) = (Buffers::default(), [RowSums::default(); 2]);
    for place in places(spec.geometry.out) {
        for (sums, spec) in errors.iter_mut().zip([&plain, &rotated]) {
            match measured(job, spec, files, place, &mut buffers)? {
                Some(rows) => rows.iter().for_each(|row| sums.add(row)),
                None => return Ok(plain.clone()),
            }
        }
    }
    let gain = 10.0 * (errors[0].ee / errors[1].ee).log10();
    Ok(if gain > LEAST_GAIN_DB { rotated } else { plain })
}

/// Rows spread evenly over the layer, from its first on; all of them where there are few.
fn places(out: usize) -> impl Iterator<Item = Block> {
    let steps = out.div_ceil(ROW_STEP);
    let count = steps.min(PLACES);
    (0..count).map(move |i| {
        let first = i * steps / count * ROW_STEP;
        Block { first, rows: ROW_STEP.min(out - first) }
    })
}

/// Sums of some rows; `None` where they cannot be encoded so.
fn measured(
    job: &JobContext<'_>,
    spec: &LayerSpec,
    files: &LayerFiles<'_>,
    place: Block,
    b: &mut Buffers,
) -> Result<Option<Vec<RowSums>>, QuantError> {
    let bytes = place.rows as u64 * working_set(spec.geometry, files.tensor.dtype.size());
    loop {
        job.control.check()?;
        let permit = job.memory.acquire(bytes, job.control)?;
        match trial(job, spec, files, place, b)? {
            Part::Encoded((rows, flags)) => return Ok((!flags.rotated_too_large).then_some(rows)),
            Part::NonFinite => return Ok(None), // which the encoding itself tells of
            Part::Refused => {
                *b = Buffers::default();
                drop(permit);
                job.memory.step_down(job.control, bytes)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_and_inside() {
        for out in [1, 3, 4, 5, 63, 64, 65, 3072] {
            let all: Vec<Block> = places(out).collect();
            assert!(all.iter().all(|b| b.first % ROW_STEP == 0 && b.rows > 0 && b.first + b.rows <= out));
            assert!(all.windows(2).all(|w| w[0].first + w[0].rows <= w[1].first));
            assert_eq!(all.len(), out.div_ceil(4).min(16));
        }
    }
}
