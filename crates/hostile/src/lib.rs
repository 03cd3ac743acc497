//! Every reader of files from elsewhere as a function of bytes, with sound files to begin from. Whatever the bytes are, a reader ends with what
//! it found or a typed error: soon, with little memory, without a panic.
//!
//! The same functions are called by the stable runner (`examples/hostile.rs`: mutated files, in CI) and by cargo-fuzz (`fuzz/`).
#![forbid(unsafe_code)]

pub mod mutate;
mod seeds;
pub mod targets;

pub use targets::{Bench, TARGETS, Target};
