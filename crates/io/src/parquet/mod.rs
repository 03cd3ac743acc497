//! The Parquet archive: one file a component, one row a tensor, so that any tool that reads Parquet can ask about layers.
//!
//! Codes, scales and zeros are values of three binary columns. They stand uncompressed in pages of one value, whose places follow from the
//! plan, so that rows of weights are written and read where they are and memory never holds a layer. Every row is a row group. The other
//! columns, pages of one value too, and the footer are known when the layers are and come last. The footer and all reading of values are the
//! work of the `parquet` crate.

mod chunks;
mod fields;
mod page;
mod read;
mod row;
mod sums;
mod tail;
mod thrift;

pub(crate) use chunks::{ChunkError, Chunks};
pub use page::lead;
pub(crate) use read::{begins, read};
pub use row::{Row, json_cell};
pub use sums::Sums;
pub use tail::Closing;
pub(crate) use tail::{Below, write_tail};

use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

/// First and last bytes of a file.
pub const MAGIC: &[u8; 4] = b"PAR1";
/// What a name ends with, before which stands the component's.
pub const EXTENSION: &str = "arrow-quant.parquet";
/// Bytes of one value of `data`, at most: a layer with more is cut into several rows.
pub const MOST_DATA: u64 = 512 << 20;
/// What a row takes besides its bytes, about: its other columns and its part of the footer.
pub const ROW_BYTES: u64 = 2500;
/// The version of the columns and of what they mean.
pub const FORMAT_VERSION: u64 = 2;
/// Who wrote a file: another program does not keep bytes where they are looked for.
const CREATED_BY: &str = "arrow-quant";
const VERSION_KEY: &str = "arrow_quant.format_version";

/// The columns that hold bytes of tensors, in their order.
pub const BYTES: [&str; 3] = ["data", "scales", "zero_points"];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Long,
    Longs,
    Double,
    Flag,
    Binary,
    Large,
}

/// Name, kind, and whether it may be absent.
const COLUMNS: [(&str, Kind, bool); 28] = [
    ("layer_name", Kind::Text, false),
    ("tensor_name", Kind::Text, false),
    ("part", Kind::Int, false),
    ("parts", Kind::Int, false),
    ("shape", Kind::Longs, false),
    ("dtype", Kind::Text, false),
    ("data", Kind::Large, false),
    ("num_params", Kind::Long, false),
    ("quant_type", Kind::Text, false),
    ("symmetric", Kind::Flag, true),
    ("scales", Kind::Large, true),
    ("zero_points", Kind::Large, true),
    ("meta_dtype", Kind::Text, true),
    ("quant_axis", Kind::Int, true),
    ("group_size", Kind::Int, true),
    ("rotation", Kind::Text, true),
    ("method", Kind::Text, true),
    ("bias_correction", Kind::Binary, true),
    ("is_diffusion_model", Kind::Flag, false),
    ("modality", Kind::Text, true),
    ("time_aware_quant_json", Kind::Text, true),
    ("spatial_quant_json", Kind::Text, true),
    ("activation_stats_json", Kind::Text, true),
    ("cosine", Kind::Double, true),
    ("sqnr_db", Kind::Double, true),
    ("worst_row_cosine", Kind::Double, true),
    ("bits_per_weight", Kind::Double, true),
    ("crc32c", Kind::Long, false),
];

/// The one page of a row in a column.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    at: u64,
    /// With its header.
    size: u64,
    values: u64,
}

/// Those that are no bytes of tensors.
fn told() -> impl Iterator<Item = (&'static str, Kind, bool)> {
    COLUMNS.into_iter().filter(|(name, ..)| !BYTES.contains(name))
}

fn schema_of(columns: impl Iterator<Item = (&'static str, Kind, bool)>) -> Schema {
    let field = |(name, kind, optional): (&str, Kind, bool)| {
        let data = match kind {
            Kind::Text => DataType::Utf8,
            Kind::Int => DataType::Int32,
            Kind::Long => DataType::Int64,
            Kind::Longs => DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
            Kind::Double => DataType::Float64,
            Kind::Flag => DataType::Boolean,
            Kind::Binary => DataType::Binary,
            Kind::Large => DataType::LargeBinary,
        };
        Field::new(name, data, optional)
    };
    Schema::new(columns.map(field).collect::<Vec<_>>())
}
