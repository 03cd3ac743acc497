//! What a path is, before it is opened: opening a FIFO would block, and a pickle is never read.

use crate::disk::Disk;
use crate::errno;
use crate::error::{IoError, Missing};
use crate::gguf::MAGIC;
use crate::parquet;
use std::fs::Metadata;
use std::path::Path;

/// Extensions of weight files, ours to read or not; none of them is carried over unasked.
pub const WEIGHT_EXTENSIONS: [&str; 12] =
    ["safetensors", "bin", "pt", "pth", "ckpt", "pkl", "gguf", "onnx", "onnx_data", "h5", "msgpack", "npz"];

/// Extensions that hold, or may hold, Python pickles.
pub const PICKLE_EXTENSIONS: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];

/// What neither holds bytes nor files.
pub const SPECIAL_FILE: &str = "a special file (FIFO, socket or device)";

/// The extension, lower case.
pub fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Stat that tells "not there" from other failures. Symlinks are followed.
pub fn stat(disk: &Disk, path: &Path, what: Missing, referenced_by: Option<&Path>) -> Result<Metadata, IoError> {
    disk.metadata(path).map_err(|e| match e {
        IoError::File { source, .. } if errno::is_absent(&source) => {
            IoError::NotFound { path: path.into(), what, referenced_by: referenced_by.map(Into::into), source: Some(source) }
        }
        other => other,
    })
}

/// [`stat`], refusing anything but a regular file.
pub fn stat_regular(disk: &Disk, path: &Path, what: Missing, referenced_by: Option<&Path>) -> Result<Metadata, IoError> {
    let meta = stat(disk, path, what, referenced_by)?;
    if meta.is_file() {
        return Ok(meta);
    }
    let detected = if meta.is_dir() { "a folder" } else { SPECIAL_FILE };
    Err(IoError::Unsupported { path: path.into(), detected: detected.into() })
}

/// What a file that is neither safetensors nor GGUF is, from its extension and first bytes.
pub fn detect_foreign(disk: &Disk, path: &Path) -> Result<Option<String>, IoError> {
    let mut first = [0; 8];
    let n = disk.read_some(&disk.open(path)?, path, &mut first, 0)?;
    let first = &first[..n];
    let extension = extension(path);
    Ok(if PICKLE_EXTENSIONS.contains(&extension.as_str()) || first.starts_with(b"PK\x03\x04") {
        Some("a pickled checkpoint".into())
    } else if first.starts_with(MAGIC) || first.starts_with(parquet::MAGIC) || extension == "safetensors" {
        None
    } else {
        Some(if extension.is_empty() { "a file without extension".into() } else { format!("a .{extension} file") })
    })
}
