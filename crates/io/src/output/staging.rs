//! The staging folder `.{name}.aq-partial` beside the output, and the rename that makes the output appear complete or not at all.
//!
//! A lock file in it dies with its process: a locked folder is a running job, an unlocked one is what a dead job left, and is swept.
//! Dropping a staging that was not committed removes it, and the parents it had created.

use crate::error::{IoError, IoOp};
use crate::os;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const CONTENT: &str = "content";
const REPLACED: &str = "replaced";

/// An output folder in the making.
#[derive(Debug)]
pub struct Staging {
    output: PathBuf,
    folder: PathBuf,
    lock: Option<File>,
    overwrite: bool,
    /// Parents that did not exist, outermost first.
    created: Vec<PathBuf>,
    /// A dead job's staging was found and removed.
    pub swept: bool,
    committed: bool,
}

impl Staging {
    /// Creates the staging folder for `output`; refuses an existing output unless it is to be replaced.
    pub fn create(output: &Path, overwrite: bool) -> Result<Self, IoError> {
        let refused = || fs::symlink_metadata(output).is_ok() && !overwrite;
        if refused() {
            return Err(IoError::OutputExists { path: output.into() });
        }
        let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let folder = parent.join(format!(".{name}.aq-partial"));
        let created = create_parents(parent)?;
        let mut staging = Self { output: output.into(), folder, lock: None, overwrite, created, swept: false, committed: false };
        staging.take()?;
        if refused() {
            return Err(IoError::OutputExists { path: output.into() }); // put back just now
        }
        Ok(staging)
    }

    fn take(&mut self) -> Result<(), IoError> {
        let existed = self.folder.exists();
        if !existed {
            fs::create_dir(&self.folder).map_err(IoError::file(IoOp::Create, &self.folder))?;
        }
        let path = self.folder.join(LOCK);
        let mut lock =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(IoError::file(IoOp::Create, &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                // Not ours to remove.
                self.committed = true;
                return Err(IoError::Busy { path: self.output.clone(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(IoError::file(IoOp::Lock, &path)(e)),
        }
        let written = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        written.map_err(IoError::file(IoOp::Write, &path))?;
        self.lock = Some(lock);
        self.put_back()?;
        let content = self.content();
        if content.exists() {
            fs::remove_dir_all(&content).map_err(IoError::file(IoOp::Remove, &content))?;
            self.swept = true;
        }
        fs::create_dir(&content).map_err(IoError::file(IoOp::Create, &content))
    }

    /// Undoes a replacement that died between its two renames: the old output is the only one there is.
    fn put_back(&self) -> Result<(), IoError> {
        let old = self.folder.join(REPLACED);
        let Ok(meta) = fs::symlink_metadata(&old) else { return Ok(()) };
        if fs::symlink_metadata(&self.output).is_err() {
            return fs::rename(&old, &self.output).map_err(IoError::file(IoOp::Rename, &self.output));
        }
        let removed = if meta.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
        removed.map_err(IoError::file(IoOp::Remove, &old))
    }

    fn content(&self) -> PathBuf {
        self.folder.join(CONTENT)
    }

    /// Where a file of the output is written; its folders are created.
    pub fn path(&self, relative: &Path) -> Result<PathBuf, IoError> {
        let path = self.content().join(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(IoError::file(IoOp::Create, parent))?;
        }
        Ok(path)
    }

    /// Writes a small file and syncs it.
    pub fn write(&self, relative: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let path = self.path(relative)?;
        let mut file = File::create(&path).map_err(IoError::file(IoOp::Create, &path))?;
        file.write_all(bytes).map_err(IoError::file(IoOp::Write, &path))?;
        file.sync_all().map_err(IoError::file(IoOp::Sync, &path))
    }

    /// Carries a file over: weights may be linked, others are copied.
    pub fn carry(&self, from: &Path, relative: &Path, weight: bool) -> Result<(), IoError> {
        let to = self.path(relative)?;
        if weight {
            os::carry(from, &to).map_err(IoError::file(IoOp::Link, &to))?;
        } else {
            fs::copy(from, &to).map_err(IoError::file(IoOp::Write, &to))?;
        }
        File::open(&to).and_then(|f| f.sync_all()).map_err(IoError::file(IoOp::Sync, &to))
    }

    /// Syncs the folders and gives the content its name. An output that is replaced stays until the new one has its place.
    pub fn commit(mut self) -> Result<(), IoError> {
        let content = self.content();
        sync_folders(&content)?;
        let old = self.folder.join(REPLACED);
        let replace = fs::symlink_metadata(&self.output).is_ok();
        if replace && !self.overwrite {
            return Err(IoError::OutputExists { path: self.output.clone() }); // it appeared while the job ran
        }
        if replace {
            fs::rename(&self.output, &old).map_err(IoError::file(IoOp::Rename, &self.output))?;
        }
        if let Err(e) = fs::rename(&content, &self.output) {
            if replace {
                // Put the old output back; the first failure is the one to tell.
                let _ = fs::rename(&old, &self.output);
            }
            return Err(IoError::file(IoOp::Rename, &self.output)(e));
        }
        self.committed = true;
        if let Some(parent) = self.output.parent().filter(|p| !p.as_os_str().is_empty()) {
            os::sync_folder(parent).map_err(IoError::file(IoOp::Sync, parent))?;
        }
        drop(self.lock.take());
        fs::remove_dir_all(&self.folder).map_err(IoError::file(IoOp::Remove, &self.folder))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        drop(self.lock.take());
        // Nothing can be reported from here; what cannot be removed is found and swept by the next job.
        let _ = fs::remove_dir_all(&self.folder);
        for folder in self.created.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Creates missing parents one by one, so that exactly those can be removed again.
fn create_parents(parent: &Path) -> Result<Vec<PathBuf>, IoError> {
    let missing: Vec<&Path> = parent.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    let mut created: Vec<PathBuf> = Vec::new();
    for folder in missing.into_iter().rev() {
        if let Err(e) = fs::create_dir(folder) {
            for folder in created.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
            return Err(IoError::file(IoOp::Create, folder)(e));
        }
        created.push(folder.into());
    }
    Ok(created)
}

fn sync_folders(folder: &Path) -> Result<(), IoError> {
    for entry in fs::read_dir(folder).map_err(IoError::file(IoOp::List, folder))? {
        let path = entry.map_err(IoError::file(IoOp::List, folder))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    os::sync_folder(folder).map_err(IoError::file(IoOp::Sync, folder))
}
