//! A file as the `parquet` crate reads it: bounded by the file, never a panic, and failures of the disk kept as what they are.

use super::fields::{FILE, PAGE};
use super::thrift::{self, Stated};
use crate::disk::{InputFile, buffer};
use crate::error::{IoError, keeps_its_kind};
use crate::guard::caught;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The length of the footer and the magic bytes, at the end of every file.
const END: u64 = 8;
/// As for safetensors: far above the footer of any model.
const MOST_FOOTER: u64 = 100_000_000;
/// Bytes in which the header before a page is looked for: as many as nearly all have, and as any has with statistics of long values.
const HEADERS: [u64; 2] = [1 << 12, 1 << 20];
/// What the pages of a call may take, whatever the size of the file, and how many times its size. Zeros compress without bound, so the ratio
/// of a page says nothing.
const LEAST_ROOM: u64 = 64 << 20;
const MOST_RATIO: u64 = 100;

/// Why a call into the library failed.
pub enum ChunkError {
    /// The disk, or memory.
    Io(IoError),
    /// The file.
    Parquet(ParquetError),
}

/// A file, for one call. A failure of the disk cannot pass through the library unchanged, so it waits here.
#[derive(Clone)]
pub struct Chunks {
    file: Arc<InputFile>,
    failure: Arc<Mutex<Option<IoError>>>,
    /// Bytes that the pages read so far take, as they state it.
    taken: Arc<AtomicU64>,
    /// The largest page, and what a value takes beside its bytes.
    page: u64,
    value: u64,
}

impl Chunks {
    /// Of an open file.
    pub fn of(file: &Arc<InputFile>) -> Self {
        Self { file: file.clone(), failure: Arc::default(), taken: Arc::default(), page: u64::MAX, value: 8 }
    }

    /// For columns of small values, of which much is kept.
    #[must_use]
    pub fn of_small(self, page: u64, value: u64) -> Self {
        Self { page, value, ..self }
    }

    /// Refuses pages that become far more than the file is: the library makes room for what a page states.
    fn take(&self, page: Stated) -> io::Result<()> {
        let bytes = page.size.saturating_add(page.count.saturating_mul(self.value));
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if page.size <= self.page && taken <= LEAST_ROOM.max(self.file.len().saturating_mul(MOST_RATIO)) {
            return Ok(());
        }
        let told = format!("its pages would become {taken} bytes, the file has {}", self.file.len());
        Err(io::Error::new(io::ErrorKind::InvalidData, told))
    }

    /// Fills a buffer. A range beyond the end is the fault of the file, not of the disk.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.file.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read(buffer, offset).map_err(|e| self.kept(e))
    }

    fn kept(&self, error: IoError) -> io::Error {
        if !keeps_its_kind(&error) {
            return io::Error::other(error);
        }
        let told = io::Error::other(error.to_string());
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        told
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The library's error, or the disk's that is behind it.
    pub fn failed(&self, source: ParquetError) -> ChunkError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(ChunkError::Parquet(source), ChunkError::Io)
    }

    /// Calls into the library.
    pub fn call<T>(&self, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ChunkError> {
        caught(call, ParquetError::General).map_err(|source| self.failed(source))
    }

    /// The footer. Its numbers of elements are checked before the library makes room for them.
    pub fn metadata(&self) -> Result<ParquetMetaData, ChunkError> {
        let wrong = |what: &str| ChunkError::Parquet(ParquetError::General(what.into()));
        let len = self.file.len();
        let at = len.checked_sub(END).ok_or_else(|| wrong("the file is too short"))?;
        let end = self.call(|| self.get_bytes(at, END as usize))?;
        let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
        if end[4..] != *super::MAGIC {
            return Err(wrong("the file does not end as Parquet does"));
        }
        if footer > MOST_FOOTER || footer > at {
            return Err(wrong("the footer is longer than the file"));
        }
        let bytes = self.call(|| self.get_bytes(at - footer, footer as usize))?;
        if thrift::walked(&bytes, FILE).is_none() {
            return Err(wrong("the footer is damaged"));
        }
        self.call(|| ParquetMetaDataReader::decode_metadata(&bytes))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Tail>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Tail { source: self.clone(), at: start, is_checked: false }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // Before the buffer is made: the length comes from the file.
        if start.checked_add(length as u64).is_none_or(|end| end > self.file.len()) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {}", self.file.len())));
        }
        let mut bytes = buffer(length).map_err(|e| self.kept(e))?;
        self.fill(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// The file from some place on, where the library reads the header of a page.
pub struct Tail {
    source: Chunks,
    at: u64,
    is_checked: bool,
}

impl Tail {
    fn left(&self) -> u64 {
        self.source.file.len().saturating_sub(self.at)
    }

    /// Refuses what is no header. Not before it is read: a tail may also be made and left.
    fn check(&mut self) -> io::Result<()> {
        for most in HEADERS {
            let mut bytes = buffer(most.min(self.left()) as usize).map_err(|e| self.source.kept(e))?;
            self.source.fill(&mut bytes, self.at)?;
            if let Some(page) = thrift::walked(&bytes, PAGE) {
                self.is_checked = true;
                return self.source.take(page);
            }
            if most >= self.left() {
                break;
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a page is damaged"))
    }
}

impl Read for Tail {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.is_checked {
            self.check()?;
        }
        let n = self.left().min(out.len() as u64) as usize;
        self.source.fill(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;

    #[test]
    fn headers_of_pages_are_checked_when_they_are_read() {
        let sound = [0x15, 0, 0x15, 8, 0x15, 8, 0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];
        // A field that nobody knows: 2^31 numbers of eight bytes, which a skip at the end of the file takes none for.
        let endless = [0xf9, 0xf7, 0xff, 0xff, 0xff, 0xff, 7];
        // Statistics of a long value.
        let long = [&sound[..15], &[0x1c, 0x18, 0x80, 0x80, 1], &[7; 1 << 14], &[0, 0, 0]].concat();
        // Of 2^27 bytes, and of 2^24 values in few.
        let large = [0x15, 0, 0x15, 0x80, 0x80, 0x80, 0x80, 1, 0x15, 8, 0];
        let many = [0x15, 0, 0x15, 8, 0x15, 8, 0x2c, 0x15, 0x80, 0x80, 0x80, 0x10, 0, 0];
        for bytes in [&large[..], &many] {
            assert!(thrift::walked(bytes, PAGE).is_some());
        }
        for (bytes, is_sound) in [
            (&sound[..], true),
            (&large[..], false),
            (&many[..], false),
            (&endless[..], false),
            (&long[..], true),
            (&long[..1 << 13], false),
            (&[][..], false),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let chunks = Chunks::of(&Arc::new(InputFile::open(&Disk::default(), file.path()).unwrap()));
            let mut reader = chunks.get_read(0).unwrap();
            let mut read = Vec::new();
            assert_eq!(reader.read_to_end(&mut read).is_ok(), is_sound, "{} bytes", bytes.len());
            assert!(!is_sound || read == bytes);
        }
    }
}
