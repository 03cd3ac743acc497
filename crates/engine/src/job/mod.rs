//! The job: open, plan, quantize, commit. No step goes back.

mod blocks;
mod carry;
mod context;
mod files;
mod layer;
pub(crate) mod manifest;
mod pool;
mod quality;
mod report;
mod run;

pub use blocks::{Block, row_blocks};
pub use carry::unravel;
pub use layer::figures;
pub use pool::{pool, thread_count};
pub use run::{QuantizeRequest, quantize};
