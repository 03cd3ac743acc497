//! What can go wrong with a calibration file. Closed.

use crate::error::IoError;
use arrow_schema::ArrowError;
use parquet::errors::ParquetError;
use std::path::PathBuf;

/// What can go wrong with a calibration file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub enum CalibrationError {
    /// The file system, a safetensors header, or the file's account of itself.
    #[error(transparent)]
    Io(#[from] IoError),
    /// An Arrow file is damaged, or its columns are not those of calibration.
    #[error("Arrow error in {}", path.display())]
    Arrow { path: PathBuf, source: ArrowError },
    /// A Parquet file is damaged, or its columns are not those of calibration.
    #[error("Parquet error in {}", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
    /// A line is not JSON, or not the object that is expected. Line and column count from 1 and are those of the file.
    #[error("JSON error in {} at line {line}, column {column}", path.display())]
    Json { path: PathBuf, line: usize, column: usize, source: serde_json::Error },
    /// The file is sound, but what it says makes no sense. Records count from 0; `problem` goes on after "record 3 of file".
    #[error("record {record} of {} {problem}", path.display())]
    Record { path: PathBuf, record: usize, problem: String },
    /// Not an extension of a calibration file.
    #[error("{} is no calibration file", path.display())]
    Unsupported { path: PathBuf },
}
