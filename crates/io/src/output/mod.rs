//! Writing: a staging folder beside the output, shards with planned offsets, one rename at the end.

mod shard_writer;
mod staging;
mod tree_hash;

pub use shard_writer::{Placed, ShardWriter, WrittenShard, planned_len};
pub use staging::{Existing, Found, Staging};
