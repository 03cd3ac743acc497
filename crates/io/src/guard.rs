//! Readers of other libraries, kept in bounds: a panic inside becomes a value.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a call into a library that may panic on a damaged file. What the call worked on must not be used after an error.
pub(crate) fn caught<T, E>(call: impl FnOnce() -> Result<T, E>, panicked: impl FnOnce(String) -> E) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(text(payload.as_ref()))))
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    format!("the reader gave up: {}", text.unwrap_or("no reason given"))
}
