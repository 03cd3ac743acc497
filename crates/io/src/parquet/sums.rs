//! Checksums (CRC-32C) of the values of a row, one after the other: written at the end, looked at when some of their bytes are first read.

use crate::disk::InputFile;
use crate::error::{Defect, IoError};
use std::sync::{Mutex, PoisonError};

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Of bytes at some places, which `read` reads.
pub(super) fn checksum<E>(
    places: impl IntoIterator<Item = (u64, u64)>,
    mut read: impl FnMut(&mut [u8], u64) -> Result<(), E>,
) -> Result<u32, E> {
    let (mut crc, mut buffer) = (0, Vec::new());
    for (at, len) in places {
        for done in (0..len).step_by(READ_BYTES as usize) {
            buffer.resize(READ_BYTES.min(len - done) as usize, 0);
            read(&mut buffer, at + done)?;
            crc = crc32c::crc32c_append(crc, &buffer);
        }
    }
    Ok(crc)
}

/// What the rows of a tensor, and of those that stand with it, must sum to.
#[derive(Debug, Default)]
pub struct Sums {
    /// Places and lengths, in the order they are summed, and the sum.
    rows: Vec<(Vec<(u64, u64)>, u32)>,
    checked: Mutex<bool>,
}

impl PartialEq for Sums {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl Sums {
    /// One more row.
    pub fn push(&mut self, places: Vec<(u64, u64)>, crc: u32) {
        self.rows.push((places, crc));
    }

    /// Reads all of the bytes, once.
    pub(crate) fn check(&self, file: &InputFile, tensor: &str) -> Result<(), IoError> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if *checked {
            return Ok(());
        }
        for (places, stated) in &self.rows {
            let crc = checksum(places.iter().copied(), |buffer, at| file.read(buffer, at))?;
            if crc != *stated {
                return Err(IoError::damaged_by(file.path(), Some(tensor), Defect::Checksum, u64::from(crc), u64::from(*stated)));
            }
        }
        *checked = true;
        Ok(())
    }
}
