//! Calibration files: rows of each layer's input at recorded time steps. Four forms, one index.
//!
//! Opening reads what stands where and checks it; rows are read when they are asked for, so that memory holds those of one layer. Names
//! are the source model's module names as the file has them; whether the model has such a layer is the engine's question.

mod columns;
mod error;
mod index;
mod ipc;
mod lines;
mod parquet;
mod tensors;

pub use ::parquet::errors::ParquetError;
pub use arrow_schema::ArrowError;
pub use error::CalibrationError;
pub use index::StepRows;

use crate::disk::{Disk, InputFile, buffer};
use crate::error::{IoError, MetadataProblem, Missing};
use crate::source::{extension, stat_regular};
use aq_core::Dtype;
use aq_kernels::convert;
use index::{Index, problem_of};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Values read at a time where they are converted: bounds the bytes that are held beside the floats.
const STEP_VALUES: usize = 1 << 18;

/// What the steps of a file count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axis {
    /// Time steps of the noise schedule, 0 to 999.
    #[default]
    Timestep,
    /// The masked share of a text, in per mille.
    MaskRatio,
    /// The flow-matching sigma, in per mille.
    Sigma,
}

impl Axis {
    /// The word in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timestep => "timestep",
            Self::MaskRatio => "mask_ratio",
            Self::Sigma => "sigma",
        }
    }

    /// From a file's metadata.
    fn stated(path: &Path, text: Option<&str>) -> Result<Self, IoError> {
        let Some(text) = text else { return Ok(Self::default()) };
        [Self::Timestep, Self::MaskRatio, Self::Sigma].into_iter().find(|a| a.as_str() == text).ok_or_else(|| {
            let problem = MetadataProblem::FieldType { expected: "timestep, mask_ratio or sigma", found: format!("{text:?}") };
            IoError::Metadata { path: path.into(), field: Some("axis".into()), problem }
        })
    }
}

/// Where the rows of each record are, and how they are read.
trait Form: Send + Sync {
    /// Appends the first `wanted` values of a record of this shape, once it is known that it holds them.
    fn read(&self, record: usize, step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError>;
}

/// What a form finds at open.
struct Opened {
    axis: Axis,
    index: Index,
    summarised: BTreeSet<String>,
    form: Box<dyn Form>,
}

/// An open calibration file.
pub struct Calibration {
    file: Arc<InputFile>,
    opened: Opened,
}

impl std::fmt::Debug for Calibration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calibration").field("path", &self.path()).field("layers", &self.opened.index.len()).finish_non_exhaustive()
    }
}

impl Calibration {
    /// Opens a file; its extension says the form: `.safetensors`, `.jsonl`, `.parquet`, or `.arrow` in Arrow's file or stream format.
    pub fn open(disk: &Disk, path: &Path) -> Result<Self, CalibrationError> {
        let open: fn(&Arc<InputFile>) -> Result<Opened, CalibrationError> = match extension(path).as_str() {
            "safetensors" => tensors::open,
            "jsonl" => lines::open,
            "parquet" => parquet::open,
            "arrow" => ipc::open,
            _ => return Err(CalibrationError::Unsupported { path: path.into() }),
        };
        stat_regular(disk, path, Missing::Model, None)?;
        let file = Arc::new(InputFile::open(disk, path)?);
        let opened = open(&file)?;
        if opened.index.is_empty() && opened.summarised.is_empty() {
            return Err(problem_of(path, 0, "holds no rows"));
        }
        Ok(Self { file, opened })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// What tells its bytes from those of another, see [`InputFile::sample`].
    pub fn sample(&self) -> Result<String, IoError> {
        self.file.sample()
    }

    /// Time of its last change, milliseconds since 1970.
    pub fn modified_ms(&self) -> Option<u64> {
        self.file.modified_ms()
    }

    /// Fails if the file is no longer what it was when it was opened.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        self.file.check_unchanged()
    }

    /// What its steps count; time steps where it does not say.
    pub const fn axis(&self) -> Axis {
        self.opened.axis
    }

    /// Names of the layers that have rows, sorted.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.opened.index.keys().map(String::as_str)
    }

    /// Whether the file has summaries of a layer, which serve tables and reports and take no part in quantizing.
    pub fn has_summary(&self, layer: &str) -> bool {
        self.opened.summarised.contains(layer)
    }

    /// Names of the layers that have summaries, sorted.
    pub fn summarised(&self) -> impl Iterator<Item = &str> {
        self.opened.summarised.iter().map(String::as_str)
    }

    /// Steps of a layer, ascending; none where the file does not know it.
    pub fn steps(&self, layer: &str) -> &[StepRows] {
        self.opened.index.get(layer).map_or(&[], |l| &l.steps)
    }

    /// Appends the first rows of one of [`Calibration::steps`], `most` at most. Nothing is appended where there is no such step, or when
    /// the read fails.
    pub fn read(&self, layer: &str, index: usize, most: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let found = self.opened.index.get(layer).and_then(|l| l.steps.get(index).zip(l.records.get(index)));
        let Some((step, &record)) = found else { return Ok(()) };
        let (before, wanted) = (out.len(), step.rows.min(most) * step.in_features);
        let result = self.read_finite(record, step, wanted, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn read_finite(&self, record: usize, step: &StepRows, wanted: usize, out: &mut Vec<f32>) -> Result<(), CalibrationError> {
        let before = out.len();
        self.opened.form.read(record, step, wanted, out)?;
        match convert::first_non_finite(&out[before..]) {
            None => Ok(()),
            Some(at) => {
                let (value, row, column) = (out[before + at], at / step.in_features, at % step.in_features);
                Err(problem_of(self.path(), record, format!("holds {value} at [{row}, {column}]")))
            }
        }
    }
}

/// Room for floats.
fn reserve(out: &mut Vec<f32>, count: usize) -> Result<(), IoError> {
    out.try_reserve(count).map_err(|_| IoError::OutOfMemory { requested: 4 * count as u64 })
}

/// Appends `count` floats that stand at `offset`.
fn read_floats(file: &InputFile, offset: u64, dtype: Dtype, count: usize, out: &mut Vec<f32>) -> Result<(), IoError> {
    reserve(out, count)?;
    let size = dtype.size();
    let mut bytes = buffer(count.min(STEP_VALUES) * size)?;
    for first in (0..count).step_by(STEP_VALUES) {
        let n = STEP_VALUES.min(count - first);
        let bytes = &mut bytes[..n * size];
        file.read(bytes, offset + (first * size) as u64)?;
        let before = out.len();
        out.resize(before + n, 0.0);
        convert::to_f32(bytes, dtype, &mut out[before..]);
    }
    Ok(())
}
