//! A model on disk as the user points at it: kinds of folders, components, shards, and the files around them.

mod around;
mod classify;
mod component;
mod discover;
mod scales;
mod shard;
mod shard_index;
mod tensor;
mod weight_files;

pub use around::{Carried, LeftOut};
pub use classify::SPECIAL_FILE;
pub(crate) use classify::{extension, stat_regular};
pub use component::Component;
pub use discover::{Source, SourceKind, open};
pub use shard::Shard;
pub use tensor::SourceTensor;
