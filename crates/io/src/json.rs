//! Small JSON files: bounded, and with the path in every error.

use crate::error::{IoError, IoOp, MetadataProblem};
use crate::source::SPECIAL_FILE;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No config, index or metadata file is larger; a 100,000-tensor index has about 10 MB.
const MOST_BYTES: u64 = 100_000_000;

/// Reads a JSON file. Depth is bounded by the parser (128).
pub fn read(path: &Path) -> Result<Value, IoError> {
    let meta = std::fs::metadata(path).map_err(IoError::file(IoOp::Stat, path))?;
    if !meta.is_file() && !meta.is_dir() {
        // Opening a FIFO would wait for a writer. A folder's own error says what it is.
        return Err(IoError::Unsupported { path: path.into(), detected: SPECIAL_FILE.into() });
    }
    let file = File::open(path).map_err(IoError::file(IoOp::Open, path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(IoError::file(IoOp::Read, path))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(IoError::Unsupported { path: path.into(), detected: "a JSON file of over 100 MB".into() });
    }
    serde_json::from_slice(&bytes).map_err(|source| IoError::Json { path: path.into(), source })
}

/// Reads a JSON file whose root must be an object.
pub fn read_object(path: &Path) -> Result<Map<String, Value>, IoError> {
    match read(path)? {
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
