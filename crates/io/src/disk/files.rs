//! The operations. Positions make a repeat harmless; what is created is created new.

use super::record::{Bytes, Change, appeared, changed};
use super::{Disk, Failed};
use crate::errno;
use crate::error::{IoError, IoOp};
use crate::os;
use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const COPY_BYTES: usize = 1 << 20;

/// What [`Disk::lock`] found.
pub enum Locked {
    /// It is ours until the file is closed.
    Ours,
    /// Another process or job holds it.
    Theirs,
}

impl Disk {
    /// What is at a path, symlinks followed.
    pub fn metadata(&self, path: &Path) -> Result<Metadata, IoError> {
        self.run(IoOp::Stat, path, |_| Ok(fs::metadata(path)?))
    }

    /// What an open file is.
    pub fn metadata_of(&self, file: &File, path: &Path) -> Result<Metadata, IoError> {
        self.run(IoOp::Stat, path, |_| Ok(file.metadata()?))
    }

    /// [`Disk::metadata`]; `None` where the path leads nowhere.
    pub fn find(&self, path: &Path) -> Result<Option<Metadata>, IoError> {
        self.run(IoOp::Stat, path, |_| absent_is_none(fs::metadata(path)))
    }

    /// The same without following a link.
    pub fn find_link(&self, path: &Path) -> Result<Option<Metadata>, IoError> {
        self.run(IoOp::Stat, path, |_| absent_is_none(fs::symlink_metadata(path)))
    }

    /// Whether a regular file is there.
    pub fn is_file(&self, path: &Path) -> Result<bool, IoError> {
        Ok(self.find(path)?.is_some_and(|m| m.is_file()))
    }

    /// Whether a folder is there.
    pub fn is_folder(&self, path: &Path) -> Result<bool, IoError> {
        Ok(self.find(path)?.is_some_and(|m| m.is_dir()))
    }

    /// Names in a folder, sorted.
    pub fn names(&self, folder: &Path) -> Result<Vec<String>, IoError> {
        self.run(IoOp::List, folder, |_| {
            let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<String>>>()?;
            names.sort();
            Ok(names)
        })
    }

    /// Opens for reading.
    pub fn open(&self, path: &Path) -> Result<File, IoError> {
        self.run(IoOp::Open, path, |_| Ok(File::open(path)?))
    }

    /// Creates a file that must not exist yet, for reading and writing.
    pub fn create_new(&self, path: &Path) -> Result<File, IoError> {
        let create = |_| Ok(File::options().read(true).write(true).create_new(true).open(path)?);
        self.change(IoOp::Create, path, Change::Create(path), create)
    }

    /// Opens a file for reading and writing, created where it is missing, its content kept.
    pub fn open_or_create(&self, path: &Path) -> Result<File, IoError> {
        let create = |_| Ok(File::options().create(true).truncate(false).read(true).write(true).open(path)?);
        self.change(IoOp::Create, path, Change::Create(path), create)
    }

    /// At most `buffer.len()` bytes from `offset`; fewer at the end of the file.
    pub fn read_some(&self, file: &File, path: &Path, buffer: &mut [u8], offset: u64) -> Result<usize, IoError> {
        let mut done = 0;
        while done < buffer.len() {
            let n = self.run(IoOp::Read, path, |short| {
                let rest = &mut buffer[done..];
                let end = if short { rest.len().div_ceil(2) } else { rest.len() };
                Ok(os::read_at(file, &mut rest[..end], offset + done as u64)?)
            });
            let n = n.map_err(|e| e.at(offset + done as u64))?;
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    /// The bytes of a small file, `most` and one at most.
    pub fn read_file(&self, path: &Path, most: u64) -> Result<Vec<u8>, IoError> {
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        while bytes.len() as u64 <= most {
            let at = bytes.len();
            let n = COPY_BYTES.min((most + 1 - at as u64) as usize);
            bytes.resize(at + n, 0);
            let read = self.read_some(&file, path, &mut bytes[at..], at as u64)?;
            bytes.truncate(at + read);
            if read < n {
                break;
            }
        }
        Ok(bytes)
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> Result<(), IoError> {
        let mut done = 0;
        while done < bytes.len() {
            let written = self.run(IoOp::Write, path, |short| {
                let rest = &bytes[done..];
                let end = if short { rest.len().div_ceil(2) } else { rest.len() };
                match os::write_at(file, &rest[..end], offset + done as u64)? {
                    0 => Err(Failed::System(io::ErrorKind::WriteZero.into())),
                    n => Ok(n),
                }
            });
            let written = written.map_err(|e| e.at(offset + done as u64))?;
            changed(Change::Write(path, offset + done as u64, Bytes(&bytes[done..done + written])));
            done += written;
        }
        Ok(())
    }

    /// Gives a file its length.
    pub fn set_len(&self, file: &File, path: &Path, len: u64) -> Result<(), IoError> {
        self.change(IoOp::Write, path, Change::Length(path, len), |_| Ok(file.set_len(len)?))
    }

    /// Makes a file's bytes durable; never repeated.
    pub fn sync(&self, file: &File, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::Sync, path, Change::Sync(path), |_| Ok(file.sync_all()?))
    }

    /// Makes names in a folder durable.
    pub fn sync_folder(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::Sync, path, Change::SyncFolder(path), |_| Ok(os::sync_folder(path)?))
    }

    /// Creates a file with these bytes, durable.
    pub fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let file = self.create_new(path)?;
        self.write_at(&file, path, bytes, 0)?;
        self.sync(&file, path)
    }

    /// Copies the bytes of a file into a new one, durable. `check` is polled once per MiB.
    pub fn copy<E: From<IoError>>(&self, from: &Path, to: &Path, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let (source, target) = (self.open(from)?, self.create_new(to)?);
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        loop {
            check()?;
            let n = self.read_some(&source, from, &mut buffer, at)?;
            self.write_at(&target, to, &buffer[..n], at)?;
            at += n as u64;
            if n < buffer.len() {
                return Ok(self.sync(&target, to)?);
            }
        }
    }

    /// Carries a large file over: shared blocks where the file system can, else a hard link, else a copy.
    pub fn carry<E: From<IoError>>(&self, from: &Path, to: &Path, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        // A symlink standing in the source (a hub cache is made of them) is followed: the output must not point into a cache.
        let from = self.run(IoOp::Link, from, |_| Ok(fs::canonicalize(from)?))?;
        if reflink_copy::reflink(&from, to).is_ok() || fs::hard_link(&from, to).is_ok() {
            appeared(to);
            return Ok(self.sync(&self.open(to)?, to)?);
        }
        self.copy(&from, to, check)
    }

    /// Creates a folder that must not exist yet.
    pub fn create_folder(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::Mkdir, path, Change::Folder(path), |_| Ok(fs::create_dir(path)?))
    }

    /// Creates a folder unless it is there; whether it was created.
    pub fn ensure_folder(&self, path: &Path) -> Result<bool, IoError> {
        self.change(IoOp::Mkdir, path, Change::Folder(path), |_| match fs::create_dir(path) {
            // Or was there: others may remove it at any moment.
            Err(e)
                if e.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(path).map_or(true, |m| m.is_dir() || path.is_dir()) =>
            {
                Ok(false)
            }
            made => Ok(made.map(|()| true)?),
        })
    }

    /// Creates a folder and its missing parents.
    pub fn create_folders(&self, path: &Path) -> Result<(), IoError> {
        if self.is_folder(path)? {
            return Ok(());
        }
        self.change(IoOp::Mkdir, path, Change::Folder(path), |_| Ok(fs::create_dir_all(path)?))
    }

    /// Gives a file or folder another name.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.change(IoOp::Rename, to, Change::Rename(from, to), |_| Ok(fs::rename(from, to)?))
    }

    /// Removes a file, or a folder with what is in it; nothing there is fine.
    pub fn remove(&self, path: &Path) -> Result<(), IoError> {
        let Some(meta) = self.find_link(path)? else { return Ok(()) };
        self.change(IoOp::Remove, path, Change::Remove(path), |_| {
            let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.or_else(|e| if errno::is_absent(&e) { Ok(()) } else { Err(e) }).map_err(Failed::from)
        })
    }

    /// Removes a folder if it is empty.
    pub fn remove_empty(&self, path: &Path) -> Result<(), IoError> {
        self.change(IoOp::Remove, path, Change::Remove(path), |_| Ok(fs::remove_dir(path)?))
    }

    /// Takes the advisory lock of a file, which dies with its process.
    pub fn lock(&self, file: &File, path: &Path) -> Result<Locked, IoError> {
        self.run(IoOp::Lock, path, |_| match file.try_lock() {
            Ok(()) => Ok(Locked::Ours),
            Err(TryLockError::WouldBlock) => Ok(Locked::Theirs),
            Err(TryLockError::Error(e)) => Err(Failed::System(e)),
        })
    }

    /// Whether the open file is still the one at `path`. Where the system does not tell, an open file keeps its name.
    pub fn still_at(&self, file: &File, path: &Path) -> Result<bool, IoError> {
        let open = self.run(IoOp::Stat, path, |_| Ok(file.metadata()?))?;
        Ok(self.find_link(path)?.is_some_and(|named| os::place(&named) == os::place(&open)))
    }

    /// A path with every link in it resolved; `None` where it leads nowhere.
    pub fn resolved(&self, path: &Path) -> Result<Option<PathBuf>, IoError> {
        self.run(IoOp::Stat, path, |_| absent_is_none(fs::canonicalize(path)))
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> Result<Option<T>, Failed> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if errno::is_absent(&e) => Ok(None),
        Err(e) => Err(Failed::System(e)),
    }
}
