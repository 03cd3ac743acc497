//! The only door to the file system. Every operation names itself and its path, is repeated here when its error is transient, counts its
//! attempts, wakes when the job is to stop, and is one place for faults on purpose. `std::fs` elsewhere in this crate is a mistake.
//!
//! ```text
//! RUN --ok--> DONE      RUN --not transient, or fsync--> FAIL      RUN --transient, retries left--> WAIT --slept--> RUN
//! WAIT --stop--> STOPPED                                           RUN --transient, none left--> FAIL (attempts filled in)
//! ```

mod files;
mod input;
mod record;
mod retry;

pub use files::Locked;
pub use input::InputFile;
pub(crate) use input::buffer;
#[cfg(feature = "fault")]
pub use record::{record_changes, recorded_changes};
pub use retry::{DEFAULT_RETRIES, Retried};

use crate::errno::{self, ErrnoClass};
use crate::error::{IoError, IoOp};
use crate::fault::{self, Effect};
use aq_core::{CancelToken, StopSource};
use record::{Change, changed};
use retry::{Budget, Limits, MOST_INTERRUPTIONS, delay};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The job behind the operations.
pub trait Watch: Send + Sync {
    /// Sleeps; `Err` as soon as the job is to stop.
    fn wait(&self, duration: Duration) -> Result<(), StopSource>;

    /// An operation is about to be repeated.
    fn retried(&self, retried: Retried);

    /// Bytes moved: the job is not stalled.
    fn alive(&self);
}

/// For work without a job around it.
impl Watch for CancelToken {
    fn wait(&self, duration: Duration) -> Result<(), StopSource> {
        Self::wait(self, duration)
    }

    fn retried(&self, _retried: Retried) {}

    fn alive(&self) {}
}

struct Inner {
    watch: Arc<dyn Watch>,
    retries: u32,
    budget: Mutex<Budget>,
    /// Uniform in [0, 1); injected, so that tests know the delays.
    uniform: fn() -> f64,
}

/// The door. Clones share the job and its budget.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("retries", &self.0.retries).finish_non_exhaustive()
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new(Arc::new(CancelToken::default()), DEFAULT_RETRIES)
    }
}

/// How one try failed.
enum Failed {
    /// The system's error; repeated if transient.
    System(io::Error),
    /// Nothing helps.
    Final(IoError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Disk {
    /// For one job; `retries` after the first try (option `ioRetries`).
    pub fn new(watch: Arc<dyn Watch>, retries: u32) -> Self {
        Self::with_random(watch, retries, fastrand::f64)
    }

    fn with_random(watch: Arc<dyn Watch>, retries: u32, uniform: fn() -> f64) -> Self {
        Self(Arc::new(Inner { watch, retries, budget: Mutex::new(Budget::default()), uniform }))
    }

    /// The same job with another number of retries.
    #[must_use]
    pub fn with_retries(&self, retries: u32) -> Self {
        Self::with_random(self.0.watch.clone(), retries, self.0.uniform)
    }

    /// Tries until it works, its error is no longer worth repeating, or the job is to stop. `attempt` hears whether it is to take only a part
    /// of its bytes.
    fn run<T>(&self, op: IoOp, path: &Path, mut attempt: impl FnMut(bool) -> Result<T, Failed>) -> Result<T, IoError> {
        let limits = Limits::of(op, self.0.retries);
        let (mut attempts, mut interruptions) = (1, 0);
        loop {
            let fault = if let Some(site) = op.site() { fault::hit(site) } else { None };
            let result = match fault {
                Some(Effect::Errno(number)) => Err(Failed::System(io::Error::from_raw_os_error(number))),
                other => attempt(other == Some(Effect::Short)),
            };
            let error = match result {
                Ok(value) => {
                    self.0.watch.alive();
                    return Ok(value);
                }
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::System(error)) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted && interruptions < MOST_INTERRUPTIONS {
                interruptions += 1;
                continue;
            }
            let repeatable = limits.any_error || errno::class(&error) == ErrnoClass::Transient;
            let wait = (repeatable && attempts < limits.attempts).then(|| delay(&limits, attempts, (self.0.uniform)()));
            let Some(wait) = wait.filter(|&wait| self.budget(wait)) else {
                return Err(IoError::File { op, path: path.to_path_buf(), offset: None, attempts, source: error });
            };
            self.0.watch.retried(Retried {
                op: op.as_str(),
                path: path.to_path_buf(),
                errno: errno::name(&error),
                attempt: attempts,
                delay_ms: wait.as_secs_f64() * 1000.0,
            });
            if limits.during_stop {
                std::thread::sleep(wait);
            } else {
                self.0.watch.wait(wait).map_err(IoError::Stopped)?;
            }
            attempts += 1;
        }
    }

    /// The same for what changes the disk.
    fn change<T>(&self, op: IoOp, path: &Path, change: Change<'_>, attempt: impl FnMut(bool) -> Result<T, Failed>) -> Result<T, IoError> {
        let value = self.run(op, path, attempt)?;
        changed(change);
        Ok(value)
    }

    fn budget(&self, wait: Duration) -> bool {
        self.0.budget.lock().unwrap_or_else(PoisonError::into_inner).take(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<Retried>>, CancelToken);

    impl Watch for Recorded {
        fn wait(&self, _duration: Duration) -> Result<(), StopSource> {
            self.1.check()
        }
        fn retried(&self, retried: Retried) {
            self.0.lock().unwrap().push(retried);
        }
        fn alive(&self) {}
    }

    fn transient() -> Failed {
        Failed::System(io::Error::from_raw_os_error(16)) // EBUSY on every unix
    }

    #[test]
    fn transient_errors_are_repeated_with_growing_delays_in_their_band() {
        let watch = Arc::new(Recorded::default());
        let disk = Disk::new(watch.clone(), 4);
        let mut left = 3;
        let value = disk.run(IoOp::Read, Path::new("x"), |_| {
            left -= 1;
            if left >= 0 { Err(transient()) } else { Ok(7) }
        });
        assert_eq!(value.unwrap(), 7);
        let delays: Vec<f64> = watch.0.lock().unwrap().iter().map(|r| r.delay_ms).collect();
        for (delay, base) in delays.iter().zip([50.0, 100.0, 200.0]) {
            assert!((0.85 * base..=1.15 * base).contains(delay), "{delay} for {base}");
        }
        assert_eq!(delays.len(), 3);
    }

    #[test]
    fn attempts_end_and_are_counted() {
        for (op, attempts) in [(IoOp::Read, 5), (IoOp::Write, 5), (IoOp::Sync, 1), (IoOp::Rename, 8), (IoOp::Lock, 1), (IoOp::Remove, 3)] {
            let error = Disk::new(Arc::new(Recorded::default()), 4).run::<()>(op, Path::new("x"), |_| Err(transient())).unwrap_err();
            let IoError::File { attempts: made, .. } = error else { panic!("{error:?}") };
            assert_eq!(made, attempts, "{op:?}");
        }
        let none = Disk::new(Arc::new(Recorded::default()), 0).run::<()>(IoOp::Read, Path::new("x"), |_| Err(transient()));
        assert!(matches!(none, Err(IoError::File { attempts: 1, .. })));
    }

    #[test]
    fn other_errors_are_final_and_a_stop_ends_the_wait() {
        let watch = Arc::new(Recorded::default());
        let disk = Disk::new(watch.clone(), 4);
        let eio = disk.run::<()>(IoOp::Read, Path::new("x"), |_| Err(io::Error::from_raw_os_error(5).into()));
        assert!(matches!(eio, Err(IoError::File { attempts: 1, .. })));
        watch.1.stop(StopSource::Deadline);
        let stopped = disk.run::<()>(IoOp::Read, Path::new("x"), |_| Err(transient()));
        assert!(matches!(stopped, Err(IoError::Stopped(StopSource::Deadline))));
    }

    #[test]
    fn a_job_repeats_64_times_in_all() {
        let watch = Arc::new(Recorded::default());
        let disk = Disk::with_random(watch.clone(), 4, || 0.0);
        for _ in 0..40 {
            let _ = disk.run::<()>(IoOp::Read, Path::new("x"), |_| Err(transient()));
        }
        assert_eq!(watch.0.lock().unwrap().len(), 64);
    }

    #[test]
    fn interruptions_are_repeated_at_once_and_not_counted() {
        let watch = Arc::new(Recorded::default());
        let mut left = 99;
        let value = Disk::new(watch.clone(), 0).run(IoOp::Write, Path::new("x"), |_| {
            left -= 1;
            if left > 0 { Err(io::Error::from(io::ErrorKind::Interrupted).into()) } else { Ok(()) }
        });
        assert!(value.is_ok() && watch.0.lock().unwrap().is_empty());
    }
}
