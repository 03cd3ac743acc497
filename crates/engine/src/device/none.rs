//! Where NVIDIA has no driver.

use super::Backend;
use crate::error::Unavailable;

/// Never.
pub const fn open(_ordinal: u32) -> Result<Box<dyn Backend>, Unavailable> {
    Err(Unavailable::NoBackend)
}

/// Never.
pub const fn present() -> Result<(), Unavailable> {
    Err(Unavailable::NoBackend)
}

/// None.
pub const fn list() -> Result<Vec<Result<String, Unavailable>>, Unavailable> {
    Err(Unavailable::NoBackend)
}
