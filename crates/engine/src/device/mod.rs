//! What computes: the CPU, or a device with the CPU behind it. Both give the same bytes, so which one did is told and changes nothing else.

mod breaker;
mod choice;
mod guarded;

// What devices there can be: those of tests, NVIDIA's, or none where that has no driver.
#[cfg(not(any(feature = "fault", target_vendor = "apple")))]
#[path = "cuda.rs"]
mod platform;
#[cfg(feature = "fault")]
#[path = "simulated.rs"]
mod platform;
#[cfg(all(not(feature = "fault"), target_vendor = "apple"))]
#[path = "none.rs"]
mod platform;

pub use breaker::{Breaker, BreakerState};
pub use choice::Demand;

use crate::control::Control;
use crate::error::{QuantError, Unavailable};
use aq_core::config::Device;
use aq_core::{Geometry, Method, Scheme};
use aq_io::layout::EncodedRows;
use aq_kernels::second::{Encoded, Second};
use aq_kernels::{Level, RowCodec, RowFlags, Scratch, Tuning, Zeros, ggml};
use guarded::Guarded;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows to be encoded.
pub struct Work<'a> {
    /// How a row is cut into groups.
    pub geometry: Geometry,
    /// How it is encoded.
    pub scheme: Scheme,
    /// Switches of the search.
    pub tuning: Tuning,
    /// Rows, source order.
    pub weights: &'a [f32],
    /// What is known of the layer's inputs, where codes are chosen by that.
    pub second: Option<&'a Second>,
}

/// Where their codes go.
pub struct Codes<'a> {
    values: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [f32],
}

/// How a device failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceError {
    /// What it was doing.
    pub op: &'static str,
    /// The driver's name for it.
    pub status: String,
    /// What that means.
    pub kind: DeviceErrorKind,
}

/// What a device's error means for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceErrorKind {
    /// Fewer rows may fit.
    OutOfMemory,
    /// The same may work again.
    Passing,
    /// The context is dead until the process ends.
    Sticky,
}

/// Something that encodes rows.
pub trait Backend: Send + Sync {
    /// What it is called where people read it.
    fn name(&self) -> String;

    /// Encodes rows; a failure leaves `out` in any state.
    fn encode(&self, work: &Work<'_>, out: Codes<'_>, scratch: &mut Scratch) -> Result<RowFlags, DeviceError>;
}

/// What a job computes with.
pub struct Compute {
    /// `cpu` or the device.
    pub name: String,
    /// Why it is this one.
    pub reason: String,
    device: Option<Guarded>,
}

impl Compute {
    /// Chooses by the option; a device that was asked for by name and is not there is an error. With `auto` the first device is taken where
    /// it would need less time than the CPU for what the job could give it.
    pub fn choose(wanted: Device, fallback: bool, demand: Option<&Demand>) -> Result<Self, QuantError> {
        let cpu = |reason: String| Self { name: "cpu".into(), reason, device: None };
        let ordinal = match wanted {
            Device::Cpu => return Ok(cpu("device is 'cpu'".into())),
            Device::Cuda(ordinal) => ordinal,
            Device::Auto => {
                if let Some(reason) = choice::not_worth_opening(demand) {
                    return Ok(cpu(reason));
                }
                0
            }
        };
        let backend = match platform::open(ordinal) {
            Ok(backend) => backend,
            Err(reason) if wanted == Device::Auto => return Ok(cpu(reason.to_string())),
            Err(reason) => return Err(QuantError::DeviceUnavailable { device: wanted.to_string(), reason }),
        };
        let reason = match wanted {
            Device::Auto => match choice::compare(backend.as_ref(), demand) {
                Ok(reason) => reason,
                Err(reason) => return Ok(cpu(reason)),
            },
            _ => "it was asked for".into(),
        };
        let name = Device::Cuda(ordinal).to_string();
        let reason = format!("{}: {reason}", backend.name());
        let device = Guarded::new(name.clone(), backend, breaker_of(ordinal), fallback || wanted == Device::Auto);
        Ok(Self { name, reason, device: Some(device) })
    }

    /// Whether there is a device, and which of a job's layers it is not given: those that are encoded with second moments, and blocks.
    pub fn leaves(&self, scheme: &Scheme) -> bool {
        self.device.is_some() && !suits(scheme)
    }

    /// Encodes rows into `out`, which is given the sizes they need.
    pub fn encode(&self, control: &Control, work: &Work<'_>, out: &mut EncodedRows, scratch: &mut Scratch) -> Result<RowFlags, QuantError> {
        match &self.device {
            // Second moments and blocks stay on the CPU.
            Some(device) if work.second.is_none() && work.scheme.blocks.is_none() => {
                device.encode(control, work, Codes::of(work, out), scratch)
            }
            _ => Ok(encode_rows(work, out, scratch)),
        }
    }
}

impl<'a> Codes<'a> {
    /// Room for the rows.
    fn of(work: &Work<'_>, out: &'a mut EncodedRows) -> Self {
        let (row, scales) = (work.geometry.row(), work.geometry.scales_per_row());
        out.rows = work.weights.len() / row;
        u8::set_len(&mut out.codes, out.rows * row);
        f32::set_len(&mut out.scales, out.rows * scales);
        f32::set_len(&mut out.zeros, out.rows * scales);
        Self { values: &mut out.codes, scales: &mut out.scales, zeros: &mut out.zeros }
    }
}

impl Codes<'_> {
    /// The part of some rows.
    fn rows(&mut self, geometry: Geometry, rows: std::ops::Range<usize>) -> Codes<'_> {
        let (row, scales) = (geometry.row(), geometry.scales_per_row());
        Codes {
            values: &mut self.values[rows.start * row..rows.end * row],
            scales: &mut self.scales[rows.start * scales..rows.end * scales],
            zeros: &mut self.zeros[rows.start * scales..rows.end * scales],
        }
    }
}

/// Whether a device can encode layers of a scheme: second moments and blocks stay on the CPU.
pub fn suits(scheme: &Scheme) -> bool {
    scheme.blocks.is_none() && scheme.method != Method::Gptq
}

/// A device as `diagnose()` tells of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeviceReport {
    /// `cuda:0`.
    pub id: String,
    /// `available` or `unavailable`.
    pub state: &'static str,
    /// Why it is not.
    pub reason: Option<String>,
    /// Its circuit breaker.
    pub breaker: &'static str,
}

/// The devices of this machine, the first one told of even where it is not there.
pub fn devices() -> Vec<DeviceReport> {
    let report = |ordinal: u32, found: Result<String, Unavailable>| {
        let (state, reason) = match found {
            Ok(_) => ("available", None),
            Err(reason) => ("unavailable", Some(reason.to_string())),
        };
        DeviceReport { id: Device::Cuda(ordinal).to_string(), state, reason, breaker: breaker_of(ordinal).state().as_str() }
    };
    match platform::list() {
        Ok(found) => found.into_iter().zip(0..).map(|(found, ordinal)| report(ordinal, found)).collect(),
        Err(reason) => vec![report(0, Err(reason))],
    }
}

/// One breaker for each device of the process, whatever jobs and threads use it.
fn breaker_of(ordinal: u32) -> Arc<Breaker> {
    static BREAKERS: Mutex<BTreeMap<u32, Arc<Breaker>>> = Mutex::new(BTreeMap::new());
    BREAKERS.lock().unwrap_or_else(PoisonError::into_inner).entry(ordinal).or_default().clone()
}

/// Encodes rows on the CPU; the arithmetic that every backend must equal.
pub fn encode_rows(work: &Work<'_>, out: &mut EncodedRows, scratch: &mut Scratch) -> RowFlags {
    let Some(kind) = work.scheme.blocks else { return encode_codes(work, Codes::of(work, out), scratch) };
    let row = work.geometry.row();
    out.rows = work.weights.len() / row;
    u8::set_len(&mut out.blocks, work.weights.len() / kind.weights() * kind.bytes());
    let overflow = ggml::encode(Level::current(), kind, work.scheme.method, work.weights, &mut out.blocks);
    RowFlags { overflow: overflow.map(|block| block % (row / kind.weights())), ..RowFlags::default() }
}

/// Grouped integers.
#[expect(clippy::needless_pass_by_value, reason = "whoever encodes owns the place")]
fn encode_codes(work: &Work<'_>, out: Codes<'_>, scratch: &mut Scratch) -> RowFlags {
    let codec = RowCodec::new(work.geometry, work.scheme, work.tuning);
    match work.second {
        Some(second) => codec.encode_second(
            Level::current(),
            second,
            work.weights,
            scratch,
            Encoded { codes: out.values, scales: out.scales, zeros: out.zeros },
        ),
        None => codec.encode(work.weights, scratch, out.values, out.scales, out.zeros),
    }
}
