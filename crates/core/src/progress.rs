//! What a running job tells of itself.

use crate::bits::BitWidth;
use crate::report::{Degradation, Retry};
use serde::Serialize;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Options are checked.
    #[default]
    Config,
    /// Files are found and headers read.
    Open,
    /// Schemes and offsets are decided.
    Plan,
    /// Calibration is read.
    Calibrate,
    /// Layers are encoded.
    Quantize,
    /// Two models are compared.
    Validate,
    /// Files are synced and renamed.
    Commit,
}

impl Phase {
    /// The name in messages and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Open => "open",
            Self::Plan => "plan",
            Self::Calibrate => "calibrate",
            Self::Quantize => "quantize",
            Self::Validate => "validate",
            Self::Commit => "commit",
        }
    }
}

/// One progress event, as the callback gets it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressEvent {
    /// Where the job stands.
    pub phase: Phase,
    /// 0..=1 of the planned bytes; never falls.
    pub fraction: f64,
    /// Layers finished.
    pub layers_done: u64,
    /// Layers planned.
    pub layers_total: u64,
    /// The layer finished or worked on last.
    pub layer: Option<String>,
    /// Source bytes processed.
    pub bytes_done: u64,
    /// Source bytes planned.
    pub bytes_total: u64,
    /// Milliseconds since the job began.
    pub elapsed_ms: u64,
    /// Milliseconds left; `None` until a second has passed and a layer is done.
    pub eta_ms: Option<u64>,
    /// Repeated file operations.
    pub retries: u64,
    /// Steps down in memory or device.
    pub degradations: u64,
    /// One line for people.
    pub message: String,
    /// Set by the facade on the last event only.
    pub r#final: bool,
}

/// Something that happened once and must be told, unlike progress, which only has to be recent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "fields are those of the events in the error specification, section 8")]
pub enum Notice {
    /// A file operation is repeated.
    Retry(Retry),
    /// A step down in memory or device.
    Degrade(Degradation),
    /// A layer missed the threshold and is tried wider.
    Fallback { layer: String, from: BitWidth, to: BitWidth, similarity: f64, threshold: f64 },
    /// A circuit breaker changed.
    Breaker { device: String, from: &'static str, to: &'static str, open_ms: Option<u64> },
}

/// A notice with its place in the job: it may come twice, live and with the outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbered {
    /// From 1.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub notice: Notice,
}

/// Receives progress events, on any thread of the job.
pub trait ProgressSink: Send + Sync {
    /// Takes one event; must not block.
    fn event(&self, event: ProgressEvent);

    /// Takes one notice; must not block. The outcome holds all of them again.
    fn notice(&self, _notice: &Numbered) {}
}

/// For callers who do not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl ProgressSink for Silent {
    fn event(&self, _event: ProgressEvent) {}
}
