//! Panics become `AQ_INTERNAL`: caught at every entry and on every thread of a job, with the place from a hook.

use crate::error::QuantError;
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError};

/// Threads of jobs have names with this beginning; their panics are told by the outcome, not printed.
pub const THREAD_NAME: &str = "arrow-quant";

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The place of the last panic; a worker's panic is told on the job's thread, so it is shared.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|l| format!("{}:{}", l.file(), l.line()));
            *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
            let ours = QUIET.get() || std::thread::current().name().is_some_and(|n| n.starts_with(THREAD_NAME));
            if !ours {
                previous(info);
            }
        }));
    });
}

/// Runs `work`; a panic in it, or on a thread that it joined, is an internal error.
pub fn guard<T>(work: impl FnOnce() -> Result<T, QuantError>) -> Result<T, QuantError> {
    install_hook();
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.unwrap_or_else(|payload| {
        let location = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(QuantError::Internal { message: message_of(&*payload), location, panic: true })
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error_with_its_place() {
        let error = guard::<()>(|| panic!("lost {}", 7)).unwrap_err();
        let QuantError::Internal { message, location, panic: true } = error else { panic!("{error:?}") };
        assert_eq!(message, "lost 7");
        assert!(location.unwrap().contains("guard.rs:"));
        assert_eq!(guard(|| Ok(5)).unwrap(), 5);
    }
}
