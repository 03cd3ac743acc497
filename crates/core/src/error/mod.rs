//! The error layer's vocabulary: codes, their catalogue, configuration issues, context. The enum of failures itself lives in the engine.

mod catalog;
mod code;
mod context;
mod issue;
mod text;

pub use catalog::{Category, Class, Kind, Row, Severity};
pub use code::ErrorCode;
pub use context::ErrorContext;
pub use issue::{ConfigIssue, IssueSource};
pub use text::{bytes_text, quoted, visible};
