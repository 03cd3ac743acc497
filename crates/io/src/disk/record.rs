//! What was changed on disk, in its order, for the test of power loss: from it follows what a disk may hold where the power fails. Only
//! with the cargo feature `fault`; without it every call here is nothing.

use serde::{Serialize, Serializer};
use std::path::Path;

/// A change.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Change<'a> {
    /// There is a file; perhaps there was.
    Create(&'a Path),
    /// There is a folder, with its parents; perhaps there was.
    Folder(&'a Path),
    /// Bytes of a file from a position.
    Write(&'a Path, u64, Bytes<'a>),
    /// A file's length.
    Length(&'a Path, u64),
    /// What a file holds is durable.
    Sync(&'a Path),
    /// Names in a folder are durable.
    SyncFolder(&'a Path),
    /// Another name.
    Rename(&'a Path, &'a Path),
    /// A file or folder is gone, with what was in it.
    Remove(&'a Path),
}

/// Bytes, in JSON a text with one character for each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.iter().map(|&byte| char::from(byte)).collect::<String>())
    }
}

#[cfg(feature = "fault")]
pub(super) use recorder::{appeared, changed};
#[cfg(feature = "fault")]
pub use recorder::{record_changes, recorded_changes};

/// Notes a change that was made.
#[cfg(not(feature = "fault"))]
pub(super) const fn changed(_change: Change<'_>) {}

/// Notes a file that came to be with its bytes.
#[cfg(not(feature = "fault"))]
pub(super) const fn appeared(_path: &Path) {}

#[cfg(feature = "fault")]
mod recorder {
    use super::{Bytes, Change};
    use serde_json::Value;
    use std::fs;
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    fn recording() -> MutexGuard<'static, Option<Vec<Value>>> {
        static RECORDING: Mutex<Option<Vec<Value>>> = Mutex::new(None);
        RECORDING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts recording, for all jobs of the process. Only jobs of one thread change things in the order in which they are noted.
    pub fn record_changes() {
        *recording() = Some(Vec::new());
    }

    /// What was recorded, as JSON; the recording ends.
    pub fn recorded_changes() -> String {
        Value::from(recording().take().unwrap_or_default()).to_string()
    }

    pub(in super::super) fn changed(change: Change<'_>) {
        if let Some(list) = &mut *recording() {
            list.push(serde_json::to_value(change).unwrap_or_default());
        }
    }

    pub(in super::super) fn appeared(path: &Path) {
        changed(Change::Create(path));
        if recording().is_some() {
            changed(Change::Write(path, 0, Bytes(&fs::read(path).unwrap_or_default())));
        }
    }
}
