//! What a running job shares with its caller: the stop flag, the clocks, progress and the ledger.

use crate::error::{QuantError, Staged};
use crate::ledger::Ledger;
use crate::progress::Reporter;
use aq_core::report::Retry;
use aq_core::{CancelToken, Phase, ProgressSink, StopSource};
use aq_io::disk::{Disk, Retried, Watch};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Clocks that end a job, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// From the start.
    pub total: Option<u64>,
    /// From the last sign of life.
    pub stall: Option<u64>,
}

/// A job's side of the conversation with its caller.
pub struct Control {
    token: CancelToken,
    /// Progress so far.
    pub progress: Reporter,
    /// What happened so far.
    pub ledger: Ledger,
    /// When the job began.
    pub started: Instant,
    limits: OnceLock<Limits>,
    /// Milliseconds from the start to the last sign of life.
    alive_at: AtomicU64,
}

impl Control {
    /// For one job.
    pub fn new(token: CancelToken, sink: Arc<dyn ProgressSink>) -> Self {
        let started = Instant::now();
        let progress = Reporter::new(sink.clone(), started);
        Self { token, progress, ledger: Ledger::new(sink), started, limits: OnceLock::new(), alive_at: AtomicU64::new(0) }
    }

    /// The file system, for this job.
    pub fn disk(self: &Arc<Self>, retries: u32) -> Disk {
        Disk::new(self.clone(), retries)
    }

    /// Limits the job's time; the first call counts.
    pub fn limit(&self, limits: Limits) {
        self.limits.get_or_init(|| limits);
    }

    /// Milliseconds since the job began.
    pub fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// A clock that is over, if any, and how long until the next one is.
    pub fn clocks(&self) -> (Option<StopSource>, Option<Duration>) {
        let Some(limits) = self.limits.get() else { return (None, None) };
        let now = self.elapsed_ms();
        let total = limits.total.map(|t| (t, StopSource::Deadline));
        let stall = limits.stall.map(|s| (self.alive_at.load(Ordering::Relaxed) + s, StopSource::Stall));
        let next = total.into_iter().chain(stall).min_by_key(|(at, _)| *at);
        match next {
            Some((at, source)) if now >= at => (Some(source), None),
            Some((at, _)) => (None, Some(Duration::from_millis(at - now))),
            None => (None, None),
        }
    }

    /// Who stopped the job, if anybody.
    pub fn stopped(&self) -> Option<StopSource> {
        self.token.stopped()
    }

    /// Asks for a stop.
    pub fn stop(&self, source: StopSource) {
        self.token.stop(source);
    }

    /// `Err` once the job is to stop; polled once per row block.
    pub fn check(&self) -> Result<(), QuantError> {
        self.alive();
        // The control thread sees this too, but a job that it does not watch has to end as well.
        if let (Some(StopSource::Deadline), _) = self.clocks() {
            self.token.stop(StopSource::Deadline);
        }
        self.token.check().map_err(|source| self.stop_error(source, false))
    }

    /// The point of no return: from here on a stop is too late.
    pub fn point_of_no_return(&self) -> Result<(), QuantError> {
        self.check()?;
        self.token.commit().map_err(|source| self.stop_error(source, false))
    }

    /// The error of a stopped job.
    pub fn stop_error(&self, source: StopSource, abandoned: bool) -> QuantError {
        let (phase, elapsed_ms) = (self.phase(), self.elapsed_ms());
        let limits = self.limits.get().copied().unwrap_or_default();
        match source {
            StopSource::Caller | StopSource::Teardown => {
                let staged = if self.ledger.kept() { Staged::Journal } else { Staged::Nothing };
                QuantError::Cancelled { phase, staged, abandoned }
            }
            StopSource::Deadline | StopSource::Stall => {
                let limit = if source == StopSource::Stall { limits.stall } else { limits.total };
                QuantError::Timeout { clock: source, limit_ms: limit.unwrap_or_default(), elapsed_ms, phase, abandoned }
            }
        }
    }

    /// How far the job has come.
    pub fn phase(&self) -> Phase {
        self.progress.phase()
    }

    /// Enters the next phase, unless the job is to stop. No phase comes back: a job with several outputs is in one of them already.
    pub fn enter(&self, phase: Phase) -> Result<(), QuantError> {
        self.check()?;
        if phase < self.phase() {
            return Ok(());
        }
        tracing::debug!(phase = phase.as_str(), "phase");
        self.progress.enter(phase);
        Ok(())
    }
}

impl Watch for Control {
    fn wait(&self, duration: Duration) -> Result<(), StopSource> {
        self.token.wait(duration)
    }

    fn retried(&self, r: Retried) {
        tracing::debug!(op = r.op, errno = r.errno, attempt = r.attempt, delay_ms = r.delay_ms, "retry");
        self.progress.count_retry();
        let Retried { op, path, errno, attempt, delay_ms } = r;
        self.ledger.retried(Retry { op, path: path.to_string_lossy().into_owned(), errno, attempt, delay_ms });
    }

    fn alive(&self) {
        self.alive_at.store(self.elapsed_ms(), Ordering::Relaxed);
    }
}
