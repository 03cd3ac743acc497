//! One weight file, written at known offsets by many threads.
//!
//! All positions follow from the plan, so the header is written first and every row goes to its place. A layer that ends under another
//! scheme than planned (a raised width, wider scales) is appended past the planned end; such a shard is put together anew when it is
//! finished, since no container allows holes.

use super::container::{Blueprint, Container};
use super::tree_hash::TreeHash;
use crate::disk::Disk;
use crate::error::{Defect, IoError};
use crate::layout::{OutTensor, Placing};
use crate::parquet::{Below, Closing, write_tail};
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

/// A weight file being written.
#[derive(Debug)]
pub struct ShardWriter {
    disk: Disk,
    path: PathBuf,
    file: File,
    container: Container,
    planned: Vec<Placed>,
    planned_len: u64,
    end: AtomicU64,
    hash: TreeHash,
}

impl ShardWriter {
    /// Creates the file with its header and full length; positions come back in the order of `tensors`.
    pub fn create(disk: &Disk, path: &Path, container: &Container, tensors: &[OutTensor]) -> Result<(Self, Vec<Placed>), IoError> {
        let plan = container.plan(tensors);
        let file = disk.create_new(path)?;
        disk.set_len(&file, path, plan.len)?;
        disk.write_at(&file, path, &plan.header, 0)?;
        let writer = Self::of(disk, path, file, container, &plan);
        writer.hash.wrote(0, &plan.header);
        writer.write_fixed(&plan.placed)?;
        Ok((writer, plan.placed))
    }

    fn of(disk: &Disk, path: &Path, file: File, container: &Container, plan: &Blueprint) -> Self {
        Self {
            disk: disk.clone(),
            path: path.into(),
            file,
            container: container.clone(),
            planned: plan.placed.clone(),
            planned_len: plan.len,
            end: AtomicU64::new(plan.len),
            hash: TreeHash::default(),
        }
    }

    /// Opens the file of an interrupted job; `None` where it is not there, or not with this header and length.
    pub fn reopen(disk: &Disk, path: &Path, container: &Container, tensors: &[OutTensor]) -> Result<Option<(Self, Vec<Placed>)>, IoError> {
        let plan = container.plan(tensors);
        if !disk.is_file(path)? {
            return Ok(None);
        }
        let file = disk.open_or_create(path)?;
        let len = disk.metadata_of(&file, path)?.len();
        let mut found = vec![0; plan.header.len()];
        if len < plan.len || disk.read_some(&file, path, &mut found, 0)? < found.len() || found != plan.header {
            return Ok(None);
        }
        let writer = Self::of(disk, path, file, container, &plan);
        writer.write_fixed(&plan.placed)?;
        Ok(Some((writer, plan.placed)))
    }

    /// Tensors that count as they are placed: what is appended goes behind them, and what of them follows from the plan is written.
    pub fn keep(&self, placed: &[Placed]) -> Result<(), IoError> {
        let end = placed.iter().map(|p| p.position + p.tensor.len).max().unwrap_or(0);
        self.end.fetch_max(end, Ordering::Relaxed);
        self.write_fixed(placed)
    }

    /// Room past the planned end for tensors that replace planned ones.
    pub fn append(&self, tensors: &[OutTensor]) -> Result<Vec<Placed>, IoError> {
        let place = |t: &OutTensor| Placed { tensor: t.clone(), position: self.end.fetch_add(t.len, Ordering::Relaxed) };
        let placed: Vec<Placed> = tensors.iter().map(place).collect();
        self.write_fixed(&placed)?;
        Ok(placed)
    }

    /// Bytes of tensors that follow from the plan.
    fn write_fixed(&self, placed: &[Placed]) -> Result<(), IoError> {
        for p in placed {
            if let Placing::Pages(pages) = &p.tensor.placing {
                pages.starts().try_for_each(|(start, lead)| self.put(p.position + start, lead))?;
            }
            if !p.tensor.fixed.is_empty() {
                self.write(p, 0, &p.tensor.fixed)?;
            }
        }
        Ok(())
    }

    /// Writes bytes of a tensor's rows at an offset among them.
    pub fn write(&self, placed: &Placed, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        debug_assert!(offset + bytes.len() as u64 <= placed.tensor.body());
        let placing = &placed.tensor.placing;
        let arranged = placing.arranged(offset, bytes);
        let bytes = arranged.as_deref().unwrap_or(bytes);
        placing.pieces(offset, bytes.len()).into_iter().try_for_each(|(at, part)| self.put(placed.position + at, &bytes[part]))
    }

    /// Writes bytes of the file.
    fn put(&self, at: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.disk.write_at(&self.file, &self.path, bytes, at)?;
        self.hash.wrote(at, bytes);
        Ok(())
    }

    /// Tells that a tensor is complete: what its writes left unhashed between them is hashed while it is still in the page cache.
    pub fn complete(&self, placed: &Placed) -> Result<(), IoError> {
        let bytes = placed.position..placed.position + placed.tensor.len;
        self.hash.settle(&bytes, |buffer, at| self.read(buffer, at))
    }

    /// Takes a whole tensor from another file, as it stands there.
    pub fn take<E: From<IoError>>(
        &self,
        from: (&File, &Path),
        tensor: &Placed,
        to: &Placed,
        check: &impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let (file, path) = from;
        let mut buffer = vec![0; COPY_BYTES];
        let mut done = 0;
        while done < tensor.tensor.len {
            check()?;
            let n = COPY_BYTES.min((tensor.tensor.len - done) as usize);
            if self.disk.read_some(file, path, &mut buffer[..n], tensor.position + done)? < n {
                return Err(IoError::damaged(path, Some(&tensor.tensor.name), Defect::ChangedWhileReading).into());
            }
            self.put(to.position + done, &buffer[..n])?;
            done += n as u64;
        }
        Ok(())
    }

    /// Makes what was written durable, as it stands.
    pub fn sync(&self) -> Result<(), IoError> {
        self.disk.sync(&self.file, &self.path)
    }

    /// Puts the file together from the tensors that count, syncs and hashes it. `check` is polled on the way and can end it. `closing`: what
    /// a container whose end tells of its tensors says there.
    pub fn finish<E: From<IoError>>(
        mut self,
        last: &[Placed],
        closing: Option<&Closing<'_>>,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<WrittenShard, E> {
        let in_place = |(a, b): (&Placed, &Placed)| a.position == b.position && a.tensor.takes_the_place_of(&b.tensor);
        if last.len() != self.planned.len() || !last.iter().zip(&self.planned).all(in_place) {
            self.rebuild(last, &check)?;
        } else if self.disk.metadata_of(&self.file, &self.path)?.len() > self.planned_len {
            // What an interrupted job had appended does not count any more.
            self.disk.set_len(&self.file, &self.path, self.planned_len)?;
        }
        if let Some(closing) = closing {
            write_tail(&self, closing, &self.planned, self.planned_len, &check)?;
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
        let Blueprint { header, placed, len } = self.container.plan(&tensors);
        let path = self.path.with_extension("rebuilt");
        self.disk.remove(&path)?; // an interrupted job may have left one
        let file = self.disk.create_new(&path)?;
        self.disk.set_len(&file, &path, len)?;
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
        (self.file, self.planned, self.planned_len, self.hash) = (file, placed, len, hash);
        Ok(())
    }
}

impl Below for ShardWriter {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), IoError> {
        self.read(buffer, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.put(at, bytes)
    }
}
