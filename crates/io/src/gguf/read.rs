//! The header of a GGUF file. Every number is checked before it is used; shapes come out in the order that everything else here has: rows
//! first, which GGUF writes last.

use super::cursor::Cursor;
use super::{ALIGNMENT_KEY, ARRAY, Entry, Keys, MAGIC, STRING, UINT32, VERSION, dtype_of};
use crate::disk::InputFile;
use crate::error::{Defect, IoError, MetadataProblem};
use crate::header::{Header, MOST_TENSORS, TensorInfo};
use std::collections::HashSet;
use std::path::Path;

/// ggml has four; files of video models have five for the patch embedding.
const MOST_DIMS: u32 = 5;
/// More than any model's; bounds the work that a hostile header can ask for.
const MOST_KEYS: u64 = 100_000;
/// A key: its length, type and value; a tensor: length of its name, number of dimensions, type and offset.
const LEAST_ENTRY: u64 = 13;
const MOST_ALIGNMENT: u32 = 1 << 20;

/// Whether a file begins as GGUF does.
pub fn begins(file: &InputFile) -> Result<bool, IoError> {
    let mut first = [0; 4];
    if file.len() < 4 {
        return Ok(false);
    }
    file.read(&mut first, 0)?;
    Ok(&first == MAGIC)
}

/// Reads and checks the header of an open file.
pub fn read(file: &InputFile) -> Result<Header, IoError> {
    let (path, cursor) = (file.path(), &mut Cursor::new(file));
    cursor.take(4, &mut Vec::new())?;
    check_version(path, cursor.u32()?)?;
    let (tensors, keys) = (cursor.u64()?, cursor.u64()?);
    for (count, most) in [(tensors, MOST_TENSORS as u64), (keys, MOST_KEYS)] {
        if count > most {
            return Err(IoError::damaged_by(path, None, Defect::TooManyTensors, count, most));
        }
        cursor.expect(count * LEAST_ENTRY)?;
    }
    let keys = read_keys(path, cursor, keys)?;
    let alignment = alignment(path, &keys)?;
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..tensors {
        let tensor = read_tensor(path, cursor, alignment)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(IoError::damaged(path, Some(&tensor.name), Defect::DuplicateName));
        }
        list.push(tensor);
    }
    let start = cursor.position().next_multiple_of(alignment);
    list.sort_by(|a, b| (a.offset, a.len, &a.name).cmp(&(b.offset, b.len, &b.name)));
    place(path, &mut list, start, file.len())?;
    Ok(Header { tensors: list, keys: Some(keys), ..Header::default() })
}

fn check_version(path: &Path, version: u32) -> Result<(), IoError> {
    match version {
        2 | VERSION => Ok(()),
        0 | 1 => Err(IoError::Unsupported { path: path.into(), detected: format!("a GGUF file of version {version}") }),
        // What a machine of the other byte order wrote shows here, too.
        newer => {
            let problem = MetadataProblem::Version { found: u64::from(newer), newest: u64::from(VERSION) };
            Err(IoError::Metadata { path: path.into(), field: Some("version".into()), problem })
        }
    }
}

fn read_keys(path: &Path, cursor: &mut Cursor<'_>, count: u64) -> Result<Keys, IoError> {
    let mut keys = Keys::default();
    let mut seen = HashSet::new();
    for _ in 0..count {
        let (key, kind) = (cursor.text()?, cursor.u32()?);
        if !seen.insert(key.clone()) {
            return Err(IoError::damaged(path, Some(&key), Defect::DuplicateName));
        }
        let mut value = Vec::new();
        match kind {
            STRING => read_text(cursor, &mut value)?,
            ARRAY => read_array(path, &key, cursor, &mut value)?,
            _ => cursor.take(scalar(kind).ok_or_else(|| IoError::damaged(path, Some(&key), Defect::HeaderEntry))?, &mut value)?,
        }
        keys.0.push(Entry { key, kind, value });
    }
    Ok(keys)
}

/// Bytes of a value of fixed length.
const fn scalar(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        UINT32 | 5 | 6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// A text as it stands in the file, its length first.
fn read_text(cursor: &mut Cursor<'_>, value: &mut Vec<u8>) -> Result<(), IoError> {
    let len = cursor.u64()?;
    value.extend(len.to_le_bytes());
    cursor.take(len, value)
}

fn read_array(path: &Path, key: &str, cursor: &mut Cursor<'_>, value: &mut Vec<u8>) -> Result<(), IoError> {
    let (kind, count) = (cursor.u32()?, cursor.u64()?);
    value.extend(kind.to_le_bytes());
    value.extend(count.to_le_bytes());
    if kind == STRING {
        cursor.expect(count.saturating_mul(8))?;
        return (0..count).try_for_each(|_| read_text(cursor, value));
    }
    // Arrays of arrays are refused by ggml, too.
    let size = scalar(kind).ok_or_else(|| IoError::damaged(path, Some(key), Defect::HeaderEntry))?;
    let bytes = count.checked_mul(size).ok_or_else(|| IoError::damaged(path, Some(key), Defect::ArithmeticOverflow))?;
    cursor.take(bytes, value)
}

fn alignment(path: &Path, keys: &Keys) -> Result<u64, IoError> {
    let stated = keys.0.iter().any(|e| e.key == ALIGNMENT_KEY);
    match keys.number(ALIGNMENT_KEY) {
        Some(n) if n.is_power_of_two() && n <= MOST_ALIGNMENT => Ok(u64::from(n)),
        None if !stated => Ok(super::ALIGNMENT),
        _ => Err(IoError::damaged(path, Some(ALIGNMENT_KEY), Defect::HeaderEntry)),
    }
}

/// A tensor, its offset still from the start of the data.
fn read_tensor(path: &Path, cursor: &mut Cursor<'_>, alignment: u64) -> Result<TensorInfo, IoError> {
    let name = cursor.text()?;
    let bad = || IoError::damaged(path, Some(&name), Defect::HeaderEntry);
    let overflow = || IoError::damaged(path, Some(&name), Defect::ArithmeticOverflow);
    let dims = cursor.u32()?;
    if dims > MOST_DIMS {
        return Err(IoError::damaged_by(path, Some(&name), Defect::HeaderEntry, u64::from(dims), u64::from(MOST_DIMS)));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        shape.push(usize::try_from(cursor.u64()?).map_err(|_| overflow())?);
    }
    shape.reverse();
    let (kind, offset) = (cursor.u32()?, cursor.u64()?);
    let unknown = || IoError::Dtype { path: path.into(), tensor: name.clone(), dtype: format!("ggml type {kind}") };
    let dtype = dtype_of(kind).ok_or_else(unknown)?;
    if !offset.is_multiple_of(alignment) {
        return Err(IoError::damaged_by(path, Some(&name), Defect::OffsetOrder, offset, alignment));
    }
    let numel = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).ok_or_else(overflow)?;
    let row = shape.last().copied().unwrap_or(1) as u64;
    // A block never crosses a row.
    dtype.bytes(row).ok_or_else(bad)?;
    let len = dtype.bytes(numel).ok_or_else(overflow)?;
    Ok(TensorInfo { dtype, shape, offset, len, ..TensorInfo::named(&name) })
}

/// Offsets from the start of the file; nothing may lie outside of it, or on something else.
fn place(path: &Path, tensors: &mut [TensorInfo], start: u64, file_len: u64) -> Result<(), IoError> {
    let mut end = start;
    for t in tensors {
        let declared = t.offset;
        let range = || IoError::damaged_by(path, Some(&t.name), Defect::OffsetRange, declared, file_len.saturating_sub(start));
        t.offset = start.checked_add(t.offset).ok_or_else(range)?;
        if t.offset < end {
            return Err(IoError::damaged_by(path, Some(&t.name), Defect::OffsetOverlap, declared, end - start));
        }
        end = t.offset.checked_add(t.len).filter(|end| *end <= file_len).ok_or_else(range)?;
    }
    Ok(())
}
