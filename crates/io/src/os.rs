//! What differs between operating systems: positioned I/O, syncing a folder, free space. `errno` has the numbers behind errors.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Reads at an offset, at most as much as `buffer` holds. Leaves no cursor behind that other threads could trip over.
#[cfg(unix)]
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

/// Writes at an offset, at most all of `buffer`.
#[cfg(unix)]
pub fn write_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, buffer, offset)
}

/// Reads at an offset, at most as much as `buffer` holds.
#[cfg(windows)]
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Writes at an offset, at most all of `buffer`.
#[cfg(windows)]
pub fn write_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, buffer, offset)
}

/// Asks the system to read a part of a file into its cache, without waiting for it. A hint: that it is not heeded is no error.
pub fn read_ahead(file: &File, offset: u64, len: u64) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{Advice, fadvise};
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        // The hint costs a walk over the pages even where all are there: whether the last one is, is asked first.
        let mut last = [0];
        if preadv2(file, &mut [io::IoSliceMut::new(&mut last)], offset + len - 1, ReadWriteFlags::NOWAIT) == Err(Errno::AGAIN) {
            let _ = fadvise(file, offset, std::num::NonZeroU64::new(len), Advice::WillNeed);
        }
    }
    #[cfg(target_vendor = "apple")]
    let _ = rustix::fs::fcntl_rdadvise(file, offset, len);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    let _ = (file, offset, len);
}

/// Device and inode of a file, where the system has them.
pub fn place(meta: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

/// Makes renames inside a folder durable. Windows has no such call: its renames are journalled by the file system.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(path)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// Bytes that this process's container may use; `None` without one, or where the system does not tell.
pub fn memory_limit() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        // Version 2 writes `max`, version 1 a number near 2^63, where there is no limit.
        let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let limit = read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
        (limit < 1 << 60).then_some(limit)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Bytes free for this user where `path` will be; `None` where the system does not tell.
pub fn available_space(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    fs4::available_space(absolute.ancestors().find(|p| p.exists())?).ok()
}
