//! What a running job shares with its caller: the stop flag, the progress, and the figures an error's context needs.

use crate::error::QuantError;
use crate::progress::Reporter;
use aq_core::{CancelToken, Phase, ProgressSink};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A job's side of the conversation with its caller.
pub struct Control {
    cancel: CancelToken,
    /// Progress so far.
    pub progress: Reporter,
    /// When the job began.
    pub started: Instant,
    /// Milliseconds from the start that the job may take.
    limit: OnceLock<u64>,
}

impl Control {
    /// For one job.
    pub fn new(cancel: CancelToken, sink: Arc<dyn ProgressSink>) -> Self {
        let started = Instant::now();
        Self { cancel, progress: Reporter::new(sink, started), started, limit: OnceLock::new() }
    }

    /// Limits the job's time, counted from its start; the first call counts.
    pub fn limit(&self, milliseconds: u64) {
        self.limit.get_or_init(|| milliseconds);
    }

    /// `Err` once the caller asked to stop or the time is over; polled once per row block.
    pub fn check(&self) -> Result<(), QuantError> {
        self.cancel.check().map_err(|_| QuantError::Cancelled { phase: self.phase() })?;
        let elapsed_ms = || self.started.elapsed().as_millis() as u64;
        match self.limit.get() {
            Some(&limit_ms) if elapsed_ms() >= limit_ms => {
                Err(QuantError::Timeout { limit_ms, elapsed_ms: elapsed_ms(), phase: self.phase() })
            }
            _ => Ok(()),
        }
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
