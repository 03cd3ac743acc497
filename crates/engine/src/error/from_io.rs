//! From file errors to job errors. The number decides, never the text.

use super::QuantError;
use aq_core::error::Kind;
use aq_io::IoError;
use aq_io::os::errno_name;
use std::io;

/// Kind of an operating system error, by its name on this system.
pub fn kind_of(error: &io::Error) -> Kind {
    match errno_name(error).as_str() {
        "EAGAIN" | "EBUSY" | "ETXTBSY" | "ESTALE" | "ETIMEDOUT" | "EMFILE" | "ENFILE" | "ENOLCK" => Kind::Transient,
        "EACCES" | "EPERM" | "EROFS" | "EISDIR" | "ENOTDIR" | "ENAMETOOLONG" | "ELOOP" | "EINVAL" | "ENOTEMPTY" => Kind::User,
        _ => Kind::System,
    }
}

impl From<IoError> for QuantError {
    fn from(error: IoError) -> Self {
        match error {
            IoError::File { path, source, .. } if matches!(errno_name(&source).as_str(), "ENOSPC" | "EDQUOT" | "EFBIG") => {
                Self::OutOfDisk { path, required: 0, available: None, source: Some(source) }
            }
            IoError::File { op, path, source } => Self::Io { op, path, attempts: 1, source },
            IoError::NotFound { path, what, referenced_by, source } => Self::ModelNotFound { path, what, referenced_by, source },
            IoError::Corrupt(damage) => Self::CorruptModel(damage),
            IoError::Json { path, source } => Self::Serde { path, source },
            IoError::Metadata { path, field, problem } => Self::Metadata { path, field, problem },
            IoError::Unsupported { path, detected } => Self::UnsupportedFormat { path, detected },
            IoError::Dtype { path, tensor, dtype } => Self::UnsupportedDtype { path, tensor, dtype },
            IoError::Busy { path, pid } => Self::OutputBusy { path, pid },
            IoError::OutputExists { path } => Self::OutputExists { path },
        }
    }
}
