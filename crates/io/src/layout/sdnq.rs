//! SDNQ's safetensors, which diffusers (and transformers with `import sdnq`) opens as it is.
//!
//! Facts from `Disty0/sdnq` 0.2.8 (`quantizer.py`, `packed_int/pack.py`): a module's `weight` holds packed codes, `scale` and `zero_point`
//! stand beside it; unsigned types have a float zero, signed ones none. The loader derives every shape again from the config, so the group
//! rule and the shapes here must agree with it to the letter.

use super::sdnq_config::{self, HADAMARD_BLOCK};
use super::{Described, EncodedRows, LayerSpec, Layout, OutTensor, Placing, grouped};
use aq_core::{BitWidth, Dtype, Geometry, Scheme, rotation_for};
use aq_kernels::convert::scale_file_dtype;
use aq_kernels::pack::packed_len;
use serde_json::{Map, Value};

/// The SDNQ layout.
#[derive(Debug, Clone, Copy)]
pub struct Sdnq;

impl Layout for Sdnq {
    fn name(&self) -> &'static str {
        "sdnq"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        // The packer views the whole tensor as bytes of 8/bits codes and pads nothing.
        let (weights, per_byte) = (layer.geometry.numel(), layer.scheme.bits.codes_per_byte());
        if !weights.is_multiple_of(per_byte) {
            return Err(format!("its {weights} weights are not a multiple of {per_byte}"));
        }
        Ok(layer.with_scheme(Scheme { blocks: None, ..layer.scheme.with_float_zero() }))
    }

    fn rotates(&self, layer: &LayerSpec, block: usize) -> bool {
        rotation_for(layer.geometry.channels, HADAMARD_BLOCK) == Some(block)
    }

    fn one_group_size(&self) -> bool {
        true
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let (g, scheme, module) = (layer.geometry, layer.scheme, layer.written_module());
        let kernel = layer.shape.get(2..).unwrap_or_default();
        let bits = u64::from(scheme.bits.bits());
        let mut tensors = vec![OutTensor {
            name: layer.written.clone(),
            dtype: code_dtype(scheme.bits, scheme.symmetric()),
            shape: match scheme.bits {
                BitWidth::Eight => grouped_shape(g, g.group, kernel),
                _ => vec![packed_len(g.numel(), scheme.bits)],
            },
            len: packed_len(g.numel(), scheme.bits) as u64,
            row_bits: g.row() as u64 * bits,
            fixed: vec![],
            placing: Placing::Rows,
        }];
        let dtype = scale_file_dtype(scheme.scale_dtype);
        let names: &[&str] = if scheme.symmetric() { &["scale"] } else { &["scale", "zero_point"] };
        for name in names {
            let count = (g.out * g.scales_per_row()) as u64;
            tensors.push(OutTensor {
                name: format!("{module}.{name}"),
                dtype,
                shape: grouped_shape(g, 1, kernel),
                len: count * dtype.size() as u64,
                row_bits: (g.scales_per_row() * dtype.size() * 8) as u64,
                fixed: vec![],
                placing: Placing::Rows,
            });
        }
        tensors
    }

    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        let at = out[0].len();
        grouped::write(layer, rows, out);
        if signed_bytes(layer) {
            out[0][at..].iter_mut().for_each(|b| *b ^= 0x80);
        }
    }

    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool {
        grouped::read(layer, bytes, rows, into);
        if signed_bytes(layer) {
            into.codes.iter_mut().for_each(|b| *b ^= 0x80);
        }
        true
    }

    fn quantization_config(&self, described: Described<'_>) -> Option<Map<String, Value>> {
        Some(sdnq_config::write(described))
    }
}

/// `[out, G, size, kernel..]`, without the group axis where there is one group.
fn grouped_shape(g: Geometry, size: usize, kernel: &[usize]) -> Vec<usize> {
    let mut shape = vec![g.out];
    if g.groups() > 1 {
        shape.push(g.groups());
    }
    shape.push(size);
    shape.extend_from_slice(kernel);
    shape
}

/// Bytes on disk are signed only for unpacked symmetric codes; packed ones are stored with their offset.
fn signed_bytes(layer: &LayerSpec) -> bool {
    layer.scheme.symmetric() && layer.scheme.bits == BitWidth::Eight
}

const fn code_dtype(bits: BitWidth, symmetric: bool) -> Dtype {
    if symmetric && matches!(bits, BitWidth::Eight) { Dtype::Carried("I8", 1) } else { Dtype::Carried("U8", 1) }
}
