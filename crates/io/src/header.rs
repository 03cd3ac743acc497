//! The header of a weight file; of a safetensors file here: 8 bytes of length, JSON, data. Every number is checked before it is used.

use crate::disk::InputFile;
use crate::error::{Defect, IoError};
use crate::gguf;
use crate::layout::{LayerSpec, Placing};
use crate::parquet::{self, Sums};
use aq_core::Dtype;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The format's own bound on the header.
pub const MOST_HEADER_BYTES: u64 = 100_000_000;
/// Far above any model; bounds the work a hostile header can ask for.
pub(crate) const MOST_TENSORS: usize = 1_000_000;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What its values are multiplied by: one number, or one for each row. Of floats of eight bits only.
    pub scale: Option<Arc<Vec<f32>>>,
    /// Where its rows stand in it.
    pub placing: Placing,
    /// What its bytes must sum to, and those that stand with it.
    pub sums: Option<Arc<Sums>>,
}

impl TensorInfo {
    /// Of no type and no bytes yet.
    pub(crate) fn named(name: &str) -> Self {
        let (dtype, shape, placing) = (Dtype::F32, vec![], Placing::Rows);
        Self { name: name.into(), dtype, shape, offset: 0, len: 0, scale: None, placing, sums: None }
    }

    /// Of some type and shape, nowhere yet.
    pub fn of(name: &str, dtype: Dtype, shape: &[usize]) -> Self {
        let len = shape.iter().product::<usize>() as u64 * dtype.size() as u64;
        Self { dtype, shape: shape.into(), len, ..Self::named(name) }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Multiplies values from `first` on, in the order of the tensor, by their scale.
    pub fn apply_scale(&self, first: usize, values: &mut [f32]) {
        let Some(scale) = &self.scale else { return };
        let row = self.shape.get(1..).unwrap_or_default().iter().product::<usize>().max(1);
        for (i, value) in values.iter_mut().enumerate() {
            *value *= if scale.len() == 1 { scale[0] } else { scale[(first + i) / row] };
        }
    }
}

/// A checked header.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Header {
    /// Tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// The file's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The keys of a GGUF file.
    pub keys: Option<gguf::Keys>,
    /// Tensors of a Parquet archive by name, with what those in codes stand for.
    pub archive: HashMap<String, Option<LayerSpec>>,
    /// Tensors that only say how others are stored; [`TensorInfo::scale`] has what they say.
    pub spent: HashSet<String>,
}

impl Header {
    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Reads and checks the header of an open file.
    pub fn read(file: &Arc<InputFile>) -> Result<Self, IoError> {
        if gguf::begins(file)? {
            return gguf::read(file);
        }
        if parquet::begins(file)? {
            return parquet::read(file);
        }
        let (path, file_len) = (file.path(), file.len());
        if file_len < 8 {
            return Err(IoError::damaged_by(path, None, Defect::TooShort, file_len, 8));
        }
        let mut prefix = [0; 8];
        file.read(&mut prefix, 0)?;
        let len = u64::from_le_bytes(prefix);
        let limit = MOST_HEADER_BYTES.min(file_len - 8);
        if len == 0 || len > limit {
            return Err(IoError::damaged_by(path, None, Defect::HeaderLength, len, limit));
        }
        let mut bytes: Vec<u8> = Vec::new();
        bytes.try_reserve_exact(len as usize).map_err(|_| IoError::OutOfMemory { requested: len })?;
        bytes.resize(len as usize, 0);
        file.read(&mut bytes, 8)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| IoError::damaged(path, None, Defect::HeaderEncoding))?;
        Self::parse(text, path, 8 + len, file_len)
    }

    fn parse(text: &str, path: &Path, data_start: u64, file_len: u64) -> Result<Self, IoError> {
        let Entries(entries) = serde_json::from_str(text).map_err(|_| IoError::damaged(path, None, Defect::HeaderJson))?;
        if entries.len() > MOST_TENSORS {
            return Err(IoError::damaged_by(path, None, Defect::TooManyTensors, format!("over {MOST_TENSORS}"), MOST_TENSORS as u64));
        }
        let mut header = Self::default();
        let mut seen = HashSet::with_capacity(entries.len());
        let data_len = file_len - data_start;
        for (name, value) in &entries {
            if !seen.insert(name) {
                return Err(IoError::damaged(path, Some(name), Defect::DuplicateName));
            }
            if name == "__metadata__" {
                let bad = || IoError::damaged(path, Some(name), Defect::HeaderEntry);
                for (k, v) in value.as_object().ok_or_else(bad)? {
                    header.metadata.insert(k.clone(), v.as_str().ok_or_else(bad)?.to_owned());
                }
            } else {
                header.tensors.push(tensor(name, value, path, data_start, data_len)?);
            }
        }
        header.tensors.sort_by(|a, b| (a.offset, a.len, &a.name).cmp(&(b.offset, b.len, &b.name)));
        header.check_cover(path, data_start, file_len)?;
        Ok(header)
    }

    /// The data must be covered once, without holes.
    fn check_cover(&self, path: &Path, data_start: u64, file_len: u64) -> Result<(), IoError> {
        let mut end = data_start;
        for t in &self.tensors {
            if t.offset != end {
                let defect = if t.offset < end { Defect::OffsetOverlap } else { Defect::OffsetGap };
                return Err(IoError::damaged_by(path, Some(&t.name), defect, t.offset - data_start, end - data_start));
            }
            end += t.len;
        }
        if end != file_len {
            return Err(IoError::damaged_by(path, None, Defect::TrailingBytes, file_len - end, 0));
        }
        Ok(())
    }
}

fn tensor(name: &str, value: &Value, path: &Path, data_start: u64, data_len: u64) -> Result<TensorInfo, IoError> {
    let bad = || IoError::damaged(path, Some(name), Defect::HeaderEntry);
    let numbers = |key: &str| -> Option<Vec<u64>> { value.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
    let dtype_name = value.get("dtype").and_then(Value::as_str).ok_or_else(bad)?;
    let shape = numbers("shape").ok_or_else(bad)?;
    let offsets = numbers("data_offsets").ok_or_else(bad)?;
    let &[begin, end] = offsets.as_slice() else { return Err(bad()) };
    if begin > end {
        return Err(IoError::damaged_by(path, Some(name), Defect::OffsetOrder, begin, end));
    }
    if end > data_len {
        return Err(IoError::damaged_by(path, Some(name), Defect::OffsetRange, end, data_len));
    }
    let Some(dtype) = Dtype::parse(dtype_name) else {
        return Err(IoError::Dtype { path: path.into(), tensor: name.into(), dtype: dtype_name.into() });
    };
    let overflow = || IoError::damaged(path, Some(name), Defect::ArithmeticOverflow);
    let numel = shape.iter().try_fold(1u64, |a, &d| a.checked_mul(d)).ok_or_else(overflow)?;
    let bytes = dtype.bytes(numel).ok_or_else(overflow)?;
    if bytes != end - begin {
        return Err(IoError::damaged_by(path, Some(name), Defect::SizeMismatch, bytes, end - begin));
    }
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>().map_err(|_| overflow())?;
    Ok(TensorInfo { dtype, shape, offset: data_start + begin, len: bytes, ..TensorInfo::named(name) })
}

/// The entries of a JSON object in order, doubles included: a map would drop them silently.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    // One over the bound is kept to be counted; the rest is parsed and dropped.
                    if entries.len() <= MOST_TENSORS {
                        entries.push(entry);
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
