//! The job's own worker threads. Never rayon's global pool: building it lazily panics where threads cannot be created.

use crate::error::QuantError;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Worker threads for a setting: 0 means as many as this process may run at once.
pub fn thread_count(setting: usize) -> usize {
    if setting > 0 { setting } else { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
}

/// A pool for one job.
pub fn pool(setting: usize) -> Result<ThreadPool, QuantError> {
    ThreadPoolBuilder::new()
        .num_threads(thread_count(setting))
        .thread_name(|i| format!("arrow-quant-{i}"))
        .build()
        .map_err(|e| QuantError::Internal { message: format!("worker threads could not be started: {e}"), location: None, panic: false })
}
