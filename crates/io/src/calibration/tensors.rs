//! The safetensors form: tensors `<module>@<step>` of `[rows, in]`, summaries `<module>@<step>#m2` and `#mean` of `[in]`.
//!
//! A tensor of any other name is refused: rows under a mistyped name would be left out of the calibration without a word.

use super::index::{Builder, Record, StepRows, problem_of};
use super::{Axis, CalibrationError, Form, Opened, read_floats};
use crate::disk::InputFile;
use crate::error::{IoError, MetadataProblem};
use crate::header::{Header, TensorInfo};
use aq_core::Dtype;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The version of the form that is read.
const VERSION: u64 = 1;

struct Tensors {
    file: Arc<InputFile>,
    /// Of every tensor.
    places: Vec<(u64, Dtype)>,
}

impl Form for Tensors {
    fn read(&self, record: usize, _step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let (offset, dtype) = self.places[record];
        Ok(read_floats(&self.file, offset, dtype, wanted, out)?)
    }
}

/// What a tensor is by its name.
enum Kind<'a> {
    Rows(&'a str, i64),
    Summary(&'a str),
}

pub(super) fn open(file: &Arc<InputFile>) -> Result<Opened, CalibrationError> {
    let header = Header::read(file)?;
    let path = file.path();
    check_version(path, &header)?;
    let axis = Axis::stated(path, header.metadata.get("axis").map(String::as_str))?;
    let mut builder = Builder::new(path);
    let mut summarised = BTreeSet::new();
    for (number, tensor) in header.tensors.iter().enumerate() {
        let bad = |problem: String| problem_of(path, number, problem);
        let kind = kind(&tensor.name);
        let kind = kind.ok_or_else(|| bad(format!("is named {:?}, which is not <module>@<step>", tensor.name)))?;
        if !tensor.dtype.is_float() {
            return Err(bad(format!("({}) holds {}, not floats", tensor.name, tensor.dtype)));
        }
        match kind {
            Kind::Rows(layer, step) => builder.add(number, record(layer, step, tensor).map_err(bad)?, None)?,
            Kind::Summary(layer) if tensor.shape.len() == 1 => {
                summarised.insert(layer.to_owned());
            }
            Kind::Summary(_) => return Err(bad(format!("({}) has the shape {:?}, not [in]", tensor.name, tensor.shape))),
        }
    }
    let places = header.tensors.iter().map(|t| (t.offset, t.dtype)).collect();
    Ok(Opened { axis, index: builder.finish(), summarised, form: Box::new(Tensors { file: file.clone(), places }) })
}

fn record(layer: &str, step: i64, tensor: &TensorInfo) -> Result<Record, String> {
    let &[rows, in_features] = tensor.shape.as_slice() else {
        return Err(format!("({}) has the shape {:?}, not [rows, in]", tensor.name, tensor.shape));
    };
    let size = |n: usize| i64::try_from(n).ok();
    Ok(Record { layer: Some(layer.into()), step: Some(step), rows: size(rows), in_features: size(in_features), weight: None })
}

/// The last `@` counts: module names may hold one.
fn kind(name: &str) -> Option<Kind<'_>> {
    let (layer, step) = name.rsplit_once('@')?;
    let (step, summary) = match step.split_once('#') {
        None => (step, false),
        Some((step, "m2" | "mean")) => (step, true),
        Some(_) => return None,
    };
    let digits = step.strip_prefix('-').unwrap_or(step);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let step = step.parse().ok()?;
    Some(if summary { Kind::Summary(layer) } else { Kind::Rows(layer, step) })
}

/// Files of other makers say nothing, or another `format`; ours in a later version cannot be read.
fn check_version(path: &Path, header: &Header) -> Result<(), IoError> {
    if header.metadata.get("format").is_none_or(|f| f != "arrow-quant-calibration") {
        return Ok(());
    }
    let Some(text) = header.metadata.get("version") else { return Ok(()) };
    let problem = match text.parse::<u64>() {
        Ok(VERSION) => return Ok(()),
        Ok(found) => MetadataProblem::Version { found, newest: VERSION },
        Err(_) => MetadataProblem::FieldType { expected: "a whole number", found: format!("{text:?}") },
    };
    Err(IoError::Metadata { path: path.into(), field: Some("version".into()), problem })
}
