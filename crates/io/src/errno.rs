//! The numbers behind operating system errors: their names, and what can be done about each (never decided by a text).

use std::io;

/// What an error number means for the one who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrnoClass {
    /// The same operation may succeed later.
    Transient,
    /// The call or the files have to change.
    User,
    /// A fault of the machine.
    System,
}

/// The operating system's name for an error, as in messages: `ENOENT`; `os error 5` where there is none here.
pub fn name(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return format!("{:?}", error.kind()) };
    #[cfg(unix)]
    if let Some((_, name)) = ERRNO.iter().find(|(n, _)| *n == code) {
        return (*name).to_owned();
    }
    format!("os error {code}")
}

/// The number of a name, on this system.
#[cfg(feature = "fault")]
pub fn number(name: &str) -> Option<i32> {
    #[cfg(unix)]
    return ERRNO.iter().find(|(_, n)| *n == name).map(|(code, _)| *code);
    #[cfg(not(unix))]
    {
        let _ = name;
        None
    }
}

/// Who can act.
pub fn class(error: &io::Error) -> ErrnoClass {
    #[cfg(windows)]
    if matches!(error.raw_os_error(), Some(32 | 33)) {
        return ErrnoClass::Transient; // sharing and lock violation: a virus scanner or indexer holds the file
    }
    match name(error).as_str() {
        "EAGAIN" | "EBUSY" | "ETXTBSY" | "ESTALE" | "ETIMEDOUT" | "ENETDOWN" | "ENETUNREACH" | "EHOSTDOWN" | "EHOSTUNREACH" | "EMFILE"
        | "ENFILE" | "ENOLCK" => ErrnoClass::Transient,
        "EACCES" | "EPERM" | "EROFS" | "EISDIR" | "ENOTDIR" | "ENAMETOOLONG" | "ELOOP" | "EINVAL" | "ENOTEMPTY" => ErrnoClass::User,
        _ => ErrnoClass::System,
    }
}

/// Whether the disk or the user's share of it is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(name(error).as_str(), "ENOSPC" | "EDQUOT" | "EFBIG")
}

/// Whether the path leads nowhere.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
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
    (100, "ENETDOWN"),
    #[cfg(target_os = "linux")]
    (101, "ENETUNREACH"),
    #[cfg(target_os = "linux")]
    (110, "ETIMEDOUT"),
    #[cfg(target_os = "linux")]
    (112, "EHOSTDOWN"),
    #[cfg(target_os = "linux")]
    (113, "EHOSTUNREACH"),
    #[cfg(target_os = "linux")]
    (116, "ESTALE"),
    #[cfg(target_os = "linux")]
    (122, "EDQUOT"),
    #[cfg(target_os = "macos")]
    (35, "EAGAIN"),
    #[cfg(target_os = "macos")]
    (50, "ENETDOWN"),
    #[cfg(target_os = "macos")]
    (51, "ENETUNREACH"),
    #[cfg(target_os = "macos")]
    (60, "ETIMEDOUT"),
    #[cfg(target_os = "macos")]
    (62, "ELOOP"),
    #[cfg(target_os = "macos")]
    (63, "ENAMETOOLONG"),
    #[cfg(target_os = "macos")]
    (64, "EHOSTDOWN"),
    #[cfg(target_os = "macos")]
    (65, "EHOSTUNREACH"),
    #[cfg(target_os = "macos")]
    (66, "ENOTEMPTY"),
    #[cfg(target_os = "macos")]
    (69, "EDQUOT"),
    #[cfg(target_os = "macos")]
    (70, "ESTALE"),
    #[cfg(target_os = "macos")]
    (77, "ENOLCK"),
];
