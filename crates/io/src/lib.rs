//! Files: finding a model, reading headers and rows, the layouts, and writing an output folder that exists complete or not at all.
//!
//! Not here: which layers are quantized and how (engine), arithmetic (kernels). Weights are read by positioned reads, never by mapping:
//! a file cut short under a mapping raises SIGBUS, which no error layer can catch.
#![forbid(unsafe_code)]

pub mod calibration;
pub mod disk;
pub mod errno;
pub mod error;
pub mod fault;
pub mod gguf;
mod guard;
pub mod header;
pub mod json;
pub mod layout;
pub mod os;
pub mod output;
pub mod parquet;
pub mod source;
pub mod weights;

pub use calibration::{Calibration, CalibrationError};
pub use disk::Disk;
pub use error::{Defect, IoError, IoOp, MetadataProblem, Missing};
pub use header::{Header, TensorInfo};
