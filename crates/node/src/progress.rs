//! Progress across the thread boundary: weak, so that it never keeps the process alive; one event in flight, newer ones replacing older.

use aq_core::{ProgressEvent, ProgressSink};
use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use std::sync::{Arc, Mutex, PoisonError};

/// The callback as the job's threads hold it.
pub type Callback = ThreadsafeFunction<String, (), String, Status, false, true>;

#[derive(Default)]
struct Flight {
    busy: bool,
    waiting: Option<String>,
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
        let Ok(text) = serde_json::to_string(&event) else { return };
        let mut flight = lock(&self.flight);
        if flight.busy {
            flight.waiting = Some(text);
            return;
        }
        flight.busy = true;
        drop(flight);
        send(&self.callback, self.flight.clone(), text);
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
        let next = state.waiting.take();
        state.busy = next.is_some();
        drop(state);
        if let Some(text) = next {
            send(&again, flight, text);
        }
        Ok(())
    });
}
