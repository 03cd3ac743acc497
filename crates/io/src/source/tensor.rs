//! A tensor as it is to be written: one of the source, rows of several joined, or one with its halves exchanged. It is read from where it
//! stands, nothing is put together before.

use super::shard::Shard;
use crate::error::IoError;
use crate::header::TensorInfo;
use aq_kernels::Zeros;
use aq_kernels::convert::to_f32;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    shard: &'a Shard,
    /// In the shard's file.
    offset: u64,
    len: u64,
}

/// The places of some bytes of a tensor.
fn segments<'a>(shard: &'a Shard, t: &TensorInfo, at: u64, len: u64) -> impl Iterator<Item = Segment<'a>> {
    let of = move |(start, part): (u64, Range<usize>)| Segment { shard, offset: start, len: part.len() as u64 };
    t.placing.pieces(at, len as usize).into_iter().map(|(start, part)| (t.offset + start, part)).map(of).collect::<Vec<_>>().into_iter()
}

/// The scale of each row.
fn row_scales(t: &TensorInfo) -> Vec<f32> {
    let rows = t.shape.first().copied().unwrap_or(0);
    match t.scale.as_ref().map(|s| s.as_slice()) {
        None => vec![1.0; rows],
        Some([one]) => vec![*one; rows],
        Some(each) => each.to_vec(),
    }
}

/// A tensor with the places that its bytes come from.
#[derive(Debug, Clone)]
pub struct SourceTensor<'a> {
    /// Name of the first of them; type, shape and length of the whole.
    pub info: TensorInfo,
    segments: Vec<Segment<'a>>,
}

impl<'a> SourceTensor<'a> {
    /// As it stands in a file.
    pub fn one(shard: &'a Shard, info: &TensorInfo) -> Self {
        Self { info: info.clone(), segments: segments(shard, info, 0, info.len).collect() }
    }

    /// The rows of several one after the other; `None` unless they have one type and rows of one shape.
    pub fn joined(parts: &[(&'a Shard, &TensorInfo)]) -> Option<Self> {
        let ((_, first), rest) = parts.split_first()?;
        let alike = |t: &TensorInfo| t.dtype == first.dtype && !t.shape.is_empty() && t.shape.get(1..) == first.shape.get(1..);
        if !parts.iter().all(|(_, t)| alike(t)) {
            return None;
        }
        let mut info = (*first).clone();
        for (_, t) in rest {
            info.shape[0] = info.shape[0].checked_add(t.shape[0])?;
            info.len = info.len.checked_add(t.len)?;
        }
        if parts.iter().any(|(_, t)| t.scale.is_some()) {
            info.scale = Some(Arc::new(parts.iter().flat_map(|(_, t)| row_scales(t)).collect()));
        }
        let segments = parts.iter().flat_map(|(shard, t)| segments(shard, t, 0, t.len)).collect();
        Some(Self { info, segments })
    }

    /// The second half of the rows before the first; `None` where there are no halves.
    pub fn swapped(shard: &'a Shard, info: &TensorInfo) -> Option<Self> {
        let rows = *info.shape.first()?;
        let len = info.len / 2;
        let mut whole = info.clone();
        whole.scale = info.scale.as_ref().map(|_| {
            let mut scales = row_scales(info);
            scales.rotate_left(rows / 2);
            Arc::new(scales)
        });
        rows.is_multiple_of(2)
            .then(|| Self { info: whole, segments: segments(shard, info, len, len).chain(segments(shard, info, 0, len)).collect() })
    }

    /// The file it begins in.
    pub fn path(&self) -> &'a Path {
        &self.segments[0].shard.path
    }

    /// Reads bytes from `at` on.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), IoError> {
        self.segments[0].shard.check(&self.info)?;
        let (mut done, mut start) = (0, 0);
        for s in &self.segments {
            let place = at + done as u64;
            if place < start + s.len && done < buffer.len() {
                let from = place - start;
                let n = (s.len - from).min((buffer.len() - done) as u64) as usize;
                s.shard.read(&mut buffer[done..done + n], s.offset + from)?;
                done += n;
            }
            start += s.len;
        }
        Ok(())
    }

    /// Reads rows from `first` on, as many as `out` holds.
    pub fn read_rows(&self, first: usize, out: &mut [f32], row: usize, bytes: &mut Vec<u8>) -> Result<(), IoError> {
        let size = self.info.dtype.size();
        u8::set_len(bytes, out.len() * size);
        self.read(bytes, (first * row * size) as u64)?;
        to_f32(bytes, self.info.dtype, out);
        self.info.apply_scale(first * row, out);
        Ok(())
    }

    /// Asks for bytes ahead of their reading: as many as stand at `at`, so many bytes behind them in the file.
    pub fn read_ahead(&self, at: u64, len: u64, ahead: u64) {
        let mut start = 0;
        for s in &self.segments {
            if at < start + s.len {
                let from = s.offset + (at - start) + ahead;
                return s.shard.read_ahead(from..from + len);
            }
            start += s.len;
        }
    }
}
