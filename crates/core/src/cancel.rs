//! Asks a job to stop, and wakes what waits. Polled once per row block; every wait of a job waits on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who asked for the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSource {
    /// The caller, by its signal.
    Caller,
    /// The JavaScript environment or the process is going down.
    Teardown,
    /// `timeoutMs` is over.
    Deadline,
    /// Nothing moved for `stallTimeoutMs`.
    Stall,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<StopSource>,
    committing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// Copy of `state.stop.is_some()` for the poll in every block.
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

/// Asks a job to stop. Clones share the flag; the first to ask is the one told.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<Shared>);

impl CancelToken {
    fn state(&self) -> MutexGuard<'_, State> {
        // Two flags are valid in any combination, so a panic elsewhere does not make them wrong.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the stop; `false` when it was asked for before, or the job is committing and a stop comes too late.
    pub fn stop(&self, source: StopSource) -> bool {
        let mut state = self.state();
        if state.stop.is_some() || state.committing {
            return false;
        }
        state.stop = Some(source);
        self.0.stopped.store(true, Ordering::Release);
        self.0.changed.notify_all();
        true
    }

    /// [`CancelToken::stop`] by the caller; may be called any number of times.
    pub fn cancel(&self) {
        self.stop(StopSource::Caller);
    }

    /// Who asked for the stop, if anybody.
    pub fn stopped(&self) -> Option<StopSource> {
        if self.0.stopped.load(Ordering::Acquire) { self.state().stop } else { None }
    }

    /// `Err` once the stop was asked for.
    pub fn check(&self) -> Result<(), StopSource> {
        self.stopped().map_or(Ok(()), Err)
    }

    /// The point of no return: `Err` when the stop came first, else no stop counts any more.
    pub fn commit(&self) -> Result<(), StopSource> {
        let mut state = self.state();
        if let Some(source) = state.stop {
            return Err(source);
        }
        state.committing = true;
        Ok(())
    }

    /// Sleeps for `duration`; `Err` as soon as the stop is asked for.
    pub fn wait(&self, duration: Duration) -> Result<(), StopSource> {
        let until = Instant::now() + duration;
        let mut state = self.state();
        loop {
            if let Some(source) = state.stop {
                return Err(source);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_source_is_told_and_ends_waits() {
        let token = CancelToken::default();
        let other = token.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        assert!(token.stop(StopSource::Stall));
        assert!(!token.stop(StopSource::Caller));
        assert_eq!(waiter.join().unwrap(), Err(StopSource::Stall));
        assert_eq!(token.commit(), Err(StopSource::Stall));
    }

    #[test]
    fn a_stop_after_the_commit_is_too_late() {
        let token = CancelToken::default();
        assert_eq!(token.commit(), Ok(()));
        assert!(!token.stop(StopSource::Caller));
        assert_eq!(token.check(), Ok(()));
        assert_eq!(token.wait(Duration::from_millis(1)), Ok(()));
    }
}
