//! What crosses to JavaScript, as text: requests in, outcomes out. JSON both ways; a request is answered by a function of the engine, an outcome
//! is `{ok: true, value}` or `{ok: false, error}`.
//!
//! Not here: napi. The binding calls this crate, which is compiled for size; the binding cannot be, because its level is that of the whole link.
#![forbid(unsafe_code)]

mod convert_error;
pub mod log;
pub mod models;
mod request;

pub use convert_error::{Ended, convert_error, failed, succeeded};
pub use request::{Call, Request};
