//! What a running job shares with its caller: the stop flag, the progress, and the figures an error's context needs.

use crate::error::QuantError;
use crate::progress::Reporter;
use aq_core::{CancelToken, Phase, ProgressSink};
use std::sync::Arc;
use std::time::Instant;

/// A job's side of the conversation with its caller.
pub struct Control {
    cancel: CancelToken,
    /// Progress so far.
    pub progress: Reporter,
    /// When the job began.
    pub started: Instant,
}

impl Control {
    /// For one job.
    pub fn new(cancel: CancelToken, sink: Arc<dyn ProgressSink>) -> Self {
        let started = Instant::now();
        Self { cancel, progress: Reporter::new(sink, started), started }
    }

    /// `Err` once the caller asked to stop; polled once per row block.
    pub fn check(&self) -> Result<(), QuantError> {
        self.cancel.check().map_err(|_| QuantError::Cancelled { phase: self.phase() })
    }

    /// Whether the caller asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// How far the job has come.
    pub fn phase(&self) -> Phase {
        self.progress.phase()
    }

    /// Enters the next phase, unless the caller asked to stop.
    pub fn enter(&self, phase: Phase) -> Result<(), QuantError> {
        self.check()?;
        self.progress.enter(phase);
        Ok(())
    }
}
