//! Every reader of files from elsewhere, and the codecs, as functions of bytes, with sound bytes to begin from. Whatever the bytes are, a reader
//! ends with what it found or a typed error: soon, with little memory, without a panic. A codec does what its contract says.
//!
//! The same functions are called by the stable runner (`examples/hostile.rs`: mutated bytes, in CI) and by cargo-fuzz (`fuzz/`).
#![forbid(unsafe_code)]

mod codecs;
pub mod mutate;
mod seeds;
pub mod targets;

pub use targets::{Bench, TARGETS, Target};

use std::time::Duration;

/// What one input may take.
pub const MOST_TIME: Duration = Duration::from_secs(5);
/// What a process that reads one input after another may hold.
pub const MOST_MIB: u64 = 300;

/// The most that this process has held, where the system tells.
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib >> 10)
}
