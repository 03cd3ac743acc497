//! What every worker of a job needs to know.

use super::blocks::BufferPool;
use super::carry::Carrier;
use super::judge::Judge;
use super::run::Prepared;
use super::second::Recent;
use super::tables::Tables;
use crate::control::Control;
use crate::device::Compute;
use crate::error::QuantError;
use crate::memory::Memory;
use crate::plan::Plan;
use crate::tuning::Tuning;
use aq_core::ResolvedConfig;
use aq_core::report::OtherFailure;
use aq_io::layout::Layout;
use aq_io::source::Source;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by the workers of a job.
pub struct JobContext<'a> {
    /// Stop flag, progress and ledger.
    pub control: &'a Control,
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// The source.
    pub source: &'a Source,
    /// What is to be done.
    pub plan: &'a Plan,
    /// How bytes are laid out.
    pub layout: &'static dyn Layout,
    /// What computes.
    pub compute: &'a Compute,
    /// Memory in permits.
    pub memory: &'a Memory,
    /// Calibration, if there is any.
    pub judge: Option<&'a Judge>,
    /// Where tables over time are laid aside, if there are any.
    pub tables: Option<&'a Tables>,
    /// The log span of the job, for its workers.
    pub span: tracing::Span,
    /// Switches of the search.
    pub tuning: Tuning,
    /// Buffers of the workers.
    pub buffers: BufferPool,
    /// Inputs made ready last.
    recent: Mutex<Recent<'a>>,
    /// Lowest index of a task that failed; later ones need not start, earlier ones may still fail and then win.
    failed: AtomicUsize,
    /// The job was stopped before anything had failed: the stop is what is told.
    stopped_first: AtomicBool,
}

impl<'a> JobContext<'a> {
    /// For one job.
    pub(super) fn new(control: &'a Control, prepared: &'a Prepared, tables: Option<&'a Tables>) -> Self {
        let Prepared { config, source, plan, layout, compute, memory, judge, tuning, .. } = prepared;
        let (failed, stopped_first) = (AtomicUsize::new(usize::MAX), AtomicBool::new(false));
        let span = tracing::Span::current();
        let (layout, judge, tuning, recent, buffers) = (*layout, judge.as_ref(), *tuning, Mutex::default(), BufferPool::default());
        Self { control, config, source, plan, layout, compute, memory, judge, tables, span, tuning, buffers, recent, failed, stopped_first }
    }

    /// What tensors are carried over with.
    pub const fn carrier(&self) -> Carrier<'_> {
        Carrier { control: self.control, memory: self.memory, non_finite: self.config.non_finite }
    }

    /// Inputs made ready last.
    pub fn recent(&self) -> MutexGuard<'_, Recent<'a>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failed task.
    pub fn fail(&self, task: usize, name: &str, error: &QuantError) {
        if self.failed.fetch_min(task, Ordering::Relaxed) == usize::MAX && self.control.stopped().is_some() {
            self.stopped_first.store(true, Ordering::Relaxed);
        }
        if !is_stop(error) {
            let (code, message) = (error.code().as_str(), error.texts().sentence);
            self.control.ledger.failed(task, OtherFailure { layer: name.to_owned(), code, message });
        }
    }

    /// Whether a task before this one has failed.
    pub fn is_pointless(&self, task: usize) -> bool {
        self.failed.load(Ordering::Relaxed) < task
    }

    /// Which of the failures is told, in plan order: the stop if it came first, else the one with the lowest index.
    pub fn told(&self, failures: Vec<(usize, QuantError)>) -> Option<QuantError> {
        let stop_first = self.stopped_first.load(Ordering::Relaxed);
        let wanted = failures.iter().position(|(_, e)| is_stop(e) == stop_first).unwrap_or(0);
        let (index, error) = failures.into_iter().nth(wanted)?;
        self.control.ledger.told(index);
        Some(error)
    }
}

const fn is_stop(error: &QuantError) -> bool {
    matches!(error, QuantError::Cancelled { .. } | QuantError::Timeout { .. })
}
