//! A device with its breaker and the CPU behind it: fewer rows where memory lacks, one repeat for what may pass, then the CPU.

use super::breaker::{Change, Pass};
use super::{Backend, Breaker, Codes, DeviceError, DeviceErrorKind, Work, encode_codes};
use crate::control::Control;
use crate::error::{MemoryCause, Pool, QuantError};
use aq_core::Notice;
use aq_kernels::{RowFlags, Scratch};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often rows are halved.
const MOST_HALVINGS: u32 = 4;
/// Rows that take less than this on the device are not halved. The fault build's models are smaller than that.
const LEAST_BYTES: usize = if aq_io::fault::ENABLED { 1 } else { 4 << 20 };

/// A device of one job.
pub struct Guarded {
    name: String,
    backend: Box<dyn Backend>,
    breaker: Arc<Breaker>,
    fallback: bool,
    /// Halvings that memory has asked for so far in this job; never fewer again.
    halvings: AtomicU32,
    /// The step to the CPU is told once.
    told: std::sync::Once,
}

impl Guarded {
    /// With the CPU behind it if `fallback`.
    pub fn new(name: String, backend: Box<dyn Backend>, breaker: Arc<Breaker>, fallback: bool) -> Self {
        Self { name, backend, breaker, fallback, halvings: AtomicU32::new(0), told: std::sync::Once::new() }
    }

    /// Encodes rows on the device, or on the CPU when it cannot.
    pub fn encode(&self, control: &Control, work: &Work<'_>, mut out: Codes<'_>, scratch: &mut Scratch) -> Result<RowFlags, QuantError> {
        let (pass, change) = self.breaker.ask();
        self.tell(control, change);
        if let Pass::Refused(left) = pass {
            let retry_after_ms = left.map(|d| d.as_millis() as u64);
            // Never again: another worker saw the context die.
            let kind = if left.is_none() { DeviceErrorKind::Sticky } else { DeviceErrorKind::Passing };
            let failed = self.failed(DeviceError { op: "wait", status: String::new(), kind }, retry_after_ms);
            return self.on_cpu(control, work, out, scratch, "its circuit breaker is open", failed);
        }
        match self.on_device(control, work, &mut out, scratch) {
            Ok(flags) => {
                self.tell(control, self.breaker.succeeded());
                Ok(flags)
            }
            Err(error) => {
                let change = if error.kind == DeviceErrorKind::Sticky { self.breaker.latch() } else { self.breaker.failed() };
                self.tell(control, change);
                let open_ms = change.and_then(|c| c.open).map(|d| d.as_millis() as u64);
                let failed = match error.kind {
                    DeviceErrorKind::OutOfMemory => QuantError::OutOfMemory {
                        pool: Pool::Device,
                        cause: MemoryCause::Refused,
                        requested: std::mem::size_of_val(work.weights) as u64,
                        limit: 0,
                        tensor: None,
                    },
                    _ => self.failed(error.clone(), open_ms),
                };
                self.on_cpu(control, work, out, scratch, &error.status, failed)
            }
        }
    }

    /// Halves rows while memory lacks, and repeats once what may pass.
    fn on_device(&self, control: &Control, work: &Work<'_>, out: &mut Codes<'_>, scratch: &mut Scratch) -> Result<RowFlags, DeviceError> {
        let row = work.geometry.row();
        let rows = work.weights.len() / row;
        let mut flags = RowFlags::default();
        let mut at = 0;
        while at < rows {
            let halvings = self.halvings.load(Ordering::Relaxed);
            let part = at..rows.min(at + (rows >> halvings).max(1));
            let size = part.len();
            match self.repeated(work, out, part, scratch) {
                Ok(got) => {
                    flags.join(got);
                    at += size;
                }
                Err(e)
                    if e.kind == DeviceErrorKind::OutOfMemory && halvings < MOST_HALVINGS && size > 1 && size * row * 4 >= LEAST_BYTES =>
                {
                    // Another worker may have taken the step already.
                    if self.halvings.compare_exchange(halvings, halvings + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                        control.progress.count_degradation();
                        let (from, to) = (1 << halvings, 2 << halvings);
                        control.ledger.degraded("device", format!("1/{from} block"), format!("1/{to} block"), e.status);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(flags)
    }

    fn repeated(&self, work: &Work<'_>, out: &mut Codes<'_>, rows: Range<usize>, scratch: &mut Scratch) -> Result<RowFlags, DeviceError> {
        let row = work.geometry.row();
        let part = Work { weights: &work.weights[rows.start * row..rows.end * row], ..*work };
        match self.backend.encode(&part, out.rows(work.geometry, rows.clone()), scratch) {
            Err(e) if e.kind == DeviceErrorKind::Passing => self.backend.encode(&part, out.rows(work.geometry, rows), scratch),
            other => other,
        }
    }

    fn on_cpu(
        &self,
        control: &Control,
        work: &Work<'_>,
        out: Codes<'_>,
        scratch: &mut Scratch,
        reason: &str,
        failed: QuantError,
    ) -> Result<RowFlags, QuantError> {
        if !self.fallback {
            return Err(failed);
        }
        self.told.call_once(|| {
            control.progress.count_degradation();
            control.ledger.degraded("device", self.name.clone(), "cpu".into(), reason.into());
        });
        Ok(encode_codes(work, out, scratch))
    }

    fn failed(&self, error: DeviceError, retry_after_ms: Option<u64>) -> QuantError {
        let sticky = error.kind == DeviceErrorKind::Sticky;
        let status = (!error.status.is_empty()).then_some(error.status);
        QuantError::DeviceFailed { device: self.name.clone(), op: error.op, status, sticky, retry_after_ms }
    }

    fn tell(&self, control: &Control, change: Option<Change>) {
        let Some(Change { from, to, open }) = change else { return };
        let open_ms = open.map(|d: Duration| d.as_millis() as u64);
        tracing::warn!(device = self.name, from = from.as_str(), to = to.as_str(), open_ms, "breaker");
        control.ledger.notice(Notice::Breaker { device: self.name.clone(), from: from.as_str(), to: to.as_str(), open_ms });
    }
}
