//! Memory as permits: a block asks for its working set before it allocates. What the system refuses makes the job go on with less: fewer
//! blocks in flight, then smaller ones, never more again. Sizes never change results.

use crate::control::Control;
use crate::error::{MemoryCause, Pool, QuantError};
use aq_kernels::Zeros;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Working sets of a block, bytes; the last means one row (or as many as start on a byte). The first is that of 2^18 weights: long enough
/// reads, and a stop is noticed at once.
const LADDER: [u64; 4] = [6 << 20, 3 << 20, 1 << 20, 0];
/// How often a worker that waits for memory looks whether the job is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct State {
    used: u64,
    held: u64,
    flying: usize,
    most_flying: usize,
    step: usize,
}

/// The memory of one job.
#[derive(Debug)]
pub struct Memory {
    /// Of blocks.
    limit: u64,
    /// Of blocks and what is held beside them.
    whole: u64,
    state: Mutex<State>,
    freed: Condvar,
}

/// Allocation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Bytes in use until it is dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    memory: &'a Memory,
    bytes: u64,
}

/// Bytes that a layer's inputs take beside its blocks, until it is dropped. Blocks wait for the rest; one is always let in.
#[derive(Debug)]
pub struct Hold<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Hold<'_> {
    /// What was needed to make something is no longer.
    pub fn shrink(&mut self, bytes: u64) {
        self.memory.state().held -= self.bytes.saturating_sub(bytes);
        self.bytes = self.bytes.min(bytes);
        self.memory.freed.notify_all();
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.used -= self.bytes;
        state.flying -= 1;
        drop(state);
        self.memory.freed.notify_all();
    }
}

impl Memory {
    /// `limit` bytes for `threads` workers: the largest blocks of which each worker can hold one, else fewer in flight.
    pub fn new(limit: u64, threads: usize) -> Self {
        let step = LADDER.iter().position(|&step| step * threads as u64 <= limit).unwrap_or(LADDER.len() - 1);
        Self {
            limit,
            whole: limit,
            state: Mutex::new(State { used: 0, held: 0, flying: 0, most_flying: threads.max(1), step }),
            freed: Condvar::new(),
        }
    }

    /// With more room for what is held beside blocks.
    #[must_use]
    pub fn with_whole(self, whole: u64) -> Self {
        Self { whole: whole.max(self.limit), ..self }
    }

    /// Takes bytes for what stands beside blocks, where that and what is held already stay within the limit.
    pub fn hold(&self, bytes: u64) -> Option<Hold<'_>> {
        let mut state = self.state();
        if state.held + bytes > self.whole {
            return None;
        }
        state.held += bytes;
        Some(Hold { memory: self, bytes })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that every holder leaves consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job's limit, bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Rows of a block now, where a row takes `bytes_per_row` and blocks are multiples of `step` rows.
    pub fn rows(&self, bytes_per_row: u64, step: usize) -> usize {
        rows_of(LADDER[self.state().step], bytes_per_row, step)
    }

    /// Waits until `bytes` are free. One block is always let in: the plan has checked that it fits.
    pub fn acquire(&self, bytes: u64, control: &Control) -> Result<Permit<'_>, QuantError> {
        let mut state = self.state();
        let lacks = |s: &State| s.used + bytes > self.limit || s.used + s.held + bytes > self.whole || s.flying >= s.most_flying;
        while state.flying > 0 && lacks(&state) {
            control.check()?;
            state = self.freed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.used += bytes;
        state.flying += 1;
        Ok(Permit { memory: self, bytes })
    }

    /// An allocation was refused: takes one step down, or fails where there is none.
    pub fn step_down(&self, control: &Control, requested: u64) -> Result<(), QuantError> {
        let mut state = self.state();
        let was = describe(&state);
        if state.most_flying > 1 {
            state.most_flying /= 2;
        } else if state.step + 1 < LADDER.len() {
            state.step += 1;
        } else {
            let (pool, cause) = (Pool::Host, MemoryCause::Refused);
            return Err(QuantError::OutOfMemory { pool, cause, requested, limit: self.limit, tensor: None });
        }
        // Noted before the next step can be taken, so that the steps stand in order.
        control.progress.count_degradation();
        control.ledger.degraded("memory", was, describe(&state), "an allocation was refused".into());
        drop(state);
        Ok(())
    }
}

/// The rows whose working set fits, at least one step.
pub fn rows_of(bytes: u64, bytes_per_row: u64, step: usize) -> usize {
    ((bytes / bytes_per_row.max(1)) as usize / step * step).max(step)
}

/// The largest block that a plan may cut a layer into.
pub const LARGEST_BLOCK: u64 = LADDER[0];

fn describe(state: &State) -> String {
    let size = match LADDER[state.step] {
        0 => "one row".to_owned(),
        bytes => aq_core::error::bytes_text(bytes),
    };
    format!("{} block(s) of {size}", state.most_flying)
}

/// Gives a buffer a length, new elements being zero; an allocation that the system refuses is an answer, not the end of the process.
pub fn resize<T: Zeros>(buffer: &mut Vec<T>, len: usize) -> Result<(), Refused> {
    if len > buffer.len() {
        buffer.try_reserve_exact(len - buffer.len()).map_err(|_| Refused)?;
    }
    T::set_len(buffer, len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_core::CancelToken;
    use aq_core::progress::Silent;
    use std::sync::Arc;

    #[test]
    fn steps_go_down_to_one_row_and_then_fail() {
        let control = Control::new(CancelToken::default(), Arc::new(Silent));
        let memory = Memory::new(256 << 20, 4);
        assert_eq!(memory.rows(1 << 10, 4), 6144);
        let rows: Vec<usize> = std::iter::from_fn(|| memory.step_down(&control, 1).ok().map(|()| memory.rows(1 << 10, 4))).collect();
        assert_eq!(rows, [6144, 6144, 3072, 1024, 4]);
        assert!(matches!(memory.step_down(&control, 9), Err(QuantError::OutOfMemory { requested: 9, .. })));
        let steps = control.ledger.degradations();
        assert_eq!((steps.len(), steps[0].from.as_str(), steps[0].to.as_str()), (5, "4 block(s) of 6.0 MiB", "2 block(s) of 6.0 MiB"));
        assert_eq!(steps[4].to, "1 block(s) of one row");
    }

    #[test]
    fn what_is_held_leaves_less_to_blocks_and_never_all_of_them_waiting() {
        let control = Control::new(CancelToken::default(), Arc::new(Silent));
        let memory = Memory::new(16 << 20, 2);
        let mut hold = memory.hold(15 << 20).expect("it fits");
        assert!(memory.hold(2 << 20).is_none());
        let first = memory.acquire(5 << 20, &control).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| memory.acquire(5 << 20, &control).map(drop));
            std::thread::sleep(Duration::from_millis(120));
            assert!(!second.is_finished());
            hold.shrink(4 << 20);
            second.join().expect("it ends").unwrap();
        });
        drop((first, hold));
        let state = memory.state();
        assert_eq!((state.used, state.held), (0, 0));
    }

    #[test]
    fn what_is_in_flight_stays_under_the_limit() {
        let control = Control::new(CancelToken::default(), Arc::new(Silent));
        let memory = Memory::new(16 << 20, 8);
        assert_eq!(memory.rows(1 << 20, 1), 1);
        let most = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let permit = memory.acquire(5 << 20, &control).unwrap();
                        most.fetch_max(memory.state().used, std::sync::atomic::Ordering::Relaxed);
                        drop(permit);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 16 << 20);
        assert_eq!(memory.state().used, 0);
    }
}
