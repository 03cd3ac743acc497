//! The binding: conversions only. No algorithm, no file I/O.
//!
//! JSON goes in and out; every entry answers with an outcome (`{ok: true, value}` or `{ok: false, error}`) and is wrapped against panics, so
//! that nothing thrown here has to be understood by the facade.

#![expect(clippy::needless_pass_by_value, reason = "napi hands arguments over by value")]

#[cfg(feature = "fault")]
mod fault;
mod job;
mod log;
mod open;
mod progress;
mod running;
mod system;
mod tensor;
