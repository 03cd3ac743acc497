//! Whether there is a device. Never panics, whatever driver is found: one that lacks a function is a reason like any other.

use crate::device::Device;
use crate::status::{Failure, during};
use cudarc::driver::{CudaContext, sys};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The architecture that the PTX is for; newer ones run it.
const LEAST_CAPABILITY: (i32, i32) = (7, 0);

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No driver library.
    #[error("no NVIDIA driver was found")]
    NoDriver,
    /// Fewer devices.
    #[error("this machine has {found} NVIDIA device(s), numbered from 0")]
    NoSuchDevice {
        /// How many there are.
        found: u32,
    },
    /// An old card.
    #[error("{name} has compute capability {}.{}, 7.0 is needed", capability.0, capability.1)]
    OldDevice {
        /// Its name.
        name: String,
        /// What it has.
        capability: (i32, i32),
    },
    /// A driver that cannot read the kernels.
    #[error("the NVIDIA driver is older than R525 and cannot load the kernels")]
    OldDriver,
    /// A call failed.
    #[error("the NVIDIA driver says {status} ({op})")]
    Failed {
        /// What was being done.
        op: &'static str,
        /// The driver's name for the failure.
        status: String,
    },
}

impl From<Failure> for Unavailable {
    fn from(Failure { op, status, .. }: Failure) -> Self {
        match status.as_str() {
            "CUDA_ERROR_NO_DEVICE" => Self::NoSuchDevice { found: 0 },
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" => Self::OldDriver,
            _ => Self::Failed { op, status },
        }
    }
}

/// The devices of this machine, each with its name or why it cannot be used. Nothing is allocated on them.
pub fn list() -> Result<Vec<Result<String, Unavailable>>, Unavailable> {
    let one = |ordinal: u32| Ok(context(ordinal)?.name().map_err(during("open"))?);
    guarded("open", || Ok((0..count()?).map(one).collect()))
}

/// Whether a driver is there and counts at least one device; cheaper than opening it.
pub fn present() -> Result<(), Unavailable> {
    guarded("count", || count().map(|_| ()))
}

/// Opens a device, once for the process: contexts and modules are dear.
pub fn open(ordinal: u32) -> Result<Arc<Device>, Unavailable> {
    static OPEN: Mutex<BTreeMap<u32, Arc<Device>>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = guarded("open", || {
        let found = count()?;
        if ordinal >= found {
            return Err(Unavailable::NoSuchDevice { found });
        }
        Ok(Arc::new(Device::new(context(ordinal)?)?))
    })?;
    open.insert(ordinal, device.clone());
    Ok(device)
}

/// A device that runs the kernels.
fn context(ordinal: u32) -> Result<Arc<CudaContext>, Unavailable> {
    let context = CudaContext::new(ordinal as usize).map_err(during("open"))?;
    let capability = context.compute_capability().map_err(during("open"))?;
    if capability < LEAST_CAPABILITY {
        return Err(Unavailable::OldDevice { name: context.name().map_err(during("open"))?, capability });
    }
    Ok(context)
}

fn count() -> Result<u32, Unavailable> {
    let count = CudaContext::device_count().map_err(during("count"))?;
    match u32::try_from(count) {
        Ok(0) | Err(_) => Err(Unavailable::NoSuchDevice { found: 0 }),
        Ok(count) => Ok(count),
    }
}

/// Calls into the driver, if there is one.
fn guarded<T>(op: &'static str, call: impl FnOnce() -> Result<T, Unavailable>) -> Result<T, Unavailable> {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    // SAFETY: opening the driver's library runs its initialisers, which is what everybody who uses a GPU trusts it with.
    let present = || catch_unwind(|| unsafe { sys::is_culib_present() }).unwrap_or(false);
    if !*PRESENT.get_or_init(present) {
        return Err(Unavailable::NoDriver);
    }
    // cudarc panics where the library lacks a function.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(Failure::panicked(op).into()))
}
