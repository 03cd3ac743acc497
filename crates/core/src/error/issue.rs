//! One wrong option.

use super::code::ErrorCode;
use serde::Serialize;

/// Where a wrong value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum IssueSource {
    Option,
    Cli,
    Env,
    File,
    Journal,
}

/// One wrong option: where, what was wanted, what came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigIssue {
    /// `bitWidth`, `layerBitWidths["x"]`.
    pub path: String,
    /// The exact text of the option table.
    pub expected: String,
    /// The value, with its type.
    pub received: String,
    /// One sentence.
    pub message: String,
    /// The option's own code.
    #[serde(serialize_with = "code_text")]
    pub code: ErrorCode,
    /// Where the value came from.
    pub source: IssueSource,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn code_text<S: serde::Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

impl ConfigIssue {
    /// With the usual sentence.
    pub fn new(code: ErrorCode, path: impl Into<String>, expected: impl Into<String>, received: impl Into<String>) -> Self {
        let (path, expected, received) = (path.into(), expected.into(), received.into());
        let message = format!("Expected {expected} for {path} but received {received}.");
        Self { path, expected, received, message, code, source: IssueSource::Option }
    }

    /// A number that is out of place.
    pub fn number(code: ErrorCode, path: &str, expected: &str, value: impl std::fmt::Display) -> Self {
        Self::new(code, path, expected, format!("{value} (number)"))
    }

    /// A string that is out of place.
    pub fn text(path: impl Into<String>, expected: &str, value: &str) -> Self {
        let cut: String = value.chars().take(60).collect();
        Self::new(ErrorCode::InvalidConfig, path, expected, format!("\"{cut}\" (string)"))
    }
}
