//! What a job notes while it runs: warnings, repeats, steps down, layers done, failures. Report and partial report are made from it.

use aq_core::report::{Degradation, LayerReport, OtherFailure, PartialReport, Retry, Warning};
use aq_core::{Notice, Numbered, ProgressSink};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MOST_WARNINGS: usize = 100;
const MOST_FAILURES: usize = 100;
/// Repeats are bounded by the job's budget, fallbacks only by the number of layers.
const MOST_NOTICES: usize = 1000;

#[derive(Default)]
struct State {
    seq: u64,
    notices: Vec<Numbered>,
    retries: Vec<Retry>,
    degradations: Vec<Degradation>,
    /// Each with the output that it is about.
    warnings: Vec<(usize, Warning)>,
    more_warnings: usize,
    /// Of several outputs, the one at hand.
    output: usize,
    layers: Vec<LayerReport>,
    failures: BTreeMap<usize, OtherFailure>,
    at_layer: Option<String>,
    config: Option<Value>,
    kept: bool,
}

/// The notes of one job.
pub struct Ledger {
    sink: Arc<dyn ProgressSink>,
    state: Mutex<State>,
}

impl Ledger {
    /// Notices go to `sink` at once.
    pub fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self { sink, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lists that a panic elsewhere leaves whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State, notice: Notice) {
        state.seq += 1;
        let numbered = Numbered { seq: state.seq, notice };
        self.sink.notice(&numbered);
        if state.notices.len() < MOST_NOTICES {
            state.notices.push(numbered);
        }
    }

    /// A repeated file operation.
    pub fn retried(&self, retry: Retry) {
        let mut state = self.state();
        state.retries.push(retry.clone());
        self.tell(&mut state, Notice::Retry(retry));
    }

    /// A step down that changes no byte.
    pub fn degraded(&self, what: &'static str, from: String, to: String, reason: String) {
        tracing::warn!(what, from, to, reason, "degraded");
        let mut state = self.state();
        let degradation = Degradation { what, from, to, reason };
        state.degradations.push(degradation.clone());
        self.tell(&mut state, Notice::Degrade(degradation));
    }

    /// Something else that happened.
    pub fn notice(&self, notice: Notice) {
        let mut state = self.state();
        self.tell(&mut state, notice);
    }

    /// A warning.
    pub fn warn(&self, warning: Warning) {
        let mut state = self.state();
        if state.warnings.len() < MOST_WARNINGS {
            let output = state.output;
            state.warnings.push((output, warning));
        } else {
            state.more_warnings += 1;
        }
    }

    /// What follows is about another output of the job.
    pub fn output(&self, number: usize) {
        self.state().output = number;
    }

    /// A finished layer.
    pub fn layer(&self, layer: LayerReport) {
        self.state().layers.push(layer);
    }

    /// A failed task, by its index in the plan.
    pub fn failed(&self, index: usize, failure: OtherFailure) {
        let mut state = self.state();
        state.failures.insert(index, failure);
        if state.failures.len() > MOST_FAILURES {
            state.failures.pop_last();
        }
    }

    /// The failure that is told is none of the others; where it happened is kept for its context.
    pub fn told(&self, index: usize) {
        let mut state = self.state();
        state.at_layer = state.failures.remove(&index).map(|f| f.layer);
    }

    /// Where the failure that is told happened.
    pub fn at_layer(&self) -> Option<String> {
        self.state().at_layer.clone()
    }

    /// The configuration after defaults.
    pub fn config(&self, config: Value) {
        self.state().config = Some(config);
    }

    /// What was staged stays for a job that resumes.
    pub fn keep(&self) {
        self.state().kept = true;
    }

    /// Whether something was kept for a job that resumes.
    pub fn kept(&self) -> bool {
        self.state().kept
    }

    /// All notices so far.
    pub fn notices(&self) -> Vec<Numbered> {
        self.state().notices.clone()
    }

    /// Repeats so far.
    pub fn retries(&self) -> Vec<Retry> {
        self.state().retries.clone()
    }

    /// Steps down so far.
    pub fn degradations(&self) -> Vec<Degradation> {
        self.state().degradations.clone()
    }

    /// Warnings noted so far about the output at hand.
    pub fn warnings(&self) -> Vec<Warning> {
        let output = self.state().output;
        self.warnings_of(|o| o == output)
    }

    fn warnings_of(&self, wanted: impl Fn(usize) -> bool) -> Vec<Warning> {
        let state = self.state();
        let mut list: Vec<Warning> = state.warnings.iter().filter(|(o, _)| wanted(*o)).map(|(_, w)| w.clone()).collect();
        if state.more_warnings > 0 {
            let count = state.more_warnings;
            let message = format!("{count} more warning(s) were not kept.");
            list.push(Warning { code: "AQ_WARN_MORE", message, details: json!({"count": count}) });
        }
        list
    }

    /// Warnings that repeats and steps down make: complete only at the very end of a job.
    pub fn healing(&self) -> Vec<Warning> {
        let state = self.state();
        let mut list = Vec::new();
        if !state.retries.is_empty() {
            let count = state.retries.len();
            let message = format!("{count} file operation(s) were repeated after a transient error.");
            list.push(Warning { code: "AQ_WARN_RETRIED", message, details: json!({"count": count}) });
        }
        for (what, code) in [("memory", "AQ_WARN_DEGRADED_MEMORY"), ("device", "AQ_WARN_DEGRADED_DEVICE")] {
            let mut steps = state.degradations.iter().filter(|d| d.what == what);
            if let Some(first) = steps.next() {
                let count = 1 + steps.count();
                let message =
                    format!("The job went on with less ({} to {}, {}); the output is the same.", first.from, first.to, first.reason);
                list.push(Warning { code, message, details: json!({"count": count}) });
            }
        }
        list
    }

    /// What a failed job had done; `None` where nothing had happened yet.
    pub fn partial(&self) -> Option<PartialReport> {
        let warnings: Vec<Warning> = self.warnings_of(|_| true).into_iter().chain(self.healing()).collect();
        let state = self.state();
        let nothing = state.layers.is_empty() && state.failures.is_empty() && state.notices.is_empty() && warnings.is_empty();
        if nothing {
            return None;
        }
        Some(PartialReport {
            resolved_config: state.config.clone(),
            layers: state.layers.clone(),
            failures: state.failures.values().cloned().collect(),
            retries: state.retries.clone(),
            degradations: state.degradations.clone(),
            warnings,
        })
    }
}
