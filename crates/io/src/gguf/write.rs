//! The header of a new GGUF file, and where its tensors go.

use super::{Keys, MAGIC, VERSION, id_of};
use crate::layout::OutTensor;

/// Header bytes, where each tensor begins, and the length of the file. Every tensor is filled up to the alignment, the last one too: ggml
/// reads the data as a whole.
pub fn place(keys: &Keys, tensors: &[OutTensor]) -> (Vec<u8>, Vec<u64>, u64) {
    let alignment = keys.alignment();
    let mut bytes = MAGIC.to_vec();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.0.len() as u64).to_le_bytes());
    for entry in &keys.0 {
        text(&mut bytes, &entry.key);
        bytes.extend(entry.kind.to_le_bytes());
        bytes.extend(&entry.value);
    }
    let mut offsets = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for t in tensors {
        text(&mut bytes, &t.name);
        bytes.extend((t.shape.len() as u32).to_le_bytes());
        t.shape.iter().rev().for_each(|&d| bytes.extend((d as u64).to_le_bytes()));
        // The layout plans no type without a number.
        bytes.extend(id_of(t.dtype).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(u64::to_le_bytes(end));
        offsets.push(end);
        end += t.len.next_multiple_of(alignment);
    }
    let start = (bytes.len() as u64).next_multiple_of(alignment);
    bytes.resize(start as usize, 0);
    (bytes, offsets.into_iter().map(|o| start + o).collect(), start + end)
}
