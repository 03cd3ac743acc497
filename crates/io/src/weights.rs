//! The weights of a model on disk as rows of floats, whatever layout they are stored in.

use crate::error::IoError;
use crate::header::TensorInfo;
use crate::layout::{LayerSpec, Layout, OutTensor, Placing, Storage, Stored};
use crate::source::{Component, Shard};
use aq_core::{BlockType, Geometry};
use aq_kernels::Zeros;
use aq_kernels::convert::to_f32;
use std::collections::HashMap;

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
    u8::set_len(bytes, out.len() * size);
    shard.read_tensor(tensor, bytes, (first * row * size) as u64)?;
    to_f32(bytes, tensor.dtype, out);
    tensor.apply_scale(first * row, out);
    Ok(())
}

/// Where a tensor stands: its shard in the component, and its place in that shard's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the shard.
    pub shard: usize,
    /// Index of the tensor.
    pub tensor: usize,
}

impl Place {
    fn of(self, component: &Component) -> (&Shard, &TensorInfo) {
        let shard = &component.shards[self.shard];
        (shard, &shard.header.tensors[self.tensor])
    }
}

#[derive(Debug, Clone)]
enum Held {
    Float(Place),
    Coded(Box<Coded>),
}

/// A weight in codes.
#[derive(Debug, Clone)]
pub struct Coded {
    /// The layout that decodes it.
    pub layout: &'static dyn Layout,
    /// What it decodes to.
    pub spec: LayerSpec,
    tensors: Vec<Place>,
}

/// One weight of a component, decodable by rows.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Name of the weight tensor.
    pub name: String,
    /// Its own shape, decoded.
    pub shape: Vec<usize>,
    held: Held,
}

/// Rows of a packed row begin on a byte at multiples of this.
const ROW_STEP: usize = 4;

impl Weight {
    /// What it is stored as; `None` for float weights.
    pub fn coded(&self) -> Option<&Coded> {
        if let Held::Coded(coded) = &self.held { Some(coded) } else { None }
    }

    /// Bits per code; `None` for float weights.
    pub fn bits(&self) -> Option<u32> {
        self.coded().map(|c| c.spec.scheme.blocks.map_or(c.spec.scheme.bits.bits(), BlockType::bits))
    }

    /// Values of a row.
    pub fn row(&self) -> usize {
        self.shape.get(1..).unwrap_or_default().iter().product()
    }

    /// Tensors of the file that it takes.
    pub fn places(&self) -> &[Place] {
        match &self.held {
            Held::Float(place) => std::slice::from_ref(place),
            Held::Coded(coded) => &coded.tensors,
        }
    }

    /// Its tensors in the file.
    pub fn tensors<'c>(&self, component: &'c Component) -> impl Iterator<Item = (&'c Shard, &'c TensorInfo)> {
        self.places().iter().map(|place| place.of(component))
    }

    /// Decodes rows `first..`, as many as `out` holds.
    pub fn read_rows(&self, component: &Component, first: usize, out: &mut [f32]) -> Result<(), IoError> {
        match &self.held {
            Held::Float(place) => {
                let (shard, tensor) = place.of(component);
                read_float_rows(shard, tensor, first, out, self.row(), &mut Vec::new())
            }
            Held::Coded(coded) if coded.spec.reshaped.is_some() => coded.read_values(component, first * self.row(), out),
            Held::Coded(coded) => {
                let (row, lead) = (self.row(), first % ROW_STEP);
                let rows = out.len() / row.max(1);
                let buffers = coded.read(component, first - lead, lead + rows)?;
                let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
                if lead == 0 {
                    coded.layout.read_rows(&coded.spec, &slices, rows, out);
                } else {
                    let mut decoded = vec![0.0; (lead + rows) * row];
                    coded.layout.read_rows(&coded.spec, &slices, lead + rows, &mut decoded);
                    out.copy_from_slice(&decoded[lead * row..]);
                }
                Ok(())
            }
        }
    }
}

impl Coded {
    /// Decodes values from `start` on, in the order of the tensor, wherever its rows begin and end.
    fn read_values(&self, component: &Component, start: usize, out: &mut [f32]) -> Result<(), IoError> {
        let row = self.spec.geometry.row();
        let first = start / row / ROW_STEP * ROW_STEP;
        let rows = (start + out.len()).div_ceil(row) - first;
        let mut values = vec![0.0; rows * row];
        let buffers = self.read(component, first, rows)?;
        self.layout.read_rows(&self.spec, &buffers.iter().map(Vec::as_slice).collect::<Vec<_>>(), rows, &mut values);
        let skipped = start - first * row;
        out.copy_from_slice(&values[skipped..skipped + out.len()]);
        Ok(())
    }

    /// The bytes of some rows in each of its tensors; `first` is a multiple of [`ROW_STEP`].
    pub fn read(&self, component: &Component, first: usize, rows: usize) -> Result<Vec<Vec<u8>>, IoError> {
        let planned = self.layout.tensors(&self.spec);
        let one = |(place, planned): (&Place, &OutTensor)| {
            let (shard, tensor) = place.of(component);
            let mut buffer = vec![0; planned.bytes_of(rows)];
            shard.check(tensor)?;
            // Pages are those of the file, which may have been cut otherwise than a layout would now.
            let placing = if tensor.placing == Placing::Rows { &planned.placing } else { &tensor.placing };
            let offset = planned.row_offset(first);
            for (at, part) in placing.pieces(offset, buffer.len()) {
                shard.read(&mut buffer[part], tensor.offset + at)?;
            }
            Ok(placing.by_rows(offset, buffer))
        };
        self.tensors.iter().zip(&planned).map(one).collect()
    }
}

/// All weights of a component with two dimensions or more, in file order; refuses quantized layouts that are not decoded.
pub fn weights(component: &Component) -> Result<Vec<Weight>, IoError> {
    let storage = Storage::of(component)?;
    let mut list = Vec::new();
    for (at, shard) in component.shards.iter().enumerate() {
        let names: HashMap<&str, usize> = shard.header.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        for (index, tensor) in shard.header.tensors.iter().enumerate() {
            if let Some(Stored { layout, spec, tensors }) = storage.weight(shard, tensor)? {
                let place = |name: &String| names.get(name.as_str()).map(|&tensor| Place { shard: at, tensor });
                let (name, shape) = (spec.tensor.clone(), spec.model_shape().to_vec());
                let tensors = tensors.iter().filter_map(place).collect();
                list.push(Weight { name, shape, held: Held::Coded(Box::new(Coded { layout, spec, tensors })) });
            } else if tensor.dtype.is_float()
                && !shard.header.spent.contains(&tensor.name)
                && Geometry::of(&tensor.shape, 0).is_some()
                && !storage.is_companion(&tensor.name)
            {
                let held = Held::Float(Place { shard: at, tensor: index });
                list.push(Weight { name: tensor.name.clone(), shape: tensor.shape.clone(), held });
            }
        }
    }
    Ok(list)
}

/// Number of parameters that a component decodes to; elements as they are stored where its layout is not known.
pub fn parameters(component: &Component) -> u64 {
    let Ok(weights) = weights(component) else { return component.parameters() };
    let (mut stored, mut decoded) = (0, 0);
    for weight in &weights {
        if let Some(coded) = weight.coded() {
            stored += weight.tensors(component).map(|(_, t)| t.numel() as u64).sum::<u64>();
            decoded += coded.spec.geometry.numel() as u64;
        }
    }
    component.parameters() - stored + decoded
}
