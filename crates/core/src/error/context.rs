//! Where and when a job failed; the same for every code.

use crate::progress::Phase;
use serde::Serialize;

/// Where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct ErrorContext {
    /// The public function.
    pub operation: String,
    /// How far the job had come.
    pub phase: Phase,
    /// Eight hexadecimal digits.
    pub job_id: Option<String>,
    /// ISO 8601, UTC.
    pub timestamp: String,
    /// Since the call.
    pub elapsed_ms: u64,
    /// Input.
    pub model_path: Option<String>,
    /// Output.
    pub output_path: Option<String>,
    /// The file at hand.
    pub file: Option<String>,
    /// The place in it.
    pub offset: Option<u64>,
    /// The layer at hand.
    pub layer: Option<String>,
    /// The device at hand.
    pub device: Option<String>,
    /// Which try it was.
    pub attempt: u32,
}
