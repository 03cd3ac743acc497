//! Checksums of what tasks wrote, taken while the bytes are at hand and once more before they are reused. XXH3: against faults, not against
//! an adversary, for the journal stands beside the bytes.

use super::blocks::Block;
use aq_io::layout::Placing;
use aq_io::output::Placed;
use aq_io::{Disk, IoError};
use std::fs::File;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const READ_BYTES: u64 = 1 << 20;

/// The checksum of checksums, in order: of a block from those of its tensors, of a layer from those of its blocks.
pub fn combine(parts: &[u64]) -> u64 {
    let bytes: Vec<u8> = parts.iter().flat_map(|b| b.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// One for each tensor of a block, fed as its rows are written.
pub struct BlockChecksum(Vec<Xxh3>);

impl BlockChecksum {
    /// For a layer that becomes `tensors` tensors.
    pub fn new(tensors: usize) -> Self {
        Self((0..tensors).map(|_| Xxh3::new()).collect())
    }

    /// The next rows of a tensor.
    pub fn update(&mut self, tensor: usize, bytes: &[u8]) {
        if let Some(hash) = self.0.get_mut(tensor) {
            hash.update(bytes);
        }
    }

    /// Of all tensors.
    pub fn digest(&self) -> u64 {
        combine(&self.0.iter().map(Xxh3::digest).collect::<Vec<_>>())
    }
}

/// A file of the staging, read again.
pub struct Reread<'a> {
    disk: &'a Disk,
    path: &'a Path,
    file: File,
}

impl<'a> Reread<'a> {
    /// Opens it.
    pub fn open(disk: &'a Disk, path: &'a Path) -> Result<Self, IoError> {
        Ok(Self { disk, path, file: disk.open(path)? })
    }

    /// Of a whole layer, cut into the blocks in which it was written; `None` where the file is too short.
    pub fn layer(&self, placed: &[Placed], blocks: &[Block]) -> Result<Option<u64>, IoError> {
        let mut list = Vec::with_capacity(blocks.len());
        for block in blocks {
            let mut tensors = Vec::with_capacity(placed.len());
            for p in placed {
                let len = p.tensor.bytes_of(block.rows) as u64;
                let Some(digest) = self.digest(p, p.tensor.row_offset(block.first), len)? else { return Ok(None) };
                tensors.push(digest);
            }
            list.push(combine(&tensors));
        }
        Ok(Some(combine(&list)))
    }

    /// Of some bytes of a tensor's rows; `None` where the file is too short.
    pub fn digest(&self, placed: &Placed, offset: u64, len: u64) -> Result<Option<u64>, IoError> {
        let placing = &placed.tensor.placing;
        let mut hash = Xxh3::new();
        // What is transposed is put in order as a whole: a block of it is small.
        let step = if matches!(placing, Placing::Columns { .. } | Placing::Words { .. }) { len } else { READ_BYTES };
        let mut done = 0;
        while done < len {
            let mut buffer = vec![0; step.min(len - done) as usize];
            for (at, part) in placing.pieces(offset + done, buffer.len()) {
                let n = self.disk.read_some(&self.file, self.path, &mut buffer[part.clone()], placed.position + at)?;
                if n < part.len() {
                    return Ok(None);
                }
            }
            let by_rows = placing.by_rows(offset + done, buffer);
            hash.update(&by_rows);
            done += by_rows.len() as u64;
        }
        Ok(Some(hash.digest()))
    }
}
