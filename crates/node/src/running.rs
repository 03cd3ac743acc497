//! Jobs at work: when their JavaScript environment or the process goes down, they are told to stop and given a moment to tidy up.

use aq_core::{CancelToken, StopSource};
use napi::Env;
use napi_derive::napi;
use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EXIT_GRACE: Duration = Duration::from_secs(2);

/// Set once the job's thread has tidied up.
#[derive(Default)]
pub struct Done {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Done {
    /// The job is over.
    pub fn set(&self) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self, until: Instant) {
        let mut done = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            done = self.changed.wait_timeout(done, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_set(&self) -> bool {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Jobs with the means to stop each and to know that it has.
type Jobs = Vec<(CancelToken, Arc<Done>)>;

thread_local! {
    // An environment lives on one thread, and this module is loaded once in each.
    static JOBS: RefCell<Option<Jobs>> = const { RefCell::new(None) };
}

/// Notes a job of this environment.
pub fn note(env: Env, cancel: CancelToken, done: Arc<Done>) -> napi::Result<()> {
    let first = JOBS.with_borrow(Option::is_none);
    if first {
        env.add_env_cleanup_hook((), |()| stop_all())?;
    }
    JOBS.with_borrow_mut(|jobs| {
        let jobs = jobs.get_or_insert_default();
        jobs.retain(|(_, done)| !done.is_set());
        jobs.push((cancel, done));
    });
    Ok(())
}

/// Stops the jobs of this environment and waits for them, two seconds at most. For `process.on('exit')`: cleanup hooks do not run then.
#[napi]
pub fn stop_jobs() {
    stop_all();
}

fn stop_all() {
    let jobs = JOBS.with_borrow_mut(|jobs| jobs.as_mut().map(std::mem::take)).unwrap_or_default();
    for (cancel, _) in &jobs {
        cancel.stop(StopSource::Teardown);
    }
    let until = Instant::now() + EXIT_GRACE;
    jobs.iter().for_each(|(_, done)| done.wait(until));
}
