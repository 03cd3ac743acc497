//! Orchestration: what is quantized and how, the pipeline from rows to files, validation, reports.
//!
//! Knows the kernels, the layouts and the backends only by their interfaces. No napi, no JavaScript: `crates/node` converts.
#![forbid(unsafe_code)]

pub mod calibration;
pub mod control;
pub mod device;
pub mod error;
pub mod export;
pub mod guard;
pub mod histogram;
pub mod inspect;
pub mod job;
pub mod ledger;
pub mod memory;
pub mod modality;
pub mod names;
pub mod open;
pub mod plan;
pub mod progress;
pub mod rules;
pub mod supervise;
pub mod tensor;
pub mod time;
pub mod time_path;
pub mod tuning;
pub mod validate;

pub use control::Control;
pub use error::{Failure, QuantError};

/// Version of this program, as in reports and manifests.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
