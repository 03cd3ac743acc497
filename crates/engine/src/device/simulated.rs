//! A device made of the CPU, for tests of what happens when a device fails. Only in the fault build.

use super::{Backend, Codes, DeviceError, DeviceErrorKind, Work, encode_codes};
use crate::error::Unavailable;
use aq_io::fault::{self, DeviceFault, Effect, Site};
use aq_kernels::{RowFlags, Scratch};

/// The one device.
pub fn open(ordinal: u32) -> Result<Box<dyn Backend>, Unavailable> {
    if ordinal == 0 { Ok(Box::new(Simulated)) } else { Err(Unavailable::NoSuchDevice { found: 1 }) }
}

/// It is always there.
#[expect(clippy::unnecessary_wraps, reason = "real ones may be missing")]
pub const fn present() -> Result<(), Unavailable> {
    Ok(())
}

/// Its name.
#[expect(clippy::unnecessary_wraps, reason = "real ones may be missing")]
pub fn list() -> Result<Vec<Result<String, Unavailable>>, Unavailable> {
    Ok(vec![Ok(Simulated.name())])
}

/// Works until a fault is asked for at site `launch`.
struct Simulated;

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
