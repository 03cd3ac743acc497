//! Encoding of rows on an NVIDIA GPU, with the bits of the CPU.
//!
//! Nothing is needed to build this: the kernels are committed as PTX, and the driver is opened at run time, not before somebody asks for a
//! device. `kernels/` holds the sources, written from `aq-kernels`, which is the specification; `scripts/ptx.sh` compiles them.
//!
//! Not here: when a device is worth it, what happens when it fails, and everything that is not grouped integers. That is the engine's.

mod device;
pub mod launch;
mod probe;
mod status;

pub use device::{Device, Encoded, Lane, Rows};
pub use probe::{Unavailable, list, open, present};
pub use status::{Failure, Kind};
