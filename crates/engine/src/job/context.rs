//! What every worker of a job needs to know.

use crate::control::Control;
use crate::plan::Plan;
use aq_core::ResolvedConfig;
use aq_io::layout::Layout;
use aq_kernels::Tuning;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by the workers of a job.
pub struct JobContext<'a> {
    /// Stop flag and progress.
    pub control: &'a Control,
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// What is to be done.
    pub plan: &'a Plan,
    /// How bytes are laid out.
    pub layout: &'static dyn Layout,
    /// Switches of the search.
    pub tuning: Tuning,
    /// Lowest index of a task that failed; later ones need not start, earlier ones may still fail and then win.
    failed: AtomicUsize,
}

impl<'a> JobContext<'a> {
    /// For one job.
    pub fn new(control: &'a Control, config: &'a ResolvedConfig, plan: &'a Plan, layout: &'static dyn Layout) -> Self {
        Self { control, config, plan, layout, tuning: Tuning::default(), failed: AtomicUsize::new(usize::MAX) }
    }

    /// Notes a failed task.
    pub fn fail(&self, task: usize) {
        self.failed.fetch_min(task, Ordering::Relaxed);
    }

    /// Whether a task before this one has failed.
    pub fn is_pointless(&self, task: usize) -> bool {
        self.failed.load(Ordering::Relaxed) < task
    }
}
