//! Events across the thread boundary: weak, so that they never keep the process alive; one in flight. A newer progress event replaces the
//! one that waits; notices wait in line.

use aq_core::{Numbered, ProgressEvent, ProgressSink};
use aq_io::fault::{self, Site};
use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The callback as the job's threads hold it.
pub type Callback = ThreadsafeFunction<String, (), String, Status, false, true>;

#[derive(Default)]
struct Flight {
    busy: bool,
    waiting: Option<String>,
    notices: VecDeque<String>,
}

impl Flight {
    fn next(&mut self) -> Option<String> {
        self.notices.pop_front().or_else(|| self.waiting.take())
    }
}

/// Sends events to JavaScript.
pub struct JsSink {
    callback: Arc<Callback>,
    flight: Arc<Mutex<Flight>>,
}

impl JsSink {
    /// For one job.
    pub fn new(callback: Callback) -> Self {
        Self { callback: Arc::new(callback), flight: Arc::default() }
    }
}

impl ProgressSink for JsSink {
    fn event(&self, event: ProgressEvent) {
        fault::hit(Site::Callback);
        let Ok(text) = serde_json::to_string(&event) else { return };
        self.push(|flight| flight.waiting = Some(text));
    }

    fn notice(&self, notice: &Numbered) {
        let Ok(text) = serde_json::to_string(notice) else { return };
        self.push(|flight| flight.notices.push_back(text));
    }
}

impl JsSink {
    fn push(&self, add: impl FnOnce(&mut Flight)) {
        let mut flight = lock(&self.flight);
        add(&mut flight);
        if flight.busy {
            return;
        }
        let next = flight.next();
        flight.busy = next.is_some();
        drop(flight);
        if let Some(text) = next {
            send(&self.callback, self.flight.clone(), text);
        }
    }
}

fn lock(flight: &Mutex<Flight>) -> std::sync::MutexGuard<'_, Flight> {
    flight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bounded queue would leak what it refuses; so at most one call is queued, and its completion sends what waited.
fn send(callback: &Arc<Callback>, flight: Arc<Mutex<Flight>>, text: String) {
    let again = callback.clone();
    callback.call_with_return_value(text, ThreadsafeFunctionCallMode::NonBlocking, move |_returned, _env| {
        let mut state = lock(&flight);
        let next = state.next();
        state.busy = next.is_some();
        drop(state);
        if let Some(text) = next {
            send(&again, flight, text);
        }
        Ok(())
    });
}
