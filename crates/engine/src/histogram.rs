//! How the weights of some layers are spread before and after: for the report's page.

use crate::control::Control;
use crate::error::QuantError;
use crate::job::places;
use crate::open::OpenModel;
use aq_io::source::Component;
use aq_io::weights::Weight;
use aq_kernels::Zeros;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

const BINS: usize = 64;
/// Weights of a layer that are looked at: rows from all over it.
const MOST_WEIGHTS: usize = 1 << 20;
/// Places that these rows come from.
const PLACES: usize = 64;

/// Weights of one layer in bins of equal width over the range of the original ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerHistogram {
    name: String,
    /// Weights that were looked at.
    weights: usize,
    low: f32,
    high: f32,
    original: Vec<u64>,
    quantized: Vec<u64>,
    error: Spread,
}

/// Numbers in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Spread {
    low: f32,
    high: f32,
    counts: Vec<u64>,
}

/// Histograms of the layers that both models have under the same name and in the same shape, in the order asked for.
pub fn histograms(original: &Path, quantized: &Path, layers: &[String], control: &Arc<Control>) -> Result<Vec<LayerHistogram>, QuantError> {
    let (original, quantized) = (OpenModel::open(original, control)?, OpenModel::open(quantized, control)?);
    let mut list = Vec::new();
    for name in layers {
        control.check()?;
        let Some((before, after)) = original.weight(name).zip(quantized.weight(name)) else { continue };
        if before.1.shape == after.1.shape {
            list.extend(layer(name, before, after, control)?);
        }
    }
    Ok(list)
}

fn layer(
    name: &str,
    (before, original): (&Component, &Weight),
    (after, quantized): (&Component, &Weight),
    control: &Control,
) -> Result<Option<LayerHistogram>, QuantError> {
    let (out, row) = (original.shape[0], original.row());
    if row == 0 || row > MOST_WEIGHTS {
        return Ok(None);
    }
    let rows = (MOST_WEIGHTS / PLACES / row).max(1);
    let most = (MOST_WEIGHTS / row).min(PLACES);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for place in places(out, most, rows) {
        control.check()?;
        let (from, to) = (a.len(), a.len() + place.rows * row);
        f32::set_len(&mut a, to);
        f32::set_len(&mut b, to);
        original.read_rows(before, place.first, &mut a[from..])?;
        quantized.read_rows(after, place.first, &mut b[from..])?;
    }
    let errors: Vec<f32> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let (low, high) = range(&a);
    if !(low.is_finite() && high.is_finite()) {
        return Ok(None);
    }
    let (error_low, error_high) = range(&errors);
    Ok(Some(LayerHistogram {
        name: name.to_owned(),
        weights: a.len(),
        low,
        high,
        original: counts(&a, low, high),
        quantized: counts(&b, low, high),
        error: Spread { low: error_low, high: error_high, counts: counts(&errors, error_low, error_high) },
    }))
}

fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// What lies outside of the range counts at its ends.
fn counts(values: &[f32], low: f32, high: f32) -> Vec<u64> {
    let mut counts = vec![0; BINS];
    let width = (f64::from(high) - f64::from(low)).max(f64::MIN_POSITIVE);
    for v in values {
        // A NaN becomes 0.
        let bin = ((f64::from(*v) - f64::from(low)) / width * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin() {
        let values = [-1.0, -0.5, 0.0, 0.999, 1.0, 7.0, -7.0];
        let found = counts(&values, -1.0, 1.0);
        assert_eq!(found.iter().sum::<u64>(), 7);
        assert_eq!((found[0], found[16], found[32], found[63]), (2, 1, 1, 3));
        assert_eq!(counts(&[3.0, 3.0], 3.0, 3.0)[0], 2);
    }
}
