//! The columns of the Parquet and Arrow forms, as they come out of those libraries.
//!
//! `layer_name` utf8 in any encoding, `timestep`, `rows`, `in_features` int32 or int64, `data` binary (little-endian f32, row after row) or
//! list of float32 or float64, and perhaps `weight` float32 or float64. Other columns are left alone.

use super::index::{Record, miscount};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

/// Columns without the values of the rows; `weight` may be absent.
pub(super) const INDEX: [&str; 5] = ["layer_name", "timestep", "rows", "in_features", "weight"];
/// The values.
pub(super) const DATA: &str = "data";

/// Places of the columns of [`INDEX`], and of [`DATA`].
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub index: Vec<usize>,
    pub data: usize,
}

impl Columns {
    /// Finds the columns of a schema and checks their types.
    pub fn of(schema: &Schema) -> Result<Self, String> {
        let find = |name: &str| {
            let mut found = schema.fields().iter().enumerate().filter(|(_, f)| f.name() == name);
            let first = found.next();
            if found.next().is_some() { Err(format!("two columns are named {name}")) } else { Ok(first) }
        };
        let mut index = Vec::new();
        for name in INDEX {
            match find(name)? {
                Some((i, field)) => {
                    check(field, name)?;
                    index.push(i);
                }
                None if name == "weight" => {}
                None => return Err(format!("there is no column {name}")),
            }
        }
        let (data, field) = find(DATA)?.ok_or_else(|| format!("there is no column {DATA}"))?;
        check(field, DATA)?;
        Ok(Self { index, data })
    }
}

fn check(field: &Field, name: &str) -> Result<(), String> {
    let dtype = field.data_type();
    let (fits, expected) = match name {
        "layer_name" => (is_text(dtype), "utf8"),
        "weight" => (is_float(dtype), "float32 or float64"),
        DATA => (is_data(dtype), "binary or a list of float32 or float64"),
        _ => (matches!(dtype, DataType::Int32 | DataType::Int64), "int32 or int64"),
    };
    if fits { Ok(()) } else { Err(format!("column {name} is {dtype}, not {expected}")) }
}

fn is_text(dtype: &DataType) -> bool {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => matches!(**values, DataType::Utf8 | DataType::LargeUtf8),
        _ => false,
    }
}

const fn is_float(dtype: &DataType) -> bool {
    matches!(dtype, DataType::Float32 | DataType::Float64)
}

fn is_data(dtype: &DataType) -> bool {
    match dtype {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::List(child) | DataType::LargeList(child) => is_float(child.data_type()),
        _ => false,
    }
}

/// The records of a batch that holds the columns of [`INDEX`].
pub(super) fn records(batch: &RecordBatch) -> Vec<Record> {
    let column = |name: &str| batch.column_by_name(name).map(AsRef::as_ref);
    let integer = |name: &str, row: usize| column(name).and_then(|c| integer(c, row));
    (0..batch.num_rows())
        .map(|row| Record {
            layer: column("layer_name").and_then(|c| text(c, row)),
            step: integer("timestep", row),
            rows: integer("rows", row),
            in_features: integer("in_features", row),
            weight: column("weight").and_then(|c| float(c, row)),
        })
        .collect()
}

fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Some(column.as_string_view().value(row).to_owned()),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary_opt()?;
            let key = *dictionary.normalized_keys().get(row)?;
            text(dictionary.values().as_ref(), key)
        }
        _ => None,
    }
}

fn integer(column: &dyn Array, row: usize) -> Option<i64> {
    match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
        _ => None,
    }
}

fn float(column: &dyn Array, row: usize) -> Option<f64> {
    match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::Float32 => Some(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        _ => None,
    }
}

/// Checks that row `row` of the data column holds the values of this shape. Before any buffer is made: the shape is only what a record says.
pub(super) fn check_values(column: &dyn Array, row: usize, shape: (usize, usize)) -> Result<(), String> {
    if column.is_null(row) {
        return Err("has no data".into());
    }
    if let Some(bytes) = bytes_at(column, row) {
        return check_bytes(bytes.len() as u64, shape);
    }
    let list = list_at(column, row);
    check_count(list.len(), shape)?;
    if list.null_count() > 0 { Err("holds values that are null".into()) } else { Ok(()) }
}

/// Appends the first `wanted` values of a row that was checked.
pub(super) fn append_values(column: &dyn Array, row: usize, wanted: usize, out: &mut Vec<f32>) {
    if let Some(bytes) = bytes_at(column, row) {
        out.extend(bytes.as_chunks::<4>().0[..wanted].iter().map(|b| f32::from_le_bytes(*b)));
        return;
    }
    let list = list_at(column, row);
    if let Some(list) = list.as_primitive_opt::<Float32Type>() {
        out.extend_from_slice(&list.values()[..wanted]);
    } else if let Some(list) = list.as_primitive_opt::<Float64Type>() {
        out.extend(list.values()[..wanted].iter().map(|&v| v as f32));
    }
}

fn bytes_at(column: &dyn Array, row: usize) -> Option<&[u8]> {
    match column.data_type() {
        DataType::Binary => Some(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(column.as_binary_view().value(row)),
        _ => None,
    }
}

fn list_at(column: &dyn Array, row: usize) -> ArrayRef {
    match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        _ => column.as_list::<i64>().value(row),
    }
}

/// Bytes of a record of this shape; a problem unless there are as many.
pub(super) fn check_bytes(len: u64, shape: (usize, usize)) -> Result<(), String> {
    if !len.is_multiple_of(4) {
        return Err(format!("holds {len} bytes, which are no whole number of 4-byte floats"));
    }
    check_count((len / 4) as usize, shape)
}

/// Values of a record of this shape; a problem unless there are as many.
pub(super) fn check_count(values: usize, (rows, in_features): (usize, usize)) -> Result<(), String> {
    if values == rows * in_features { Ok(()) } else { Err(miscount(values, rows, in_features)) }
}
