//! NVIDIA GPUs behind the trait.

use super::{Backend, Codes, DeviceError, DeviceErrorKind, Work};
use crate::error::Unavailable;
use aq_cuda::{Encoded, Failure, Kind, Rows};
use aq_kernels::{RowCodec, RowFlags, Scratch};
use std::sync::Arc;

/// A GPU.
struct Cuda {
    device: Arc<aq_cuda::Device>,
    name: String,
}

/// Opens a GPU.
pub fn open(ordinal: u32) -> Result<Box<dyn Backend>, Unavailable> {
    let device = aq_cuda::open(ordinal)?;
    let name = device.name().map_err(aq_cuda::Unavailable::from)?;
    Ok(Box::new(Cuda { device, name }))
}

/// Why there is none; what can be told without opening one.
pub fn present() -> Result<(), Unavailable> {
    Ok(aq_cuda::present()?)
}

/// The names of all GPUs, or why one is not used; nothing is allocated.
pub fn list() -> Result<Vec<Result<String, Unavailable>>, Unavailable> {
    let found = aq_cuda::list()?;
    Ok(found.into_iter().map(|name| Ok(name?)).collect())
}

impl Backend for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn encode(&self, work: &Work<'_>, out: Codes<'_>, _scratch: &mut Scratch) -> Result<RowFlags, DeviceError> {
        let Work { geometry, scheme, tuning, weights, .. } = *work;
        let Codes { values: codes, scales, zeros } = out;
        let rotated_too_large = self.device.encode(Rows { geometry, scheme, tuning, weights }, Encoded { codes, scales, zeros })?;
        Ok(RowFlags { rotated_too_large, ..RowCodec::new(geometry, scheme, tuning).flags_of(scales, zeros) })
    }
}

impl Drop for Cuda {
    /// The device stays open for the process; its memory is given back when a job ends.
    fn drop(&mut self) {
        self.device.trim();
    }
}

impl From<Failure> for DeviceError {
    fn from(Failure { op, status, kind }: Failure) -> Self {
        let kind = match kind {
            Kind::OutOfMemory => DeviceErrorKind::OutOfMemory,
            Kind::Passing => DeviceErrorKind::Passing,
            Kind::Sticky => DeviceErrorKind::Sticky,
        };
        Self { op, status, kind }
    }
}

impl From<aq_cuda::Unavailable> for Unavailable {
    fn from(reason: aq_cuda::Unavailable) -> Self {
        match reason {
            aq_cuda::Unavailable::NoSuchDevice { found } => Self::NoSuchDevice { found },
            reason => Self::Driver(reason.to_string()),
        }
    }
}
