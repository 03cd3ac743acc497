//! The job handle: its own named threads, settled through a deferred; never libuv's pool, which the file system shares.

use crate::progress::JsSink;
use crate::running::{Done, note};
use aq_core::{CancelToken, StopSource};
use aq_engine::guard::{THREAD_NAME, guard};
use aq_engine::supervise::supervise;
use aq_engine::{Control, QuantError};
use aq_wire::{Call, Request};
use aq_wire::{Ended, failed, succeeded};
use napi::Env;
use napi::bindgen_prelude::{Function, Object};
use napi_derive::napi;
use std::sync::Arc;

/// One call of the facade: made with a request, run once.
#[napi]
pub struct NativeJob {
    request: String,
    cancel: CancelToken,
}

#[napi]
impl NativeJob {
    /// Takes the request as JSON; a malformed one surfaces in the outcome.
    #[napi(constructor)]
    pub fn new(request: String) -> Self {
        aq_wire::log::from_environment();
        Self { request, cancel: CancelToken::default() }
    }

    /// Starts the job. Resolves with the outcome as JSON.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn run<'env>(&self, env: &'env Env, on_progress: Function<'env, String, ()>) -> napi::Result<Object<'env>> {
        let callback = on_progress.build_threadsafe_function::<String>().weak::<true>().build()?;
        let (deferred, promise) = env.create_deferred::<String, _>()?;
        let (request, cancel, done) = (self.request.clone(), self.cancel.clone(), Arc::new(Done::default()));
        note(*env, cancel.clone(), done.clone())?;
        let thread = std::thread::Builder::new().name(format!("{THREAD_NAME}-job"));
        let spawned = thread.spawn(move || {
            let outcome = outcome(&request, cancel, JsSink::new(callback), done);
            deferred.resolve(move |_env| Ok(outcome));
        });
        spawned.map_err(|e| napi::Error::from_reason(format!("the job's thread could not be started: {e}")))?;
        Ok(promise)
    }

    /// Asks the job to stop; any number of times, at any moment.
    #[napi]
    pub fn cancel(&self) {
        self.cancel.stop(StopSource::Caller);
    }
}

/// Sets its flag when the work is over, also by a panic.
struct Over(Arc<Done>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set();
    }
}

fn outcome(request: &str, cancel: CancelToken, sink: JsSink, done: Arc<Done>) -> String {
    let over = Over(done);
    let request = match Request::parse(request) {
        Ok(request) => request,
        Err(error) => return failed(error, &Call::default(), Ended::default()),
    };
    let call = request.call();
    let job_id = call.job_id.clone();
    let control = Arc::new(Control::new(cancel, Arc::new(sink)));
    let result: Result<_, QuantError> = guard(|| {
        supervise(&control, move |control| {
            let _span = tracing::info_span!("job", job_id = job_id.as_deref()).entered();
            let _over = over; // when this thread has tidied up, which may be after the job was given up
            request.run(control)
        })
    });
    match result {
        Ok(value) => succeeded(&value, &control.ledger.notices()),
        Err(error) => failed(error, &call, Ended::of(&control)),
    }
}
