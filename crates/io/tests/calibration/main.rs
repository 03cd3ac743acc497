//! Calibration files: every form reads back the same rows, and no damage is ever taken for data.

mod damage;
mod foreign;
mod forms;
mod problems;
mod read;

use aq_io::{Calibration, CalibrationError, Disk};
use forms::Rows;
use tempfile::TempDir;

/// Opens these bytes as a file of a form.
fn open(extension: &str, bytes: &[u8]) -> Result<(TempDir, Calibration), CalibrationError> {
    let dir = TempDir::new().expect("a test's own file can be made");
    let path = dir.path().join(format!("c.{extension}"));
    std::fs::write(&path, bytes).expect("a test's own file can be made");
    Ok((dir, Calibration::open(&Disk::default(), &path)?))
}

/// Everything in a file, sorted by layer and step.
fn content(calibration: &Calibration) -> Result<Vec<Rows>, CalibrationError> {
    let mut list = Vec::new();
    for layer in calibration.layers() {
        for (index, s) in calibration.steps(layer).iter().enumerate() {
            let mut data = Vec::new();
            calibration.read(layer, index, usize::MAX, &mut data)?;
            list.push(Rows { layer: layer.into(), step: s.step, count: s.rows, in_features: s.in_features, data, weight: s.weight });
        }
    }
    Ok(list)
}

fn sorted(mut list: Vec<Rows>) -> Vec<Rows> {
    list.sort_by(|a, b| (&a.layer, a.step).cmp(&(&b.layer, b.step)));
    list
}
