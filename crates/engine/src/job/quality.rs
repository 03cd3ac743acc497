//! The gate: which layers failed, and what the user can do about it.

use super::layer::LayerDone;
use crate::error::{FailedLayer, QualityFailure, QuantError};
use aq_core::report::Measure;
use aq_core::{BitWidth, ResolvedConfig};

const MOST_FAILED: usize = 100;

/// The error for failed layers, the worst first in the sentence; `None` when all passed.
pub fn gate(config: &ResolvedConfig, layers: &[(&str, &LayerDone)], planned: usize) -> Option<QuantError> {
    let mut failed: Vec<FailedLayer> = Vec::new();
    let mut worst: Option<(&str, &LayerDone, BitWidth, f64)> = None;
    let mut count = 0;
    for (name, done) in layers.iter().filter(|(_, d)| d.outcome == aq_core::report::LayerOutcome::Failed) {
        count += 1;
        let last = done.attempts.last()?;
        if worst.is_none_or(|w| last.similarity < w.3) {
            worst = Some((name, done, last.bit_width, last.similarity));
        }
        if failed.len() < MOST_FAILED {
            let attempts = done.attempts.iter().map(|a| (a.bit_width, a.similarity)).collect();
            failed.push(FailedLayer { layer: (*name).to_owned(), attempts });
        }
    }
    let (layer, done, bit_width, similarity) = worst?;
    let mean = layers.iter().map(|(_, d)| d.judged.similarity()).sum::<f64>() / layers.len() as f64;
    let group = done.judged.worst().map(|g| g.index);
    Some(QuantError::ValidationFailed(Box::new(QualityFailure {
        similarity,
        threshold: config.min_accuracy,
        layer: layer.to_owned(),
        bit_width,
        measure: if group.is_some() { Measure::Output } else { Measure::Weights },
        time_group: group,
        mean_similarity: mean,
        failed,
        failed_count: count,
        layer_count: planned,
        advice: advice(config, bit_width),
    })))
}

/// Only what can help in this run.
fn advice(config: &ResolvedConfig, tried: BitWidth) -> Vec<String> {
    let mut list = Vec::new();
    match tried {
        BitWidth::Two => list.push("raise bitWidth to 4 or 8".to_owned()),
        BitWidth::Four => list.push("raise bitWidth to 8".to_owned()),
        BitWidth::Eight => {}
    }
    if config.fail_fast && tried != BitWidth::Eight {
        list.push("set failFast: false so that failing layers move to the next width".into());
    }
    if config.calibration.is_some() {
        list.push(format!("raise calibrationSamples above {}", config.calibration_samples));
    }
    if config.group_size > 32 {
        list.push(format!("set groupSize to {}", config.group_size / 2));
    }
    list.push("lower minAccuracy if this loss is acceptable".into());
    list
}
