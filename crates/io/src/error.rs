//! What can go wrong with files. Closed; every variant carries data, the engine turns it into words.

use crate::errno::{self, ErrnoClass};
use crate::fault::Site;
use aq_core::StopSource;
use std::io;
use std::path::{Path, PathBuf};

/// A file operation, named as in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the operations")]
pub enum IoOp {
    Stat,
    Open,
    List,
    Read,
    Create,
    Mkdir,
    Write,
    Sync,
    Rename,
    Link,
    Remove,
    Lock,
}

impl IoOp {
    /// The word in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Open => "open",
            Self::List => "list",
            Self::Read => "read",
            Self::Create => "create",
            Self::Mkdir => "mkdir",
            Self::Write => "write",
            Self::Sync => "fsync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::Lock => "lock",
        }
    }

    /// Where a fault on purpose can strike it.
    pub const fn site(self) -> Option<Site> {
        match self {
            Self::Open | Self::Create => Some(Site::Open),
            Self::Read => Some(Site::Read),
            Self::Write => Some(Site::Write),
            Self::Sync => Some(Site::Fsync),
            Self::Rename => Some(Site::Rename),
            Self::Mkdir => Some(Site::Mkdir),
            Self::Remove => Some(Site::Unlink),
            Self::Stat | Self::List | Self::Link | Self::Lock => None,
        }
    }

    /// Whether it is done to the output, so that a full disk is told as such.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Mkdir | Self::Write | Self::Sync | Self::Rename | Self::Link)
    }
}

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The path itself.
    Model,
    /// A folder without a weight file.
    Weights,
    /// A shard that an index names.
    Shard,
    /// A share of a job.
    Share,
}

/// What is wrong with a model's own account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataProblem {
    /// A field is absent.
    FieldMissing,
    /// A field has the wrong type: what it must be, what was found.
    FieldType {
        /// Wanted type.
        expected: &'static str,
        /// Type found.
        found: String,
    },
    /// Two files disagree: the other file, and about what.
    Contradiction {
        /// The other file.
        other: PathBuf,
        /// Subject of the disagreement.
        about: String,
    },
    /// A name leads out of the model folder.
    Outside {
        /// The name.
        name: String,
    },
    /// Several weight files could be meant.
    Ambiguous {
        /// Their names.
        candidates: Vec<String>,
    },
    /// A format version newer than this program knows.
    Version {
        /// Version found.
        found: u64,
        /// Newest version known.
        newest: u64,
    },
}

/// How a safetensors file is damaged; the names are those of `details.defect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as_str and the error specification describe each")]
pub enum Defect {
    TooShort,
    HeaderLength,
    HeaderEncoding,
    HeaderJson,
    HeaderEntry,
    DuplicateName,
    TooManyTensors,
    OffsetOrder,
    OffsetRange,
    OffsetOverlap,
    OffsetGap,
    SizeMismatch,
    ArithmeticOverflow,
    TrailingBytes,
    ChangedWhileReading,
    ParquetFooter,
    Checksum,
}

impl Defect {
    /// The name in `details.defect`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too-short",
            Self::HeaderLength => "header-length",
            Self::HeaderEncoding => "header-encoding",
            Self::HeaderJson => "header-json",
            Self::HeaderEntry => "header-entry",
            Self::DuplicateName => "duplicate-name",
            Self::TooManyTensors => "too-many-tensors",
            Self::OffsetOrder => "offset-order",
            Self::OffsetRange => "offset-range",
            Self::OffsetOverlap => "offset-overlap",
            Self::OffsetGap => "offset-gap",
            Self::SizeMismatch => "size-mismatch",
            Self::ArithmeticOverflow => "arithmetic-overflow",
            Self::TrailingBytes => "trailing-bytes",
            Self::ChangedWhileReading => "changed-while-reading",
            Self::ParquetFooter => "parquet-footer",
            Self::Checksum => "checksum",
        }
    }
}

/// A number from a hostile file: it travels as decimal text, since it may not fit what reads it.
pub struct Number(String);

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

impl From<String> for Number {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A damaged file: where and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The tensor at hand.
    pub tensor: Option<String>,
    /// Place in the file.
    pub offset: Option<u64>,
    /// The defect.
    pub defect: Defect,
    /// The number the file declares, as decimal text.
    pub declared: Option<String>,
    /// The number it must not pass or must equal.
    pub limit: Option<String>,
}

/// What can go wrong with files.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named for what they hold")]
pub enum IoError {
    /// The operating system refused, as often as it was asked.
    #[error("{} {} failed", op.as_str(), path.display())]
    File { op: IoOp, path: PathBuf, offset: Option<u64>, attempts: u32, source: io::Error },
    /// The job is to stop; noticed while an operation waited to be repeated.
    #[error("the job was stopped")]
    Stopped(StopSource),
    /// Memory for a file's header could not be had.
    #[error("{requested} bytes could not be allocated")]
    OutOfMemory { requested: u64 },
    /// Something is not there.
    #[error("{} does not exist", path.display())]
    NotFound { path: PathBuf, what: Missing, referenced_by: Option<PathBuf>, source: Option<io::Error> },
    /// A safetensors file is damaged.
    #[error("{} is damaged: {}", .0.path.display(), .0.defect.as_str())]
    Corrupt(Box<Damage>),
    /// A JSON file cannot be parsed.
    #[error("{} is not valid JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// A model's account of itself is wrong.
    #[error("metadata of {} is wrong", path.display())]
    Metadata { path: PathBuf, field: Option<String>, problem: MetadataProblem },
    /// Not a format that is read.
    #[error("{} is {detected}", path.display())]
    Unsupported { path: PathBuf, detected: String },
    /// An element type that is not supported.
    #[error("tensor {tensor} in {} has dtype {dtype}", path.display())]
    Dtype { path: PathBuf, tensor: String, dtype: String },
    /// Another job writes this output.
    #[error("{} is being written by another job", path.display())]
    Busy { path: PathBuf, pid: Option<u32> },
    /// Something is at the output path already.
    #[error("{} exists", path.display())]
    OutputExists { path: PathBuf },
}

impl IoError {
    /// With the place in the file, where the operating system refused.
    #[must_use]
    pub fn at(mut self, place: u64) -> Self {
        if let Self::File { offset, .. } = &mut self {
            *offset = Some(place);
        }
        self
    }

    /// A damaged file without numbers.
    pub fn damaged(path: &Path, tensor: Option<&str>, defect: Defect) -> Self {
        Self::Corrupt(Box::new(Damage {
            path: path.to_path_buf(),
            tensor: tensor.map(Into::into),
            offset: None,
            defect,
            declared: None,
            limit: None,
        }))
    }

    /// The same with the number declared and its limit.
    pub fn damaged_by(path: &Path, tensor: Option<&str>, defect: Defect, declared: impl Into<Number>, limit: impl Into<Number>) -> Self {
        Self::Corrupt(Box::new(Damage {
            path: path.to_path_buf(),
            tensor: tensor.map(Into::into),
            offset: None,
            defect,
            declared: Some(declared.into().0),
            limit: Some(limit.into().0),
        }))
    }
}

/// Whether a failure of the disk stays what it is when it happens inside another library's reader. Otherwise it is taken for damage: a bad
/// footer, too, shows as a seek that the system refuses.
pub(crate) fn keeps_its_kind(error: &IoError) -> bool {
    match error {
        IoError::File { source, .. } => {
            errno::class(source) == ErrnoClass::Transient || matches!(errno::name(source).as_str(), "EIO" | "EACCES" | "EPERM")
        }
        _ => true,
    }
}
