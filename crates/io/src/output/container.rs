//! The file around tensors: its header, and where each of them goes. All positions follow from the plan.

use super::Placed;
use crate::gguf;
use crate::layout::OutTensor;
use crate::parquet;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A kind of file, with what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// safetensors, with its `__metadata__`.
    Safetensors(BTreeMap<String, String>),
    /// GGUF, with its keys.
    Gguf(gguf::Keys),
    /// Parquet, whose columns beside the bytes of tensors and whose footer come last.
    Parquet,
}

/// A planned file.
#[derive(Debug, Clone)]
pub(super) struct Blueprint {
    /// Its first bytes.
    pub header: Vec<u8>,
    /// Its tensors, in the order they were given.
    pub placed: Vec<Placed>,
    /// Bytes in all.
    pub len: u64,
}

impl Container {
    /// Bytes of a file with these tensors; of a container with an end that tells of them, about so many.
    pub fn planned_len(&self, tensors: &[OutTensor]) -> u64 {
        let end = if *self == Self::Parquet { tensors.len() as u64 * parquet::ROW_BYTES } else { 0 };
        self.plan(tensors).len + end
    }

    /// Where tensors stand in a file of them.
    pub fn placed(&self, tensors: &[OutTensor]) -> Vec<Placed> {
        self.plan(tensors).placed
    }

    pub(super) fn plan(&self, tensors: &[OutTensor]) -> Blueprint {
        let (header, positions, len) = match self {
            Self::Safetensors(metadata) => safetensors(metadata, tensors),
            Self::Gguf(keys) => gguf::place(keys, tensors),
            Self::Parquet => one_after_the_other(tensors),
        };
        let placed = tensors.iter().zip(positions).map(|(tensor, position)| Placed { tensor: tensor.clone(), position }).collect();
        Blueprint { header, placed, len }
    }
}

fn one_after_the_other(tensors: &[OutTensor]) -> (Vec<u8>, Vec<u64>, u64) {
    let mut end = parquet::MAGIC.len() as u64;
    let mut place = |t: &OutTensor| {
        end += t.len;
        end - t.len
    };
    let positions = tensors.iter().map(&mut place).collect();
    (parquet::MAGIC.to_vec(), positions, end)
}

/// The header's length comes first, so that positions are absolute: it is padded to 8 bytes with spaces. Tensors are ordered by element size,
/// largest first: loaders view the bytes as their type in place and need them aligned.
fn safetensors(metadata: &BTreeMap<String, String>, tensors: &[OutTensor]) -> (Vec<u8>, Vec<u64>, u64) {
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
    (bytes, offsets.into_iter().map(|o| start + o).collect(), start + end)
}
