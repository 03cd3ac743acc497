//! One weight file, kept open for the whole job, with the means to notice that it changed.

use super::classify::stat_regular;
use super::scales;
use crate::disk::{Disk, InputFile};
use crate::error::{IoError, Missing};
use crate::header::{Header, TensorInfo};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// One weight file.
#[derive(Debug)]
pub struct Shard {
    /// Its path.
    pub path: PathBuf,
    /// Its name in the component's folder.
    pub file_name: String,
    /// Its checked header.
    pub header: Header,
    /// Bytes.
    pub len: u64,
    file: Arc<InputFile>,
}

impl Shard {
    /// Opens a file and checks its header. `index`: the file that names it, for the error when it is missing.
    pub fn open(disk: &Disk, path: &Path, index: Option<&Path>) -> Result<Self, IoError> {
        let what = if index.is_some() { Missing::Shard } else { Missing::Model };
        stat_regular(disk, path, what, index)?;
        let file = Arc::new(InputFile::open(disk, path)?);
        let mut header = Header::read(&file)?;
        scales::attach(&file, &mut header)?;
        let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { path: path.into(), file_name, header, len: file.len(), file })
    }

    /// The name of the one file that takes the place of all shards: without what numbers them, with another extension.
    pub fn merged_name(&self, extension: &str) -> String {
        let name = Path::new(&self.file_name).file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let numbered = name.rsplit_once("-of-").filter(|(_, total)| is_number(total));
        let stem = numbered.and_then(|(head, _)| head.rsplit_once('-')).filter(|(_, index)| is_number(index)).map(|(stem, _)| stem);
        let stem = stem.unwrap_or(&name);
        format!("{}.{extension}", stem.strip_suffix(".arrow-quant").unwrap_or(stem))
    }

    /// BLAKE3 of what stands before the first tensor, hexadecimal.
    pub fn header_hash(&self) -> Result<String, IoError> {
        const STEP: u64 = 1 << 20;
        let end = self.header.tensors.iter().map(|t| t.offset).min().unwrap_or(0);
        let mut hash = blake3::Hasher::new();
        for at in (0..end).step_by(STEP as usize) {
            let mut bytes = vec![0; STEP.min(end - at) as usize];
            self.read(&mut bytes, at)?;
            hash.update(&bytes);
        }
        Ok(hash.finalize().to_hex().to_string())
    }

    /// A checksum of some of the file's bytes, see [`InputFile::sample`].
    pub fn sample(&self) -> Result<String, IoError> {
        self.file.sample()
    }

    /// Reads bytes of the file.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.file.read(buffer, offset)
    }

    /// Holds the bytes of a tensor against their checksum, where the file has one and it has not been done.
    pub fn check(&self, tensor: &TensorInfo) -> Result<(), IoError> {
        tensor.sums.as_ref().map_or(Ok(()), |sums| sums.check(&self.file, &tensor.name))
    }

    /// Reads bytes of a tensor's rows, at an offset among them.
    pub fn read_tensor(&self, tensor: &TensorInfo, buffer: &mut [u8], offset: u64) -> Result<(), IoError> {
        self.check(tensor)?;
        for (at, part) in tensor.placing.pieces(offset, buffer.len()) {
            self.read(&mut buffer[part], tensor.offset + at)?;
        }
        Ok(())
    }

    /// Asks for some bytes ahead of their reading, see [`InputFile::read_ahead`].
    pub fn read_ahead(&self, bytes: Range<u64>) {
        self.file.read_ahead(bytes);
    }

    /// Time of the last change, milliseconds since 1970, where the system tells.
    pub fn modified_ms(&self) -> Option<u64> {
        self.file.modified_ms()
    }

    /// Fails if the file is no longer what it was at the start.
    pub fn check_unchanged(&self) -> Result<(), IoError> {
        self.file.check_unchanged()
    }
}
