//! For tests only: safetensors files made byte by byte, deterministic weights, small model folders, snapshots of folders.
//!
//! Knows none of the other crates, so that a mistake in a reader cannot hide behind the same mistake in a writer.
#![forbid(unsafe_code)]

pub mod floats;
pub mod gguf_file;
pub mod model;
pub mod random;
pub mod safetensors_file;
pub mod tree;

pub use floats::Float;
pub use gguf_file::GgufFile;
pub use random::{SplitMix, gauss, heavy};
pub use safetensors_file::SafetensorsFile;
pub use tree::{Tree, snapshot};
