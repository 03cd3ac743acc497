//! The arithmetic of quantization on the CPU: conversion, search, rounding, packing, decoding, error sums.
//!
//! What stands here now is the scalar specification. It is written over fixed lanes ([`lanes`]), so that a wider instruction set can give
//! the same sums in the same order: every faster path has to equal it bit for bit. No fused multiply-add, round half to even everywhere.
//!
//! Not here: files, threads, layouts. A caller hands in rows and buffers of the right length; the lengths are the callers' invariant and
//! are checked once per row.

pub mod convert;
pub mod errors;
pub mod gain;
pub mod group;
pub mod lanes;
pub mod pack;
pub mod round;
pub mod row;
pub mod search;

pub use errors::RowSums;
pub use row::{RowCodec, RowFlags, Scratch, Tuning};

/// Name of the kernel level in use.
pub const LEVEL: &str = "scalar";
