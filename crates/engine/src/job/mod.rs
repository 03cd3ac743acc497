//! The job: open, plan, quantize, commit. No step goes back.

mod before;
mod blocks;
mod carry;
mod checksum;
mod context;
mod files;
mod finish;
mod journal;
mod judge;
mod layer;
pub(crate) mod manifest;
mod pool;
mod quality;
mod report;
mod rotation;
mod run;
mod second;
mod tables;
mod target;
mod tasks;

pub use blocks::{Block, ROW_STEP, row_blocks, working_set};
pub use carry::{not_carried, unravel};
pub use layer::figures;
pub use pool::{pool, thread_count};
pub use run::{QuantizeRequest, quantize};
