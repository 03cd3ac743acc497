//! The words of errors that the machine makes: files, disk, memory, time, devices.

use super::texts::{Texts, many, one, path_text};
use super::{MemoryCause, Pool, Unavailable};
use aq_core::error::{ErrorCode, bytes_text, visible};
use aq_core::{Phase, StopSource};
use aq_io::errno::name as errno_name;
use aq_io::error::IoOp;
use std::io;
use std::path::Path;

pub fn io(op: IoOp, path: &Path, attempts: u32, source: &io::Error) -> Texts {
    let errno = errno_name(source);
    one(format!("I/O error: {} {} failed with {errno} after {attempts} attempt(s).", op.as_str(), path_text(path)), io_hint(&errno, op))
}

fn io_hint(errno: &str, op: IoOp) -> &'static str {
    match errno {
        "EACCES" | "EPERM" => "Check the owner and permissions.",
        "EROFS" => "This file system is read-only; choose another outputPath.",
        "EISDIR" | "ENOTDIR" => "A folder stands where a file was expected, or the reverse.",
        "EMFILE" | "ENFILE" => "Raise the open-file limit or lower numThreads.",
        "EIO" => "The device reports a fault; check the disk.",
        "EAGAIN" | "EBUSY" | "ETXTBSY" | "ESTALE" | "ETIMEDOUT" | "ENETDOWN" | "ENETUNREACH" | "EHOSTDOWN" | "EHOSTUNREACH" | "ENOLCK" => {
            "The storage did not answer; try again later."
        }
        _ if matches!(op, IoOp::Stat | IoOp::Open | IoOp::List | IoOp::Read) => "Check permissions and the path.",
        _ => ErrorCode::Io.row().hint,
    }
}

pub fn disk(path: &Path, required: u64, available: Option<u64>, source: Option<&io::Error>) -> Texts {
    let p = path_text(path);
    let sentence = if let Some(source) = source {
        format!("The disk of {p} filled up while writing ({}).", errno_name(source))
    } else {
        let (required, available) = (bytes_text(required), bytes_text(available.unwrap_or_default()));
        format!("Not enough space for {p}: {required} needed, {available} available.")
    };
    many(sentence, &["free space", "choose an outputPath on another disk"])
}

pub fn memory(pool: Pool, cause: MemoryCause, requested: u64, limit: u64, tensor: Option<&str>) -> Texts {
    match (cause, pool) {
        (MemoryCause::Budget, _) => many(
            format!(
                "Out of memory: {} needs {} at the smallest chunk, the limit is {}.",
                visible(tensor.unwrap_or("the job")),
                bytes_text(requested),
                bytes_text(limit)
            ),
            &["raise maxMemoryLimitMb", "lower numThreads"],
        ),
        (MemoryCause::Refused, pool) => {
            let place = if pool == Pool::Host { "host" } else { "device" };
            let sentence = format!("Out of memory: {} could not be allocated on the {place} at the smallest chunk.", bytes_text(requested));
            many(sentence, &["close other programs", "lower maxMemoryLimitMb"])
        }
    }
}

pub fn timeout(clock: StopSource, limit_ms: u64, elapsed_ms: u64, phase: Phase) -> Texts {
    let seconds = |ms: u64| if ms < 100 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) };
    let phase = phase.as_str();
    if clock == StopSource::Stall {
        let sentence = format!("No progress in phase {phase} for {}: stallTimeoutMs is {limit_ms}.", seconds(limit_ms));
        one(sentence, "Check the storage, or raise stallTimeoutMs.")
    } else {
        let sentence = format!("Timed out in phase {phase} after {}: timeoutMs is {limit_ms}.", seconds(elapsed_ms));
        one(sentence, ErrorCode::Timeout.row().hint)
    }
}

pub fn no_device(device: &str, reason: &Unavailable) -> Texts {
    many(format!("Device {device} is not available: {reason}."), &["use device: 'auto' or 'cpu'", "install or update the NVIDIA driver"])
}

pub fn device(device: &str, op: &str, status: Option<&str>, sticky: bool) -> Texts {
    let status = status.unwrap_or("its circuit breaker is open");
    let hint = if sticky { "Restart the process before using this device again." } else { ErrorCode::DeviceFailed.row().hint };
    one(format!("Device {device} failed during {op}: {status}."), hint)
}
