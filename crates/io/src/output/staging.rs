//! The staging folder `.{name}.aq-partial` beside the output, and the rename that makes the output appear complete or not at all.
//!
//! A lock file in it dies with its process: a locked folder is a running job, an unlocked one is what a dead or interrupted job left. That
//! is swept, or gone on with when the job resumes. A staging that was not committed is removed, and the parents it had created with it,
//! unless what was staged is to be kept.
//!
//! After a power loss any name may be there or not that was given or taken away since its folder was synced. So a folder is synced before a
//! step that would be wrong without those before it.

use crate::disk::{Disk, Locked};
use crate::error::IoError;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const CONTENT: &str = "content";
const REPLACED: &str = "replaced";
const JOURNAL: &str = "journal.jsonl";
const TABLES: &str = "tables";
/// Tries at a folder that others make and remove at the same time.
const MOST_TURNS: usize = 64;
/// More than the journal of any job: a line for each tensor.
const MOST_JOURNAL: u64 = 1 << 30;

/// What is done with an output or a staging that is there already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Existing {
    /// Replace the output.
    pub overwrite: bool,
    /// Go on with the staging, and keep it when this job fails.
    pub resume: bool,
}

/// What became of the staging of an interrupted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There was none.
    Nothing,
    /// It was removed.
    Swept,
    /// It is gone on with.
    Resumed,
}

/// An output folder in the making.
#[derive(Debug)]
pub struct Staging {
    disk: Disk,
    output: PathBuf,
    folder: PathBuf,
    lock: Option<File>,
    existing: Existing,
    /// The folder was not there before.
    made: bool,
    /// Parents that did not exist, outermost first.
    created: Vec<PathBuf>,
    /// What became of the staging of an interrupted job.
    pub found: Found,
    settled: bool,
    /// The part of the output that is written now: its number and folder.
    part: Option<(usize, PathBuf)>,
}

impl Staging {
    /// Creates the staging folder for `output`; refuses an existing output unless it is to be replaced.
    pub fn create(disk: &Disk, output: &Path, existing: Existing) -> Result<Self, IoError> {
        let refuse = || match disk.find_link(output)? {
            Some(_) if !existing.overwrite => Err(IoError::OutputExists { path: output.into() }),
            _ => Ok(()),
        };
        refuse()?;
        let parent = parent_of(output);
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let folder = parent.join(format!(".{name}.aq-partial"));
        let created = create_parents(disk, parent)?;
        let (disk, output) = (disk.clone(), output.to_path_buf());
        let (made, settled, found) = (false, false, Found::Nothing);
        let mut staging = Self { disk, output, folder, lock: None, existing, made, created, found, settled, part: None };
        staging.take()?;
        let put_back = staging.disk.find_link(&staging.output)?.is_some() && !existing.overwrite;
        if put_back {
            return Err(IoError::OutputExists { path: staging.output.clone() });
        }
        Ok(staging)
    }

    fn take(&mut self) -> Result<(), IoError> {
        let disk = self.disk.clone();
        self.lock()?;
        self.put_back()?;
        let content = self.content();
        if disk.find_link(&content)?.is_some() {
            self.found = if self.existing.resume && self.journal_begun()? { Found::Resumed } else { Found::Swept };
        }
        if !self.resumed() {
            let stale = |n: &&String| [JOURNAL, TABLES, CONTENT].iter().any(|of| n.starts_with(of));
            let names = disk.names(&self.folder)?;
            let stale: Vec<&String> = names.iter().filter(stale).collect();
            stale.iter().try_for_each(|name| disk.remove(&self.folder.join(name)))?;
            if !stale.is_empty() {
                disk.sync_folder(&self.folder)?; // a journal that came back would tell of other files than are in the new content
            }
            disk.create_folder(&content)?;
        }
        Ok(())
    }

    /// Makes the folder and locks it. A job that ends removes its folder, perhaps between two steps here: then the next turn makes another.
    fn lock(&mut self) -> Result<(), IoError> {
        let disk = self.disk.clone();
        let path = self.folder.join(LOCK);
        for _ in 0..MOST_TURNS {
            self.made = disk.ensure_folder(&self.folder)?;
            let lock = match disk.open_or_create(&path) {
                Err(IoError::File { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if let Locked::Theirs = disk.lock(&lock, &path)? {
                return Err(self.busy(Some((&lock, &path))));
            }
            if disk.still_at(&lock, &path)? {
                let lock = self.lock.insert(lock);
                disk.set_len(lock, &path, 0)?;
                return disk.write_at(lock, &path, std::process::id().to_string().as_bytes(), 0);
            }
        }
        Err(self.busy(None))
    }

    fn busy(&mut self, lock: Option<(&File, &Path)>) -> IoError {
        self.settled = true; // not ours to remove
        let pid = lock.and_then(|(lock, path)| {
            let mut text = [0; 20];
            let n = self.disk.read_some(lock, path, &mut text, 0).ok()?;
            std::str::from_utf8(&text[..n]).ok()?.trim().parse().ok()
        });
        IoError::Busy { path: self.output.clone(), pid }
    }

    /// Removes the folder and gives up its lock; the folder itself where it could not be removed.
    fn release(&mut self) -> Option<PathBuf> {
        // Windows removes no open file.
        let lock = self.lock.take().filter(|_| !cfg!(windows));
        let removed = self.remove_held();
        drop(lock);
        match removed {
            Ok(()) => None,
            // Somebody else's by now, or removed by them already.
            Err(IoError::File { source, .. }) if matches!(source.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => None,
            Err(_) => Some(self.folder.clone()),
        }
    }

    /// What is in the folder while the lock is there, then the lock; from there on another job may take the folder, so only an empty one goes.
    fn remove_held(&self) -> Result<(), IoError> {
        for name in self.disk.names(&self.folder)?.iter().filter(|name| *name != LOCK) {
            self.disk.remove(&self.folder.join(name))?;
        }
        self.disk.remove(&self.folder.join(LOCK))?;
        self.disk.remove_empty(&self.folder)
    }

    /// Whether there is a journal that says what its job was. One whose first line was not written, or was lost, says nothing.
    fn journal_begun(&self) -> Result<bool, IoError> {
        let path = self.journal();
        if !self.disk.is_file(&path)? {
            return Ok(false);
        }
        let bytes = self.disk.read_file(&path, MOST_JOURNAL)?;
        let first = bytes.iter().position(|&b| b == b'\n').map(|end| &bytes[..end]);
        Ok(first.is_some_and(|line| serde_json::from_slice::<IgnoredAny>(line).is_ok()))
    }

    /// Undoes a replacement that died between its two renames, where the old output is the only one there is. Past the second, what was
    /// staged has left: then the old one is in the way, and half of it may be gone.
    fn put_back(&self) -> Result<(), IoError> {
        let (disk, old) = (&self.disk, self.folder.join(REPLACED));
        if disk.find_link(&old)?.is_none() {
            return Ok(());
        }
        if disk.find_link(&self.output)?.is_none() && disk.find_link(&self.content())?.is_some() {
            disk.rename(&old, &self.output)?;
            return disk.sync_folder(parent_of(&self.output));
        }
        disk.sync_folder(parent_of(&self.output))?; // the new one may not have its name for good
        disk.remove(&old)
    }

    fn content(&self) -> PathBuf {
        self.folder.join(CONTENT)
    }

    /// Whether this job goes on with the staging of an interrupted one.
    pub fn resumed(&self) -> bool {
        self.found == Found::Resumed
    }

    /// The door to the file system.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Where the output will be.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// From here on files are those of one part of the output, in a folder of its own. Parts have their own journals.
    pub fn part(&mut self, number: usize, folder: &str) {
        self.part = Some((number, folder.into()));
    }

    /// Where a part of the output stands while the others are made.
    pub fn folder_of(&self, part: &str) -> PathBuf {
        self.content().join(part)
    }

    fn numbered(&self, name: &str) -> PathBuf {
        match self.part {
            Some((number, _)) if number > 0 => self.folder.join(format!("{name}.{number}")),
            _ => self.folder.join(name),
        }
    }

    /// The file in which a job notes what it has finished.
    pub fn journal(&self) -> PathBuf {
        self.numbered(JOURNAL)
    }

    /// The file in which a job lays aside what is put together in the end.
    pub fn tables(&self) -> PathBuf {
        self.numbered(TABLES)
    }

    /// Where a file of the output is written; its folders are created.
    pub fn path(&self, relative: &Path) -> Result<PathBuf, IoError> {
        let folder = self.part.as_ref().map_or(Path::new(""), |(_, folder)| folder);
        let path = self.content().join(folder).join(relative);
        if let Some(parent) = path.parent() {
            self.disk.create_folders(parent)?;
        }
        Ok(path)
    }

    /// Writes a small file and syncs it.
    pub fn write(&self, relative: &Path, bytes: &[u8]) -> Result<(), IoError> {
        let path = self.fresh(relative)?;
        self.disk.write_new(&path, bytes)
    }

    /// Carries a file over: weights may be linked, others are copied. `check` can end it.
    pub fn carry<E: From<IoError>>(&self, from: &Path, relative: &Path, weight: bool, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let to = self.fresh(relative)?;
        if weight { self.disk.carry(from, &to, check) } else { self.disk.copy(from, &to, check) }
    }

    /// A place without what an interrupted job may have left there.
    fn fresh(&self, relative: &Path) -> Result<PathBuf, IoError> {
        let path = self.path(relative)?;
        if self.resumed() {
            self.disk.remove(&path)?;
        }
        Ok(path)
    }

    /// Makes the content durable: the last that may take long. So does the place to which an old output goes.
    pub fn seal(&self) -> Result<(), IoError> {
        sync_folders(&self.disk, &self.content())?;
        if self.disk.find_link(&self.output)?.is_some() {
            self.disk.sync_folder(&self.folder)?;
            self.disk.sync_folder(parent_of(&self.output))?;
        }
        Ok(())
    }

    /// Gives the content its name. An output that is replaced stays until the new one has its place. What cannot be removed afterwards is
    /// returned: the output is complete all the same.
    pub fn commit(mut self) -> Result<Option<PathBuf>, IoError> {
        let (disk, content, old) = (self.disk.clone(), self.content(), self.folder.join(REPLACED));
        let replace = disk.find_link(&self.output)?.is_some();
        if replace && !self.existing.overwrite {
            return Err(IoError::OutputExists { path: self.output.clone() }); // it appeared while the job ran
        }
        if replace {
            disk.rename(&self.output, &old)?;
        }
        if let Err(error) = disk.rename(&content, &self.output) {
            if replace && disk.rename(&old, &self.output).is_err() {
                // The old output is safe in the staging; removing that would destroy it. The next job puts it back.
                self.settled = true;
            }
            return Err(error);
        }
        self.settled = true;
        let durable = disk.sync_folder(parent_of(&self.output));
        let left = self.release();
        durable.map(|()| left)
    }

    /// Ends a job that failed: removes what was staged, or keeps it when it is to be resumed. Returns what could not be removed.
    pub fn discard(mut self) -> Option<PathBuf> {
        self.clean()
    }

    /// Whether a failure keeps what was staged.
    pub fn keeps(&self) -> bool {
        self.existing.resume && self.disk.is_file(&self.folder.join(JOURNAL)).unwrap_or(false)
    }

    fn clean(&mut self) -> Option<PathBuf> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        // Without the lock, a folder that was there before is somebody's work.
        let ours = self.made || self.lock.is_some();
        let keeps = !ours || (self.lock.is_some() && self.keeps());
        if keeps {
            self.lock = None;
            return None;
        }
        let left = self.release();
        for folder in self.created.iter().rev() {
            if self.disk.remove_empty(folder).is_err() {
                break; // somebody else uses it by now
            }
        }
        left
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nothing can be reported from here; what cannot be removed is found and swept by the next job.
        self.clean();
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates missing parents one by one, durable, so that exactly those can be removed again.
fn create_parents(disk: &Disk, parent: &Path) -> Result<Vec<PathBuf>, IoError> {
    let mut missing: Vec<&Path> = Vec::new();
    for folder in parent.ancestors().take_while(|p| !p.as_os_str().is_empty()) {
        if disk.find(folder)?.is_some() {
            break;
        }
        missing.push(folder);
    }
    let mut created: Vec<PathBuf> = Vec::new();
    let mut create = |folder: &Path| {
        // Or made by somebody else meanwhile.
        if disk.ensure_folder(folder)? {
            created.push(folder.into());
            disk.sync_folder(parent_of(folder))?;
        }
        Ok(())
    };
    if let Err(error) = missing.into_iter().rev().try_for_each(&mut create) {
        for folder in created.iter().rev() {
            let _ = disk.remove_empty(folder);
        }
        return Err(error);
    }
    Ok(created)
}

fn sync_folders(disk: &Disk, folder: &Path) -> Result<(), IoError> {
    for name in disk.names(folder)? {
        let path = folder.join(name);
        if disk.is_folder(&path)? {
            sync_folders(disk, &path)?;
        }
    }
    disk.sync_folder(folder)
}
