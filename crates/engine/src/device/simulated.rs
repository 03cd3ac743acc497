//! A device made of the CPU, for tests of what happens when a device fails. Only in the fault build.

use super::{Backend, Codes, DeviceError, DeviceErrorKind, Work, encode_codes};
use aq_io::fault::{self, DeviceFault, Effect, Site};
use aq_kernels::{RowFlags, Scratch};

/// Works until a fault is asked for at site `launch`.
pub struct Simulated;

impl Backend for Simulated {
    fn name(&self) -> String {
        "a simulated device".into()
    }

    fn encode(&self, work: &Work<'_>, out: Codes<'_>, scratch: &mut Scratch) -> Result<RowFlags, DeviceError> {
        let error = |status: &str, kind| Err(DeviceError { op: "launch", status: status.into(), kind });
        match fault::hit(Site::Launch) {
            Some(Effect::Device(DeviceFault::OutOfMemory)) => error("CUDA_ERROR_OUT_OF_MEMORY", DeviceErrorKind::OutOfMemory),
            Some(Effect::Device(DeviceFault::Launch)) => error("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", DeviceErrorKind::Passing),
            Some(Effect::Device(DeviceFault::Sticky)) => error("CUDA_ERROR_ILLEGAL_ADDRESS", DeviceErrorKind::Sticky),
            _ => Ok(encode_codes(work, out, scratch)),
        }
    }
}
