//! Every way a job can fail, as data. The words are in [`texts`], the classification in core's catalogue; `crates/node` converts.

mod from_io;
mod system;
mod texts;

use aq_core::error::{ConfigIssue, ErrorCode, ErrorContext, Kind};
use aq_core::report::{Measure, PartialReport};
use aq_core::{BitWidth, Phase, StopSource};
use aq_io::error::{Damage, IoOp, MetadataProblem, Missing};
use std::io;
use std::path::PathBuf;

pub use texts::{Texts, non_finite_name};

/// Wrong options, never empty.
pub type Issues = Vec<ConfigIssue>;

/// Whose shapes disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeSubject {
    /// Two models.
    Model,
    /// Calibration rows and the layer they are for.
    Calibration,
    /// A buffer and its declared shape.
    Buffer,
}

/// Why there is nothing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkFailure {
    /// No tensor qualifies.
    NothingToQuantize {
        /// Tensors looked at.
        tensors: usize,
    },
    /// A calibration file that says something that makes no sense.
    BadCalibration {
        /// Number of the record, from 0.
        record: usize,
        /// What is wrong, after "record 3 of file".
        problem: String,
    },
    /// No plan is as small as the target.
    TargetUnreachable {
        /// Bytes of the smallest.
        smallest: u64,
        /// Wanted.
        target: u64,
    },
    /// A scale that no stored type holds.
    ScaleOverflow {
        /// Index of the group.
        group: usize,
        /// Stored type.
        dtype: &'static str,
    },
    /// Two tensors would get one name.
    NameCollision {
        /// One tensor.
        a: String,
        /// The other.
        b: String,
        /// The name both would have.
        name: String,
    },
    /// There is nothing in codes.
    NotQuantized,
    /// Another layout would need other codes.
    WouldRound {
        /// The wanted layout.
        layout: &'static str,
        /// What it cannot hold as it is.
        why: String,
    },
    /// The layout has no place for a tensor.
    NotCarried {
        /// The tensor.
        tensor: String,
        /// The layout.
        layout: &'static str,
        /// Why.
        why: String,
    },
    /// The input is quantized already.
    AlreadyQuantized {
        /// By what.
        scheme: String,
    },
}

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The machine's.
    Host,
    /// A device's.
    Device,
}

/// Why there is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryCause {
    /// The plan needs more than the job may take.
    Budget,
    /// The system refused.
    Refused,
}

/// What an ended job left for one that resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// Nothing.
    Nothing,
    /// The staging with its journal.
    Journal,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// None is compiled in.
    NoBackend,
    /// There are fewer.
    NoSuchDevice {
        /// How many there are.
        found: u32,
    },
    /// There is no driver, or the driver or the card says why.
    Driver(String),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBackend => f.write_str("this platform has no NVIDIA driver"),
            Self::Driver(reason) => f.write_str(reason),
            Self::NoSuchDevice { found } => write!(f, "this machine has {found} device(s), numbered from 0"),
        }
    }
}

/// A layer that missed the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedLayer {
    /// Its name.
    pub layer: String,
    /// Widths tried and similarities reached.
    pub attempts: Vec<(BitWidth, f64)>,
}

/// The work was done and is not good enough.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityFailure {
    /// Of the worst layer, at its last width.
    pub similarity: f64,
    /// The user's.
    pub threshold: f64,
    /// The worst layer.
    pub layer: String,
    /// Its last width.
    pub bit_width: BitWidth,
    /// By what it was judged.
    pub measure: Measure,
    /// The worst time group, where it was its output.
    pub time_group: Option<u32>,
    /// Mean over the layers measured.
    pub mean_similarity: f64,
    /// Failed layers, 100 at most.
    pub failed: Vec<FailedLayer>,
    /// How many failed.
    pub failed_count: usize,
    /// How many were planned.
    pub layer_count: usize,
    /// What the user can do, best first.
    pub advice: Vec<String>,
}

/// Every way a job can fail.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named for what they hold")]
pub enum QuantError {
    #[error("invalid configuration")]
    InvalidConfig(Issues),
    #[error("layer {} is below the threshold", .0.layer)]
    ValidationFailed(Box<QualityFailure>),
    #[error("{} does not exist", path.display())]
    ModelNotFound { path: PathBuf, what: Missing, referenced_by: Option<PathBuf>, source: Option<io::Error> },
    #[error("metadata of {} is wrong", path.display())]
    Metadata { path: PathBuf, field: Option<String>, problem: MetadataProblem },
    #[error("the modality of {} is not known", path.display())]
    UnknownModality { path: PathBuf, value: Option<String>, looked_at: Vec<String> },
    #[error("shapes of {name} disagree")]
    ShapeMismatch { subject: ShapeSubject, name: String, expected: Vec<u64>, actual: Vec<u64> },
    #[error("{} cannot be quantized", path.display())]
    QuantizationFailed { path: PathBuf, layer: Option<String>, failure: WorkFailure },
    #[error("{} {} failed", op.as_str(), path.display())]
    Io { op: IoOp, path: PathBuf, offset: Option<u64>, attempts: u32, source: io::Error },
    #[error("{} is no sound Arrow file", path.display())]
    Arrow { path: PathBuf, source: aq_io::calibration::ArrowError },
    #[error("{} is no sound Parquet file", path.display())]
    Parquet { path: PathBuf, source: aq_io::calibration::ParquetError },
    #[error("{} is not valid JSON", path.display())]
    Serde { path: PathBuf, line: usize, column: usize, source: serde_json::Error },
    #[error("internal error: {message}")]
    Internal { message: String, location: Option<String>, panic: bool },
    #[error("{} exists", path.display())]
    OutputExists { path: PathBuf },
    #[error("{} is {detected}", path.display())]
    UnsupportedFormat { path: PathBuf, detected: String },
    #[error("tensor {tensor} has dtype {dtype}")]
    UnsupportedDtype { path: PathBuf, tensor: String, dtype: String },
    #[error("{} is damaged", .0.path.display())]
    CorruptModel(Box<Damage>),
    #[error("tensor {tensor} holds values that are not finite")]
    NonFiniteWeights { path: PathBuf, tensor: String, index: Vec<u64>, value: f32, count: u64 },
    #[error("the disk of {} is full", path.display())]
    OutOfDisk { path: PathBuf, required: u64, available: Option<u64>, source: Option<io::Error> },
    #[error("out of memory")]
    OutOfMemory { pool: Pool, cause: MemoryCause, requested: u64, limit: u64, tensor: Option<String> },
    #[error("timed out after {elapsed_ms} ms")]
    Timeout { clock: StopSource, limit_ms: u64, elapsed_ms: u64, phase: Phase, abandoned: bool },
    #[error("device {device} is not available")]
    DeviceUnavailable { device: String, reason: Unavailable },
    #[error("device {device} failed")]
    DeviceFailed { device: String, op: &'static str, status: Option<String>, sticky: bool, retry_after_ms: Option<u64> },
    #[error("{} was made with other settings", path.display())]
    ResumeMismatch { path: PathBuf, issues: Issues },
    #[error("{} is being written by another job", path.display())]
    OutputBusy { path: PathBuf, pid: Option<u32> },
    #[error("aborted")]
    Cancelled { phase: Phase, staged: Staged, abandoned: bool },
}

impl QuantError {
    /// The code callers see.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidConfig(issues) => match issues.first().map(|i| i.code) {
                Some(code) if issues.iter().all(|i| i.code == code) => code,
                _ => ErrorCode::InvalidConfig,
            },
            Self::ValidationFailed(_) => ErrorCode::ValidationFailed,
            Self::ModelNotFound { .. } => ErrorCode::ModelNotFound,
            Self::Metadata { .. } => ErrorCode::Metadata,
            Self::UnknownModality { .. } => ErrorCode::UnknownModality,
            Self::ShapeMismatch { .. } => ErrorCode::ShapeMismatch,
            Self::QuantizationFailed { .. } => ErrorCode::QuantizationFailed,
            Self::Io { .. } => ErrorCode::Io,
            Self::Arrow { .. } => ErrorCode::Arrow,
            Self::Parquet { .. } => ErrorCode::Parquet,
            Self::Serde { .. } => ErrorCode::Serde,
            Self::Internal { .. } => ErrorCode::Internal,
            Self::OutputExists { .. } => ErrorCode::OutputExists,
            Self::UnsupportedFormat { .. } => ErrorCode::UnsupportedFormat,
            Self::UnsupportedDtype { .. } => ErrorCode::UnsupportedDtype,
            Self::CorruptModel(_) => ErrorCode::CorruptModel,
            Self::NonFiniteWeights { .. } => ErrorCode::NonFiniteWeights,
            Self::OutOfDisk { .. } => ErrorCode::OutOfDisk,
            Self::OutOfMemory { .. } => ErrorCode::OutOfMemory,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::DeviceUnavailable { .. } => ErrorCode::DeviceUnavailable,
            Self::DeviceFailed { .. } => ErrorCode::DeviceFailed,
            Self::ResumeMismatch { .. } => ErrorCode::ResumeMismatch,
            Self::OutputBusy { .. } => ErrorCode::OutputBusy,
            Self::Cancelled { .. } => ErrorCode::Aborted,
        }
    }

    /// Who can act: the catalogue's word, but for file operations, where the errno decides.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => from_io::kind_of(source),
            Self::OutOfMemory { cause: MemoryCause::Budget, .. } => Kind::User,
            Self::OutOfMemory { cause: MemoryCause::Refused, .. } => Kind::Transient,
            Self::DeviceFailed { sticky: true, .. } => Kind::System,
            _ => self.code().row().kind,
        }
    }

    /// Milliseconds after which a repeat makes sense.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Io { .. } if self.kind() == Kind::Transient => Some(5_000),
            Self::OutputBusy { .. } => Some(1_000),
            Self::DeviceFailed { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// Sentence and advice.
    pub fn texts(&self) -> Texts {
        texts::texts(self)
    }
}

/// A failed job: the error, and where and when.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: QuantError,
    /// Where and when.
    pub context: ErrorContext,
    /// What had been done.
    pub partial: Option<PartialReport>,
}
