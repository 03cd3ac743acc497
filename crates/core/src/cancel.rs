//! A flag that asks a job to stop; polled once per row block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a job to stop. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

/// The job was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl CancelToken {
    /// Asks for the stop; may be called any number of times.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// `Err` once the stop was asked for.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}
