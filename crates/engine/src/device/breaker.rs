//! The circuit breaker of a device: after failures in a row it is left alone for a while, then one trial decides.
//!
//! ```text
//! CLOSED --5 failures in a row (a success resets)--> OPEN(60 s) --elapsed--> HALF_OPEN --one trial works--> CLOSED
//! HALF_OPEN --trial fails--> OPEN(2 x last, at most 600 s)        any --sticky--> LATCHED (until the process ends)
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const MOST_FAILURES: u32 = 5;
/// The fault build counts milliseconds for seconds.
const UNIT: Duration = if aq_io::fault::ENABLED { Duration::from_millis(1) } else { Duration::from_secs(1) };
const FIRST_OPEN: u32 = 60;
const LONGEST_OPEN: u32 = 600;

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The device is used.
    Closed,
    /// It is left alone.
    Open,
    /// One piece of work tries it.
    HalfOpen,
    /// It is dead until the process ends.
    Latched,
}

impl BreakerState {
    /// The name in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Latched => "latched",
        }
    }
}

/// Whether the device may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As always.
    Go,
    /// As the one trial.
    Trial,
    /// Not now: time left, none when never again.
    Refused(Option<Duration>),
}

/// A change of state, to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: BreakerState,
    /// After.
    pub to: BreakerState,
    /// How long it stays open.
    pub open: Option<Duration>,
}

#[derive(Debug)]
struct Inner {
    state: BreakerState,
    failures: u32,
    open_units: u32,
    until: Duration,
}

/// A device's circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    inner: Mutex<Inner>,
    /// Time since some start; injected for tests.
    clock: fn() -> Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Self::with_clock(|| START.elapsed())
    }
}

impl Breaker {
    fn with_clock(clock: fn() -> Duration) -> Self {
        let inner = Inner { state: BreakerState::Closed, failures: 0, open_units: FIRST_OPEN, until: Duration::ZERO };
        Self { inner: Mutex::new(inner), clock }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is doing.
    pub fn state(&self) -> BreakerState {
        self.inner().state
    }

    /// Asks for the device.
    pub fn ask(&self) -> (Pass, Option<Change>) {
        let mut inner = self.inner();
        let now = (self.clock)();
        match inner.state {
            BreakerState::Closed => (Pass::Go, None),
            BreakerState::Latched => (Pass::Refused(None), None),
            BreakerState::HalfOpen => (Pass::Refused(Some(Duration::ZERO)), None), // somebody's trial is under way
            BreakerState::Open if now < inner.until => (Pass::Refused(Some(inner.until.saturating_sub(now))), None),
            BreakerState::Open => (Pass::Trial, Some(change(&mut inner, BreakerState::HalfOpen, None))),
        }
    }

    /// The work succeeded on the device.
    pub fn succeeded(&self) -> Option<Change> {
        let mut inner = self.inner();
        inner.failures = 0;
        if inner.state != BreakerState::HalfOpen {
            return None;
        }
        inner.open_units = FIRST_OPEN;
        Some(change(&mut inner, BreakerState::Closed, None))
    }

    /// The work failed on the device.
    pub fn failed(&self) -> Option<Change> {
        let mut inner = self.inner();
        inner.failures += 1;
        match inner.state {
            BreakerState::HalfOpen => inner.open_units = (inner.open_units * 2).min(LONGEST_OPEN),
            BreakerState::Closed if inner.failures >= MOST_FAILURES => {}
            _ => return None,
        }
        inner.failures = 0;
        let open = UNIT * inner.open_units;
        inner.until = (self.clock)() + open;
        Some(change(&mut inner, BreakerState::Open, Some(open)))
    }

    /// The device is dead.
    pub fn latch(&self) -> Option<Change> {
        let mut inner = self.inner();
        (inner.state != BreakerState::Latched).then(|| change(&mut inner, BreakerState::Latched, None))
    }
}

fn change(inner: &mut Inner, to: BreakerState, open: Option<Duration>) -> Change {
    let from = std::mem::replace(&mut inner.state, to);
    Change { from, to, open }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    static NOW: AtomicU64 = AtomicU64::new(0);

    fn at(units: u32) {
        NOW.store((UNIT * units).as_millis() as u64, Ordering::SeqCst);
    }

    #[test]
    fn states_follow_the_drawing() {
        let breaker = Breaker::with_clock(|| Duration::from_millis(NOW.load(Ordering::SeqCst)));
        at(0);
        for _ in 0..4 {
            assert_eq!(breaker.failed(), None);
        }
        assert_eq!(breaker.succeeded(), None); // resets the count
        for _ in 0..4 {
            assert_eq!(breaker.failed(), None);
        }
        let opened = breaker.failed().unwrap();
        assert_eq!((opened.from, opened.to, opened.open), (BreakerState::Closed, BreakerState::Open, Some(UNIT * 60)));
        at(59);
        assert_eq!(breaker.ask().0, Pass::Refused(Some(UNIT)));
        at(60);
        assert_eq!(breaker.ask().0, Pass::Trial);
        assert_eq!(breaker.ask().0, Pass::Refused(Some(Duration::ZERO))); // one trial at a time
        assert_eq!(breaker.failed().unwrap().open, Some(UNIT * 120));
        at(180);
        assert_eq!(breaker.ask().0, Pass::Trial);
        assert_eq!(breaker.succeeded().unwrap().to, BreakerState::Closed);
        assert_eq!(breaker.ask().0, Pass::Go);
        for _ in 0..4 {
            breaker.failed();
        }
        assert_eq!(breaker.failed().unwrap().open, Some(UNIT * 60)); // a success forgives the doubling
        assert_eq!(breaker.latch().unwrap().to, BreakerState::Latched);
        at(100_000);
        assert_eq!(breaker.ask().0, Pass::Refused(None));
        assert_eq!(breaker.latch(), None);
        for _ in 0..20 {
            breaker.failed();
        }
        assert_eq!(breaker.state(), BreakerState::Latched);
    }
}
