//! One weight file, kept open for the whole job, with the means to notice that it changed.

use super::classify::stat_regular;
use crate::error::{Defect, IoError, IoOp, Missing};
use crate::header::{Header, read};
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One weight file.
#[derive(Debug)]
pub struct Shard {
    /// Its path.
    pub path: PathBuf,
    /// Its name in the component's folder.
    pub file_name: String,
    /// Its checked header.
    pub header: Header,
    /// Bytes.
    pub len: u64,
    modified: Option<SystemTime>,
    file: File,
}

impl Shard {
    /// Opens a file and checks its header. `index`: the file that names it, for the error when it is missing.
    pub fn open(path: &Path, index: Option<&Path>) -> Result<Self, IoError> {
        let what = if index.is_some() { Missing::Shard } else { Missing::Model };
        stat_regular(path, what, index)?;
        let file = File::open(path).map_err(IoError::file(IoOp::Open, path))?;
        let meta = file.metadata().map_err(IoError::file(IoOp::Stat, path))?;
        let header = Header::read(&file, path, meta.len())?;
        let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { path: path.into(), file_name, header, len: meta.len(), modified: modified(&meta), file })
    }

    /// Reads bytes of the file.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        read(&self.file, &self.path, buffer, offset)
    }

    /// Fails if the file's length or time stamp is no longer that of the start: what was read may be of two versions.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        let meta = self.file.metadata().map_err(IoError::file(IoOp::Stat, &self.path))?;
        if meta.len() == self.len && modified(&meta) == self.modified {
            return Ok(());
        }
        Err(IoError::damaged_by(&self.path, None, Defect::ChangedWhileReading, meta.len(), self.len))
    }
}

fn modified(meta: &Metadata) -> Option<SystemTime> {
    meta.modified().ok()
}
