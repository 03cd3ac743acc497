//! The words of the system as types: bit widths, schemes, configuration, reports, error codes.
//!
//! No I/O, no threads, no unsafe: everything here is a pure function of its arguments, so the planner and the tests can use it freely.
#![forbid(unsafe_code)]

pub mod bits;
pub mod blocks;
pub mod cancel;
pub mod config;
pub mod dtype;
pub mod error;
pub mod modality;
pub mod plan_report;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod scheme;
pub mod share;

pub use bits::BitWidth;
pub use blocks::BlockType;
pub use cancel::{CancelToken, StopSource};
pub use config::{GivenConfig, Mode, Profile, ResolvedConfig};
pub use dtype::Dtype;
pub use modality::Modality;
pub use progress::{Notice, Numbered, Phase, ProgressEvent, ProgressSink};
pub use scheme::{Geometry, Method, ScaleDtype, Scheme, ZeroKind, group_for, rotation_for};
pub use share::Share;
