//! Everything that differs between operating systems: positioned I/O, links, syncing a folder, the number behind an I/O error.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Fills `buffer` from `offset`; an early end is `UnexpectedEof`. Leaves no cursor behind that other threads could trip over.
#[cfg(unix)]
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all of `buffer` at `offset`.
#[cfg(unix)]
pub fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, buffer, offset)
}

/// Fills `buffer` from `offset`; an early end is `UnexpectedEof`.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes all of `buffer` at `offset`.
#[cfg(windows)]
pub fn write_all_at(file: &File, mut buffer: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_write(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                buffer = &buffer[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
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

/// Bytes free for this user where `path` will be; `None` where the system does not tell.
pub fn available_space(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    fs4::available_space(absolute.ancestors().find(|p| p.exists())?).ok()
}

/// Carries a large file over: shared blocks where the file system can, else a hard link, else a copy.
pub fn carry(from: &Path, to: &Path) -> io::Result<()> {
    // A symlink standing in the source (a hub cache is made of them) is followed: the output must not point into a cache.
    let from = fs::canonicalize(from)?;
    if reflink_copy::reflink(&from, to).is_ok() || fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    fs::copy(&from, to).map(|_| ())
}

/// The operating system's name for an error, as in messages: `ENOENT`; `os error 5` where there is none here.
pub fn errno_name(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return format!("{:?}", error.kind()) };
    #[cfg(unix)]
    if let Some((_, name)) = ERRNO.iter().find(|(n, _)| *n == code) {
        return (*name).to_owned();
    }
    format!("os error {code}")
}

// The numbers 1..=34 are shared by Linux and macOS but for EAGAIN; the rest differ.
#[cfg(unix)]
const ERRNO: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (5, "EIO"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    #[cfg(target_os = "linux")]
    (11, "EAGAIN"),
    #[cfg(target_os = "linux")]
    (36, "ENAMETOOLONG"),
    #[cfg(target_os = "linux")]
    (37, "ENOLCK"),
    #[cfg(target_os = "linux")]
    (39, "ENOTEMPTY"),
    #[cfg(target_os = "linux")]
    (40, "ELOOP"),
    #[cfg(target_os = "linux")]
    (110, "ETIMEDOUT"),
    #[cfg(target_os = "linux")]
    (116, "ESTALE"),
    #[cfg(target_os = "linux")]
    (122, "EDQUOT"),
    #[cfg(target_os = "macos")]
    (35, "EAGAIN"),
    #[cfg(target_os = "macos")]
    (60, "ETIMEDOUT"),
    #[cfg(target_os = "macos")]
    (62, "ELOOP"),
    #[cfg(target_os = "macos")]
    (63, "ENAMETOOLONG"),
    #[cfg(target_os = "macos")]
    (66, "ENOTEMPTY"),
    #[cfg(target_os = "macos")]
    (69, "EDQUOT"),
    #[cfg(target_os = "macos")]
    (70, "ESTALE"),
    #[cfg(target_os = "macos")]
    (77, "ENOLCK"),
];
