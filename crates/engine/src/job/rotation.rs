//! Whether a layer is rotated: tried on some of its rows, always the same ones, and done where the error of their weights falls by more than
//! a decibel, which is where single channels are far larger than others. Never in groups at 8 bits, where it was measured to hurt.

use super::blocks::{Block, Buffers, Encoding, LayerFiles, Part, ROW_STEP, trial, working_set};
use super::context::JobContext;
use crate::error::QuantError;
use aq_core::{BitWidth, ResolvedConfig, rotation_for};
use aq_io::layout::{LayerSpec, Layout};
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
    let Some(block) = block(job.config, job.layout, spec) else { return Ok(plain) };
    let rotated = spec.with_scheme(spec.scheme.with_rotation(Some(block)));
    let (mut buffers, mut errors) = (Buffers::default(), [RowSums::default(); 2]);
    for place in places(spec.geometry.out, PLACES, ROW_STEP) {
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

/// The block that a layer can be rotated by; none where it is not to be.
pub fn block(config: &ResolvedConfig, layout: &dyn Layout, spec: &LayerSpec) -> Option<usize> {
    // A group size of none: one scale for a whole row, with all its outliers.
    let wanted = config.enable_spatial && (spec.scheme.bits != BitWidth::Eight || spec.scheme.group_size == 0);
    rotation_for(spec.geometry.channels, *BLOCKS.end()).filter(|n| wanted && BLOCKS.contains(n) && layout.rotates(spec, *n))
}

/// So many places of so many rows, spread evenly over the layer, from its first on; all of them where there are few.
pub fn places(out: usize, count: usize, rows: usize) -> impl Iterator<Item = Block> {
    let steps = out.div_ceil(rows);
    let count = steps.min(count);
    (0..count).map(move |i| {
        let first = i * steps / count * rows;
        Block { first, rows: rows.min(out - first) }
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
    let bytes = place.rows as u64 * working_set(spec.geometry, files.source.info.dtype.size());
    loop {
        job.control.check()?;
        let permit = job.memory.acquire(bytes, job.control)?;
        match trial(job, &Encoding { spec, second: None }, files, place, b)? {
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
            let all: Vec<Block> = places(out, 16, ROW_STEP).collect();
            assert!(all.iter().all(|b| b.first % ROW_STEP == 0 && b.rows > 0 && b.first + b.rows <= out));
            assert!(all.windows(2).all(|w| w[0].first + w[0].rows <= w[1].first));
            assert_eq!(all.len(), out.div_ceil(4).min(16));
        }
    }
}
