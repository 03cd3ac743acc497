//! A file that is read during the whole job, with the means to notice that it is no longer the one that was opened.

use super::{Disk, Failed};
use crate::errno;
use crate::error::{Defect, IoError, IoOp};
use crate::os;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

/// A buffer of a size that a file asks for.
pub(crate) fn buffer(len: usize) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| IoError::OutOfMemory { requested: len as u64 })?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and inode.
    place: Option<(u64, u64)>,
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self { len: meta.len(), modified: meta.modified().ok(), place: os::place(meta) }
    }
}

/// An open input.
#[derive(Debug)]
pub struct InputFile {
    path: PathBuf,
    disk: Disk,
    file: RwLock<File>,
    identity: Identity,
    reopened: AtomicBool,
}

impl InputFile {
    /// Opens a file for positioned reads.
    pub fn open(disk: &Disk, path: &Path) -> Result<Self, IoError> {
        let file = disk.open(path)?;
        let meta = disk.metadata_of(&file, path)?;
        let (path, disk) = (path.to_path_buf(), disk.clone());
        Ok(Self { path, disk, file: RwLock::new(file), identity: Identity::of(&meta), reopened: AtomicBool::new(false) })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes when it was opened.
    pub const fn len(&self) -> u64 {
        self.identity.len
    }

    /// Time of the last change when it was opened, milliseconds since 1970.
    pub fn modified_ms(&self) -> Option<u64> {
        let since = self.identity.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_millis() as u64)
    }

    /// Whether it had no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset`; an early end means that the file became shorter than it was.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        let mut done = 0;
        while done < buffer.len() {
            let n = self.disk.run(IoOp::Read, &self.path, |short| {
                let rest = &mut buffer[done..];
                let end = if short { rest.len().div_ceil(2) } else { rest.len() };
                let read = os::read_at(&self.file.read().unwrap_or_else(PoisonError::into_inner), &mut rest[..end], offset + done as u64);
                read.or_else(|e| self.failed(e))
            });
            let n = n.map_err(|e| e.at(offset + done as u64))?;
            if n == 0 {
                return Err(IoError::damaged(&self.path, None, Defect::ChangedWhileReading));
            }
            done += n;
        }
        Ok(())
    }

    /// BLAKE3, hexadecimal, of a few pieces from all over the file: it tells files of one size and shape apart (two trainings of a model)
    /// without reading them, wherever they stand. It finds no change of single bytes.
    pub fn sample(&self) -> Result<String, IoError> {
        const PIECES: u64 = 16;
        const PIECE: u64 = 4096;
        let mut hash = blake3::Hasher::new();
        for i in 0..PIECES {
            let at = (u128::from(self.len().saturating_sub(PIECE)) * u128::from(i) / u128::from(PIECES - 1)) as u64;
            let mut bytes = vec![0; PIECE.min(self.len() - at) as usize];
            self.read(&mut bytes, at)?;
            hash.update(&bytes);
        }
        Ok(hash.finalize().to_hex().to_string())
    }

    /// Has the system read some bytes that will be wanted soon, while others are worked on. They go to its cache, not to this process.
    pub fn read_ahead(&self, bytes: Range<u64>) {
        let end = bytes.end.min(self.len());
        if bytes.start < end {
            os::read_ahead(&self.file.read().unwrap_or_else(PoisonError::into_inner), bytes.start, end - bytes.start);
        }
    }

    /// A stale handle (NFS) never works again, but the file may: it is opened anew once, if it is still the same.
    fn failed(&self, error: io::Error) -> Result<usize, Failed> {
        if errno::name(&error) == "ESTALE" && !self.reopened.swap(true, Ordering::Relaxed) {
            let file = File::open(&self.path)?;
            if Identity::of(&file.metadata()?) != self.identity {
                return Err(Failed::Final(IoError::damaged(&self.path, None, Defect::ChangedWhileReading)));
            }
            *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        }
        Err(Failed::System(error))
    }

    /// Fails if length, time stamp or place are no longer those of the start: what was read may be of two versions. The path is asked
    /// too: a file put in its place leaves the open one as it was.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        let open = self.disk.metadata_of(&self.file.read().unwrap_or_else(PoisonError::into_inner), &self.path)?;
        for meta in [Some(open), self.disk.find(&self.path)?] {
            let now = meta.as_ref().map(Identity::of);
            if now.as_ref() != Some(&self.identity) {
                let found = now.map_or_else(|| "nothing".into(), |n| n.len.to_string());
                return Err(IoError::damaged_by(&self.path, None, Defect::ChangedWhileReading, found, self.identity.len));
            }
        }
        Ok(())
    }
}
