//! From file errors to job errors. The number decides, never the text.

use super::{MemoryCause, Pool, QuantError, Staged};
use aq_core::error::Kind;
use aq_core::{Phase, StopSource};
use aq_io::IoError;
use aq_io::errno::{self, ErrnoClass};
use std::io;

/// Kind of an operating system error, by its name on this system.
pub fn kind_of(error: &io::Error) -> Kind {
    match errno::class(error) {
        ErrnoClass::Transient => Kind::Transient,
        ErrnoClass::User => Kind::User,
        ErrnoClass::System => Kind::System,
    }
}

impl From<IoError> for QuantError {
    fn from(error: IoError) -> Self {
        match error {
            IoError::File { op, path, source, .. } if op.writes() && errno::is_full(&source) => {
                Self::OutOfDisk { path, required: 0, available: None, source: Some(source) }
            }
            IoError::File { source, .. } if errno::name(&source) == "ENOMEM" => refused(0),
            IoError::File { op, path, offset, attempts, source } => Self::Io { op, path, offset, attempts, source },
            IoError::OutOfMemory { requested } => refused(requested),
            // Where the stop was noticed, the job's phase and clocks are not known: whoever ends the job fills them in.
            IoError::Stopped(StopSource::Caller | StopSource::Teardown) => {
                Self::Cancelled { phase: Phase::default(), staged: Staged::Nothing, abandoned: false }
            }
            IoError::Stopped(clock) => Self::Timeout { clock, limit_ms: 0, elapsed_ms: 0, phase: Phase::default(), abandoned: false },
            IoError::NotFound { path, what, referenced_by, source } => Self::ModelNotFound { path, what, referenced_by, source },
            IoError::Corrupt(damage) => Self::CorruptModel(damage),
            IoError::Json { path, source } => Self::Serde { path, line: source.line(), column: source.column(), source },
            IoError::Metadata { path, field, problem } => Self::Metadata { path, field, problem },
            IoError::Unsupported { path, detected } => Self::UnsupportedFormat { path, detected },
            IoError::Dtype { path, tensor, dtype } => Self::UnsupportedDtype { path, tensor, dtype },
            IoError::Busy { path, pid } => Self::OutputBusy { path, pid },
            IoError::OutputExists { path } => Self::OutputExists { path },
        }
    }
}

const fn refused(requested: u64) -> QuantError {
    QuantError::OutOfMemory { pool: Pool::Host, cause: MemoryCause::Refused, requested, limit: 0, tensor: None }
}
