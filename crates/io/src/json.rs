//! Small JSON files: bounded, and with the path in every error.

use crate::disk::Disk;
use crate::error::{IoError, MetadataProblem};
use crate::source::SPECIAL_FILE;
use serde_json::{Map, Value};
use std::path::Path;

/// No config, index or metadata file is larger; a 100,000-tensor index has about 10 MB.
const MOST_BYTES: u64 = 100_000_000;

/// Reads a JSON file. Depth is bounded by the parser (128).
pub fn read(disk: &Disk, path: &Path) -> Result<Value, IoError> {
    let meta = disk.metadata(path)?;
    if !meta.is_file() && !meta.is_dir() {
        // Opening a FIFO would wait for a writer. A folder's own error says what it is.
        return Err(IoError::Unsupported { path: path.into(), detected: SPECIAL_FILE.into() });
    }
    let bytes = disk.read_file(path, MOST_BYTES)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(IoError::Unsupported { path: path.into(), detected: "a JSON file of over 100 MB".into() });
    }
    serde_json::from_slice(&bytes).map_err(|source| IoError::Json { path: path.into(), source })
}

/// Reads a JSON file whose root must be an object.
pub fn read_object(disk: &Disk, path: &Path) -> Result<Map<String, Value>, IoError> {
    match read(disk, path)? {
        Value::Object(map) => Ok(map),
        other => Err(field_type(path, None, "an object", &other)),
    }
}

/// A field of the wrong type.
pub fn field_type(path: &Path, field: Option<&str>, expected: &'static str, found: &Value) -> IoError {
    let problem = MetadataProblem::FieldType { expected, found: type_name(found).into() };
    IoError::Metadata { path: path.into(), field: field.map(Into::into), problem }
}

/// The JSON type of a value, in words.
pub const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
