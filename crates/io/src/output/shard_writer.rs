//! One safetensors file, written at known offsets by many threads.
//!
//! All positions follow from the plan, so the header is written first and every row goes to its place. A layer that ends under another
//! scheme than planned (a raised width, wider scales) is appended past the planned end; such a shard is put together anew when it is
//! finished, since the format allows no holes. Tensors are ordered by element size, largest first: loaders view the bytes as their type in
//! place and need them aligned.

use super::tree_hash::TreeHash;
use crate::disk::Disk;
use crate::error::{Defect, IoError};
use crate::layout::OutTensor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const COPY_BYTES: usize = 1 << 20;

/// A tensor and where its bytes are in the file being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The tensor.
    pub tensor: OutTensor,
    /// First byte in the file.
    pub position: u64,
}

/// A finished file.
#[derive(Debug, Clone)]
pub struct WrittenShard {
    /// Bytes.
    pub len: u64,
    /// BLAKE3 of the whole file, hexadecimal.
    pub hash: String,
}

/// A safetensors file being written.
#[derive(Debug)]
pub struct ShardWriter {
    disk: Disk,
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, String>,
    planned: Vec<Placed>,
    end: AtomicU64,
    hash: TreeHash,
}

impl ShardWriter {
    /// Creates the file with its header and full length; positions come back in the order of `tensors`.
    pub fn create(
        disk: &Disk,
        path: &Path,
        metadata: &BTreeMap<String, String>,
        tensors: &[OutTensor],
    ) -> Result<(Self, Vec<Placed>), IoError> {
        let (header, placed) = layout(metadata, tensors);
        let end = end_of(&header, &placed);
        let file = disk.create_new(path)?;
        disk.set_len(&file, path, end)?;
        disk.write_at(&file, path, &header, 0)?;
        let (disk, hash) = (disk.clone(), TreeHash::default());
        hash.wrote(0, &header);
        let writer =
            Self { disk, path: path.into(), file, metadata: metadata.clone(), planned: placed.clone(), end: AtomicU64::new(end), hash };
        Ok((writer, placed))
    }

    /// Opens the file of an interrupted job; `None` where it is not there, or not with this header and length.
    pub fn reopen(
        disk: &Disk,
        path: &Path,
        metadata: &BTreeMap<String, String>,
        tensors: &[OutTensor],
    ) -> Result<Option<(Self, Vec<Placed>)>, IoError> {
        let (header, placed) = layout(metadata, tensors);
        let planned_end = end_of(&header, &placed);
        if !disk.is_file(path)? {
            return Ok(None);
        }
        let file = disk.open_or_create(path)?;
        let len = disk.metadata_of(&file, path)?.len();
        let mut found = vec![0; header.len()];
        if len < planned_end || disk.read_some(&file, path, &mut found, 0)? < header.len() || found != header {
            return Ok(None);
        }
        let (disk, metadata, end, hash) = (disk.clone(), metadata.clone(), AtomicU64::new(planned_end), TreeHash::default());
        Ok(Some((Self { disk, path: path.into(), file, metadata, planned: placed.clone(), end, hash }, placed)))
    }

    /// What is appended goes behind `end`: there is something that counts before it.
    pub fn reserve(&self, end: u64) {
        self.end.fetch_max(end, Ordering::Relaxed);
    }

    /// Room past the planned end for tensors that replace planned ones.
    pub fn append(&self, tensors: &[OutTensor]) -> Vec<Placed> {
        let place = |t: &OutTensor| Placed { tensor: t.clone(), position: self.end.fetch_add(t.len, Ordering::Relaxed) };
        tensors.iter().map(place).collect()
    }

    /// Writes bytes of a tensor at an offset in it.
    pub fn write(&self, placed: &Placed, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        debug_assert!(offset + bytes.len() as u64 <= placed.tensor.len);
        self.disk.write_at(&self.file, &self.path, bytes, placed.position + offset)?;
        self.hash.wrote(placed.position + offset, bytes);
        Ok(())
    }

    /// Tells that a tensor is complete: what its writes left unhashed between them is hashed while it is still in the page cache.
    pub fn complete(&self, placed: &Placed) -> Result<(), IoError> {
        let bytes = placed.position..placed.position + placed.tensor.len;
        self.hash.settle(&bytes, |buffer, at| self.read(buffer, at))
    }

    /// Puts the file together from the tensors that count, syncs and hashes it. `check` is polled on the way and can end it.
    pub fn finish<E: From<IoError>>(mut self, last: &[Placed], check: impl Fn() -> Result<(), E>) -> Result<WrittenShard, E> {
        let end = self.planned.iter().map(|p| p.position + p.tensor.len).max().unwrap_or(0);
        if last != self.planned {
            self.rebuild(last, &check)?;
        } else if self.disk.metadata_of(&self.file, &self.path)?.len() > end && end > 0 {
            // What an interrupted job had appended does not count any more.
            self.disk.set_len(&self.file, &self.path, end)?;
        }
        self.disk.sync(&self.file, &self.path)?;
        let len = self.disk.metadata_of(&self.file, &self.path)?.len();
        let hash = self.hash.finish(len, |buffer, at| {
            check()?;
            Ok::<(), E>(self.read(buffer, at)?)
        })?;
        Ok(WrittenShard { len, hash: hash.to_hex().to_string() })
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), IoError> {
        let n = self.disk.read_some(&self.file, &self.path, buffer, at)?;
        if n < buffer.len() { Err(IoError::damaged(&self.path, None, Defect::ChangedWhileReading)) } else { Ok(()) }
    }

    fn rebuild<E: From<IoError>>(&mut self, last: &[Placed], check: &impl Fn() -> Result<(), E>) -> Result<(), E> {
        let tensors: Vec<OutTensor> = last.iter().map(|p| p.tensor.clone()).collect();
        let (header, placed) = layout(&self.metadata, &tensors);
        let path = self.path.with_extension("rebuilt");
        self.disk.remove(&path)?; // an interrupted job may have left one
        let file = self.disk.create_new(&path)?;
        let hash = TreeHash::default();
        let write = |bytes: &[u8], at| {
            hash.wrote(at, bytes);
            self.disk.write_at(&file, &path, bytes, at)
        };
        write(&header, 0)?;
        let mut buffer = vec![0; COPY_BYTES];
        for (from, to) in last.iter().zip(&placed) {
            let mut done = 0;
            while done < from.tensor.len {
                check()?;
                let n = COPY_BYTES.min((from.tensor.len - done) as usize);
                self.read(&mut buffer[..n], from.position + done)?;
                write(&buffer[..n], to.position + done)?;
                done += n as u64;
            }
        }
        self.disk.rename(&path, &self.path)?;
        (self.file, self.planned, self.hash) = (file, placed, hash);
        Ok(())
    }
}

/// Bytes of a file with these tensors.
pub fn planned_len(metadata: &BTreeMap<String, String>, tensors: &[OutTensor]) -> u64 {
    let (header, placed) = layout(metadata, tensors);
    end_of(&header, &placed)
}

fn end_of(header: &[u8], placed: &[Placed]) -> u64 {
    placed.iter().map(|p| p.position + p.tensor.len).max().unwrap_or(header.len() as u64)
}

/// Header bytes and positions. Positions are absolute, so the header's length comes first: it is padded to 8 bytes with spaces.
fn layout(metadata: &BTreeMap<String, String>, tensors: &[OutTensor]) -> (Vec<u8>, Vec<Placed>) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(tensors[i].dtype.size()));
    let mut header = Map::new();
    let mut metadata = metadata.clone();
    // Loaders of the pt family refuse a file that does not say which library wrote it.
    metadata.entry("format".into()).or_insert_with(|| "pt".into());
    header.insert("__metadata__".into(), json!(metadata));
    let mut offsets = vec![0; tensors.len()];
    let mut end = 0;
    for i in order {
        let t = &tensors[i];
        offsets[i] = end;
        header.insert(t.name.clone(), json!({"dtype": t.dtype.name(), "shape": t.shape, "data_offsets": [end, end + t.len]}));
        end += t.len;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let start = 8 + text.len() as u64;
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    let placed = tensors.iter().zip(offsets).map(|(t, o)| Placed { tensor: t.clone(), position: start + o }).collect();
    (bytes, placed)
}
