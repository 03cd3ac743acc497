//! The arithmetic of quantization on the CPU: conversion, search, rounding, packing, decoding, error sums.
//!
//! What stands here is the specification, written over fixed lanes ([`lanes`]) so that a wider instruction set gives the same sums in the
//! same order. Wider levels are the same source compiled for more instructions ([`level`]), and equal it bit for bit. No fused multiply-add but
//! in [`second`], where it is written as such; round half to even everywhere.
//!
//! Not here: files, threads, layouts. A caller hands in rows and buffers of the right length; the lengths are the callers' invariant and
//! are checked once per row.

#![expect(clippy::inline_always, reason = "a kernel must be inlined into the function that has the wider instructions")]

pub mod convert;
pub mod errors;
pub mod gain;
pub mod ggml;
pub mod group;
pub mod lanes;
pub mod level;
pub mod outputs;
pub mod pack;
mod rotate;
pub mod round;
pub mod row;
pub mod search;
pub mod second;
mod symmetric;
pub mod tile;
mod zeros;

pub use errors::RowSums;
pub use level::Level;
pub use row::{RowCodec, RowFlags, Scratch, Tuning};
pub use zeros::Zeros;
