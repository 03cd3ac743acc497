//! Panics become `AQ_INTERNAL`: caught at every entry, with the place from a hook.

use aq_engine::QuantError;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError};

/// Threads of jobs have names with this beginning; their panics are told by the outcome, not printed.
pub const THREAD_NAME: &str = "arrow-quant";

thread_local! {
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
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
            let ours = QUIET.with(|q| *q.borrow()) || std::thread::current().name().is_some_and(|n| n.starts_with(THREAD_NAME));
            if !ours {
                previous(info);
            }
        }));
    });
}

/// Runs `work`; a panic in it is an internal error.
pub fn guard<T>(work: impl FnOnce() -> Result<T, QuantError>) -> Result<T, QuantError> {
    install_hook();
    QUIET.with(|q| *q.borrow_mut() = true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.with(|q| *q.borrow_mut() = false);
    result.unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".into());
        let location = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(QuantError::Internal { message, location, panic: true })
    })
}
