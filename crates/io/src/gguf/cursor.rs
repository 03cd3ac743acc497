//! Reading a header front to back, in pieces: nothing is allocated on the word of a length that the file does not hold.

use crate::disk::InputFile;
use crate::error::{Defect, IoError};
use crate::header::MOST_HEADER_BYTES;

const PIECE: u64 = 1 << 16;

/// A place in a file, with the bytes that come next.
pub struct Cursor<'a> {
    file: &'a InputFile,
    /// Where the buffer ends in the file.
    end: u64,
    buffer: Vec<u8>,
    /// What of the buffer is read.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub const fn new(file: &'a InputFile) -> Self {
        Self { file, end: 0, buffer: Vec::new(), at: 0 }
    }

    /// Bytes read so far.
    pub const fn position(&self) -> u64 {
        self.end - (self.buffer.len() - self.at) as u64
    }

    /// Fails unless so many more bytes can be part of the header.
    pub fn expect(&self, count: u64) -> Result<(), IoError> {
        let (wanted, len) = (self.position().saturating_add(count), self.file.len());
        if wanted > len {
            return Err(IoError::damaged_by(self.file.path(), None, Defect::TooShort, len, wanted));
        }
        if wanted > MOST_HEADER_BYTES {
            return Err(IoError::damaged_by(self.file.path(), None, Defect::HeaderLength, wanted, MOST_HEADER_BYTES));
        }
        Ok(())
    }

    /// Appends the next bytes to `out`.
    pub fn take(&mut self, count: u64, out: &mut Vec<u8>) -> Result<(), IoError> {
        self.expect(count)?;
        out.try_reserve(count as usize).map_err(|_| IoError::OutOfMemory { requested: count })?;
        let mut left = count as usize;
        while left > 0 {
            if self.at == self.buffer.len() {
                self.buffer.resize(PIECE.min(self.file.len() - self.end) as usize, 0);
                self.file.read(&mut self.buffer, self.end)?;
                self.end += self.buffer.len() as u64;
                self.at = 0;
            }
            let n = left.min(self.buffer.len() - self.at);
            out.extend_from_slice(&self.buffer[self.at..self.at + n]);
            (self.at, left) = (self.at + n, left - n);
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], IoError> {
        let mut bytes = Vec::with_capacity(N);
        self.take(N as u64, &mut bytes)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }

    pub fn u32(&mut self) -> Result<u32, IoError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, IoError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<String, IoError> {
        let len = self.u64()?;
        let mut bytes = Vec::new();
        self.take(len, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| IoError::damaged(self.file.path(), None, Defect::HeaderEncoding))
    }
}
