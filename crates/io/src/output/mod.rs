//! Writing: a staging folder beside the output, shards with planned offsets, one rename at the end.

mod container;
mod shard_writer;
mod staging;
mod tree_hash;

pub use container::Container;
pub use shard_writer::{Placed, ShardWriter, WrittenShard};
pub use staging::{Existing, Found, Staging};
