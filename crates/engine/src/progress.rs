//! When a progress event is sent, and what it says.
//!
//! At the least every 10 layers and every 5 s and at each phase; in between a few times a second, so that a bar moves inside one long
//! layer. Never more than 20 a second but for phase changes.

use aq_core::{Phase, ProgressEvent, ProgressSink};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LAYERS: u64 = 10;
const OFTEN: Duration = Duration::from_millis(200);
const MOST_OFTEN: Duration = Duration::from_millis(50);
/// Weight of the newest speed in the moving average behind the estimate.
const NEWEST: f64 = 0.3;

#[derive(Default)]
struct State {
    phase: Phase,
    layer: Option<String>,
    layers_done: u64,
    layers_total: u64,
    bytes_done: u64,
    bytes_total: u64,
    fraction: f64,
    layers_sent: u64,
    bytes_sent: u64,
    sent: Option<Instant>,
    /// Bytes per second.
    speed: Option<f64>,
}

/// Counts work and sends events.
pub struct Reporter {
    sink: Arc<dyn ProgressSink>,
    started: Instant,
    state: Mutex<State>,
    retries: AtomicU64,
    degradations: AtomicU64,
}

impl Reporter {
    /// Starts at phase `config`, which is announced by the first [`Reporter::enter`].
    pub fn new(sink: Arc<dyn ProgressSink>, started: Instant) -> Self {
        Self { sink, started, state: Mutex::default(), retries: AtomicU64::new(0), degradations: AtomicU64::new(0) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere does not make the counters wrong.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.with(|s| s.phase)
    }

    /// Counts a repeated file operation.
    pub fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a step down in memory or device.
    pub fn count_degradation(&self) {
        self.degradations.fetch_add(1, Ordering::Relaxed);
    }

    /// Layers finished so far.
    pub fn layers_done(&self) -> u64 {
        self.with(|s| s.layers_done)
    }

    /// Adds to what is ahead.
    pub fn plan(&self, layers: u64, bytes: u64) {
        self.with(|s| {
            s.layers_total += layers;
            s.bytes_total += bytes;
        });
    }

    /// Takes some of it back for something else.
    pub fn replan(&self, bytes: u64, instead: u64) {
        self.with(|s| s.bytes_total = s.bytes_total.saturating_sub(bytes) + instead);
    }

    /// Enters a phase and says so.
    pub fn enter(&self, phase: Phase) {
        self.with(|s| {
            s.phase = phase;
            self.send(s);
        });
    }

    /// Counts source bytes of the layer at hand.
    pub fn bytes(&self, layer: &str, bytes: u64) {
        self.with(|s| {
            s.bytes_done = (s.bytes_done + bytes).min(s.bytes_total);
            if s.layer.as_deref() != Some(layer) {
                s.layer = Some(layer.to_owned());
            }
            self.maybe(s);
        });
    }

    /// Counts a finished layer.
    pub fn layer(&self, layer: &str) {
        self.with(|s| {
            s.layers_done += 1;
            s.layer = Some(layer.to_owned());
            self.maybe(s);
        });
    }

    fn maybe(&self, s: &mut State) {
        let since = s.sent.map_or(Duration::MAX, |t| t.elapsed());
        if since >= OFTEN || (s.layers_done - s.layers_sent >= LAYERS && since >= MOST_OFTEN) {
            self.send(s);
        }
    }

    fn send(&self, s: &mut State) {
        let now = Instant::now();
        let elapsed = now - self.started;
        let since = s.sent.map_or(elapsed, |t| now - t).as_secs_f64();
        let moved = s.bytes_done - s.bytes_sent;
        if since > 0.0 && moved > 0 {
            let newest = moved as f64 / since;
            s.speed = Some(s.speed.map_or(newest, |v| v + NEWEST * (newest - v)));
        }
        let fraction = if s.bytes_total == 0 { 0.0 } else { s.bytes_done as f64 / s.bytes_total as f64 };
        s.fraction = s.fraction.max(fraction.clamp(0.0, 1.0));
        let eta = s.speed.filter(|v| *v > 0.0 && elapsed >= Duration::from_secs(1) && s.layers_done > 0);
        let eta_ms = eta.map(|v| ((s.bytes_total - s.bytes_done) as f64 / v * 1000.0) as u64);
        (s.sent, s.layers_sent, s.bytes_sent) = (Some(now), s.layers_done, s.bytes_done);
        let message = match (&s.layer, s.phase) {
            (Some(layer), Phase::Quantize | Phase::Validate) => format!("{} of {} layers, {layer}", s.layers_done, s.layers_total),
            (_, phase) => phase.as_str().to_owned(),
        };
        self.sink.event(ProgressEvent {
            phase: s.phase,
            fraction: s.fraction,
            layers_done: s.layers_done,
            layers_total: s.layers_total,
            layer: s.layer.clone(),
            bytes_done: s.bytes_done,
            bytes_total: s.bytes_total,
            elapsed_ms: elapsed.as_millis() as u64,
            eta_ms,
            retries: self.retries.load(Ordering::Relaxed),
            degradations: self.degradations.load(Ordering::Relaxed),
            message,
            r#final: false,
        });
    }
}
