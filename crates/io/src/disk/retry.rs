//! How often an operation is tried, and how long is waited between: errors specification, section 6.2.

use crate::error::IoOp;
use std::path::PathBuf;
use std::time::Duration;

/// Retries after the first try where the option is not given.
pub const DEFAULT_RETRIES: u32 = 4;
/// EINTR is repeated at once, this often.
pub const MOST_INTERRUPTIONS: u32 = 100;
/// In one job.
const MOST_RETRIES: u32 = 64;
/// In one job.
const MOST_WAITING: Duration = Duration::from_secs(60);
/// Renames at the commit: mostly a scanner or indexer that looks at new files.
const RENAME_ATTEMPTS: u32 = 8;
const REMOVE_ATTEMPTS: u32 = 3;

/// A repeated operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Retried {
    /// As in messages.
    pub op: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub errno: String,
    /// The try that failed, from 1.
    pub attempt: u32,
    /// Milliseconds waited before the next.
    pub delay_ms: f64,
}

/// Bounds of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub attempts: u32,
    base: Duration,
    longest: Duration,
    /// Cleaning up goes on while a job stops.
    pub during_stop: bool,
    /// Whatever the error is: cleaning up cannot make things worse.
    pub any_error: bool,
}

impl Limits {
    /// Bounds of an operation where `retries` are allowed for ordinary ones.
    pub const fn of(op: IoOp, retries: u32) -> Self {
        let (attempts, longest) = match op {
            // After a failed fsync the kernel may have dropped the pages: a second success would be a lie.
            IoOp::Sync | IoOp::Lock => (1, 2000),
            IoOp::Rename => (RENAME_ATTEMPTS, 2000),
            IoOp::Remove => (REMOVE_ATTEMPTS, 200),
            _ => (1 + retries, 2000),
        };
        let removing = matches!(op, IoOp::Remove);
        Self {
            attempts,
            base: Duration::from_millis(50),
            longest: Duration::from_millis(longest),
            during_stop: removing,
            any_error: removing,
        }
    }
}

/// The wait before retry `n` (from 1): doubled each time up to the longest, times 0.85 to 1.15, so that jobs hit by one fault do not return
/// together. In f64: integers would cut the factor to 0 or 1.
pub fn delay(limits: &Limits, n: u32, uniform: f64) -> Duration {
    let doubled = limits.base.as_secs_f64() * f64::from(n - 1).exp2();
    Duration::from_secs_f64(doubled.min(limits.longest.as_secs_f64()) * (0.85 + 0.30 * uniform))
}

/// What a job may spend on repeating.
#[derive(Debug)]
pub struct Budget {
    retries: u32,
    waiting: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { retries: MOST_RETRIES, waiting: MOST_WAITING }
    }
}

impl Budget {
    /// Takes one retry with its wait; `false` when there is none left.
    pub fn take(&mut self, wait: Duration) -> bool {
        if self.retries == 0 || wait > self.waiting {
            return false;
        }
        self.retries -= 1;
        self.waiting -= wait;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let limits = Limits::of(IoOp::Read, 10);
        let at = |n, u| delay(&limits, n, u).as_secs_f64() * 1000.0;
        assert!((at(1, 0.5) - 50.0).abs() < 1e-6 && (at(2, 0.5) - 100.0).abs() < 1e-6 && (at(9, 0.5) - 2000.0).abs() < 1e-6);
        assert!((at(1, 0.0) - 42.5).abs() < 1e-6);
        assert!(at(1, 0.999_999) < 57.5);
    }
}
