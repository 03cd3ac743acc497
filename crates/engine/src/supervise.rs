//! The control thread of a job. It does no I/O: it waits, so it sees a deadline or a stall even when every worker hangs in the kernel.
//!
//! ```text
//! RUNNING --signal, deadline, stall or teardown--> STOPPING (workers stop at the next block or wait)
//! STOPPING --all workers back--> settled           STOPPING --grace over--> ABANDONED: settled, the thread tidies up when it returns
//! RUNNING --point of no return--> COMMITTING --> done (a stop is too late)
//! ```

use crate::control::Control;
use crate::error::QuantError;
use crate::guard::{THREAD_NAME, guard};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a worker gets to notice a stop. The fault build has no patience.
const CANCEL_GRACE: Duration = if aq_io::fault::ENABLED { Duration::from_millis(100) } else { Duration::from_secs(5) };
/// How often an asked stop is looked at while no clock is due.
const LOOK_EVERY: Duration = Duration::from_millis(200);

struct Meeting<T> {
    result: Mutex<Option<Result<T, QuantError>>>,
    arrived: Condvar,
}

/// Runs `work` on a thread of its own and answers when it has, or when it was stopped and does not come back.
pub fn supervise<T: Send + 'static>(
    control: &Arc<Control>,
    work: impl FnOnce(&Arc<Control>) -> Result<T, QuantError> + Send + 'static,
) -> Result<T, QuantError> {
    let meeting = Arc::new(Meeting { result: Mutex::new(None), arrived: Condvar::new() });
    let (worker_meeting, worker_control) = (meeting.clone(), control.clone());
    let spawned = std::thread::Builder::new().name(format!("{THREAD_NAME}-work")).spawn(move || {
        let result = guard(|| work(&worker_control));
        *worker_meeting.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        worker_meeting.arrived.notify_all();
    });
    if let Err(e) = spawned {
        return Err(QuantError::Internal { message: format!("the job's thread could not be started: {e}"), location: None, panic: false });
    }
    let mut stopped_at: Option<Instant> = None;
    let mut result = meeting.result.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(result) = result.take() {
            return result.map_err(|error| settled(control, error));
        }
        let (over, next) = control.clocks();
        if let Some(source) = over {
            control.stop(source);
        }
        let mut wait = next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        if let Some(source) = control.stopped() {
            let since = stopped_at.get_or_insert_with(Instant::now).elapsed();
            if since >= CANCEL_GRACE {
                tracing::warn!("a thread of the job does not answer and was left behind");
                return Err(control.stop_error(source, true));
            }
            wait = CANCEL_GRACE.saturating_sub(since);
        }
        result = meeting.arrived.wait_timeout(result, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// A stop noticed deep in the work knows neither phase nor clock; here both are known.
fn settled(control: &Control, error: QuantError) -> QuantError {
    match (control.stopped(), &error) {
        (Some(source), QuantError::Cancelled { .. } | QuantError::Timeout { .. }) => control.stop_error(source, false),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Limits;
    use aq_core::progress::Silent;
    use aq_core::{CancelToken, StopSource};

    fn control() -> Arc<Control> {
        Arc::new(Control::new(CancelToken::default(), Arc::new(Silent)))
    }

    #[test]
    fn results_errors_and_panics_come_back() {
        assert_eq!(supervise(&control(), |_| Ok(7)).unwrap(), 7);
        let exists = supervise::<()>(&control(), |_| Err(QuantError::OutputExists { path: "x".into() }));
        assert!(matches!(exists, Err(QuantError::OutputExists { .. })));
        let panicked = supervise::<()>(&control(), |_| panic!("oh"));
        assert!(matches!(panicked, Err(QuantError::Internal { panic: true, .. })));
    }

    #[test]
    fn clocks_end_work_that_waits() {
        for (limits, clock) in
            [(Limits { total: Some(30), stall: None }, StopSource::Deadline), (Limits { total: None, stall: Some(30) }, StopSource::Stall)]
        {
            let control = control();
            control.limit(limits);
            let error = supervise::<()>(&control, |c| {
                aq_io::disk::Watch::wait(&**c, Duration::from_secs(60)).map_err(aq_io::IoError::Stopped)?;
                Ok(())
            });
            let Err(QuantError::Timeout { clock: found, limit_ms: 30, abandoned: false, .. }) = error else { panic!("{error:?}") };
            assert_eq!(found, clock);
        }
    }

    #[test]
    fn a_stop_after_the_commit_does_not_fail_the_job() {
        let control = control();
        let result = supervise(&control, |c| {
            c.point_of_no_return()?;
            c.stop(StopSource::Caller);
            std::thread::sleep(Duration::from_millis(20));
            Ok(1)
        });
        assert_eq!(result.unwrap(), 1);
    }
}
