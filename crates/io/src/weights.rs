//! The weights of a model on disk as rows of floats, whatever layout they are stored in.

use crate::error::IoError;
use crate::header::TensorInfo;
use crate::layout::{LayerSpec, Layout, Storage, Stored};
use crate::source::{Component, Shard};
use aq_core::{BlockType, Geometry};
use aq_kernels::convert::to_f32;

/// Reads rows `first..first + rows` of a float tensor; `out` gets `rows * row` values.
pub fn read_float_rows(
    shard: &Shard,
    tensor: &TensorInfo,
    first: usize,
    out: &mut [f32],
    row: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), IoError> {
    let size = tensor.dtype.size();
    bytes.resize(out.len() * size, 0);
    shard.read(bytes, tensor.offset + (first * row * size) as u64)?;
    to_f32(bytes, tensor.dtype, out);
    Ok(())
}

enum Held<'a> {
    Float(&'a Shard, &'a TensorInfo),
    Coded(&'static dyn Layout, Box<LayerSpec>, Vec<(&'a Shard, &'a TensorInfo)>),
}

/// One weight of a model, decodable by rows.
pub struct Weight<'a> {
    /// Name of the weight tensor.
    pub name: String,
    /// Its own shape, decoded.
    pub shape: Vec<usize>,
    held: Held<'a>,
}

impl Weight<'_> {
    /// Bits per code; `None` for float weights.
    pub fn bits(&self) -> Option<u32> {
        match &self.held {
            Held::Float(..) => None,
            Held::Coded(_, spec, _) => Some(spec.scheme.blocks.map_or(spec.scheme.bits.bits(), BlockType::bits)),
        }
    }

    /// Decodes rows `first..`, as many as `out` holds. Rows of a block must begin on a byte: `first` a multiple of 4.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) -> Result<(), IoError> {
        match &self.held {
            Held::Float(shard, tensor) => {
                let row = tensor.numel() / tensor.shape.first().copied().unwrap_or(1).max(1);
                read_float_rows(shard, tensor, first, out, row, &mut Vec::new())
            }
            Held::Coded(layout, spec, tensors) => {
                let rows = out.len() / spec.geometry.row();
                let layout_tensors = layout.tensors(spec);
                let mut buffers = Vec::with_capacity(tensors.len());
                for ((shard, tensor), planned) in tensors.iter().zip(&layout_tensors) {
                    let start = planned.row_offset(first);
                    let mut buffer = vec![0; ((rows as u64 * planned.row_bits).div_ceil(8)) as usize];
                    shard.read(&mut buffer, tensor.offset + start)?;
                    buffers.push(buffer);
                }
                let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
                layout.read_rows(spec, &slices, rows, out);
                Ok(())
            }
        }
    }
}

/// All weights of a component with two dimensions or more, in file order; refuses quantized layouts that are not decoded.
pub fn weights(component: &Component) -> Result<Vec<Weight<'_>>, IoError> {
    let storage = Storage::of(component)?;
    let mut list = Vec::new();
    for (shard, tensor) in component.tensors() {
        if let Some(Stored { layout, spec, tensors }) = storage.weight(shard, tensor)? {
            let tensors = tensors.iter().filter_map(|n| shard.header.tensor(n).map(|t| (shard, t))).collect();
            let (name, shape) = (spec.tensor.clone(), spec.shape.clone());
            list.push(Weight { name, shape, held: Held::Coded(layout, Box::new(spec), tensors) });
        } else if tensor.dtype.is_float() && Geometry::of(&tensor.shape, 0).is_some() && !storage.is_companion(&tensor.name) {
            list.push(Weight { name: tensor.name.clone(), shape: tensor.shape.clone(), held: Held::Float(shard, tensor) });
        }
    }
    Ok(list)
}

/// Number of parameters that a component decodes to; elements as they are stored where its layout is not known.
pub fn parameters(component: &Component) -> u64 {
    let Ok(weights) = weights(component) else { return component.parameters() };
    let (mut stored, mut decoded) = (0, 0);
    for weight in &weights {
        if let Held::Coded(_, spec, tensors) = &weight.held {
            stored += tensors.iter().map(|(_, t)| t.numel() as u64).sum::<u64>();
            decoded += spec.geometry.numel() as u64;
        }
    }
    component.parameters() - stored + decoded
}
