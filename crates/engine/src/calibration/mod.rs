//! Calibration files: which of their layers are those of a plan, what is wrong with them, and what they hold.

mod rank;
mod summary;

pub use summary::{CalibrationReport, CalibrationRequest, FEW, summary};

use crate::error::{QuantError, ShapeSubject, WorkFailure};
use crate::plan::{LayerPlan, Plan};
use aq_core::error::ConfigIssue;
use aq_io::IoError;
use aq_io::calibration::{Calibration, CalibrationError};
use aq_io::error::Missing;
use std::collections::BTreeSet;

/// For each layer of a plan, its name in a calibration file.
pub fn names(calibration: &Calibration, plan: &Plan) -> Result<Vec<Option<String>>, QuantError> {
    let known: BTreeSet<&str> = calibration.layers().collect();
    let find = |name: &str| known.get(name).map(|n| (*n).to_owned());
    let names: Vec<Option<String>> = {
        // Inputs are those of rows; where weights stand in others, they say nothing of them.
        let of = |l: &LayerPlan| find(&l.name).or_else(|| find(l.spec.module())).filter(|_| l.spec.reshaped.is_none());
        plan.layers.iter().map(of).collect()
    };
    if names.iter().all(Option::is_none) {
        return Err(bad(calibration, "names no layer of this model"));
    }
    for (layer, name) in plan.layers.iter().zip(&names) {
        let Some(name) = name else { continue };
        let row = layer.spec.geometry.row();
        if let Some(step) = calibration.steps(name).iter().find(|s| s.in_features != row) {
            let (expected, actual) = (vec![row as u64], vec![step.in_features as u64]);
            let subject = ShapeSubject::Calibration;
            return Err(QuantError::ShapeMismatch { subject, name: layer.name.clone(), expected, actual });
        }
    }
    Ok(names)
}

fn bad(calibration: &Calibration, problem: &str) -> QuantError {
    let failure = WorkFailure::BadCalibration { record: 0, problem: problem.into() };
    QuantError::QuantizationFailed { path: calibration.path().into(), layer: None, failure }
}

/// A missing calibration file is a wrong option; everything else is told as what it is.
pub fn failed(error: CalibrationError, path: &str) -> QuantError {
    match error {
        CalibrationError::Io(IoError::NotFound { what: Missing::Model, .. }) | CalibrationError::Unsupported { .. } => {
            let expected = "the path of a .safetensors, .jsonl, .parquet or .arrow file";
            let mut issue = ConfigIssue::text("calibration", expected, path);
            issue.message += " Nothing is there; relative paths count from the working directory.";
            QuantError::InvalidConfig(vec![issue])
        }
        CalibrationError::Io(error) => error.into(),
        CalibrationError::Arrow { path, source } => QuantError::Arrow { path, source },
        CalibrationError::Parquet { path, source } => QuantError::Parquet { path, source },
        CalibrationError::Json { path, line, column, source } => QuantError::Serde { path, line, column, source },
        CalibrationError::Record { path, record, problem } => {
            let failure = WorkFailure::BadCalibration { record, problem };
            QuantError::QuantizationFailed { path, layer: None, failure }
        }
    }
}
