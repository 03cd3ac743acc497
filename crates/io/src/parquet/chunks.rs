//! A file as the `parquet` crate reads it: bounded by the file, never a panic, and failures of the disk kept as what they are.

use super::thrift;
use crate::disk::{InputFile, buffer};
use crate::error::{IoError, keeps_its_kind};
use crate::guard::caught;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The length of the footer and the magic bytes, at the end of every file.
const END: u64 = 8;
/// As for safetensors: far above the footer of any model.
const MOST_FOOTER: u64 = 100_000_000;

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
}

impl Chunks {
    /// Of an open file.
    pub fn of(file: &Arc<InputFile>) -> Self {
        Self { file: file.clone(), failure: Arc::default() }
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
        if !thrift::is_bounded(&bytes) {
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
        Ok(BufReader::new(Tail { source: self.clone(), at: start }))
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

/// The file from some place on.
pub struct Tail {
    source: Chunks,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.file.len().saturating_sub(self.at).min(out.len() as u64) as usize;
        self.source.fill(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
