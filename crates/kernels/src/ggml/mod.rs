//! Rows to ggml's blocks and back.

mod decode;
mod encode;
mod pack;
mod signed;

pub use decode::decode;
pub use encode::encode;

pub use aq_core::blocks::{BlockType, SUPER};
