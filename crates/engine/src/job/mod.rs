//! The job: open, plan, quantize, commit. No step goes back.

pub(crate) mod archive;
pub(crate) mod before;
pub(crate) mod blocks;
pub(crate) mod carry;
mod checksum;
mod context;
pub(crate) mod files;
pub(crate) mod finish;
mod journal;
mod judge;
mod layer;
pub(crate) mod manifest;
mod merge;
mod pace;
mod parts;
mod pool;
mod preview;
mod quality;
mod report;
mod rotation;
mod run;
mod second;
mod share;
pub(crate) mod tables;
mod target;
mod tasks;

pub use blocks::{Block, ROW_STEP, row_blocks, working_set};
pub use carry::{not_carried, unravel};
pub use layer::figures;
pub use merge::{MergeReport, MergeRequest, merge};
pub use pool::{pool, thread_count};
pub use preview::{PlanRequest, preview};
pub use rotation::places;
pub(crate) use run::leftover;
pub use run::{QuantizeRequest, quantize};
pub(crate) use share::is_of_share;
