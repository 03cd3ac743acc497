//! `plain`: dequantized to a float type, under the source's own names. Any loader opens it; it saves no bytes.

use super::{Described, EncodedRows, LayerSpec, Layout, OutTensor, Placing};
use aq_kernels::convert::{from_f32, to_f32};
use serde_json::{Map, Value};

/// The plain layout.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Layout for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        Ok(layer.clone())
    }

    fn holds_codes(&self) -> bool {
        false
    }

    fn rotates(&self, _layer: &LayerSpec, _block: usize) -> bool {
        true
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let size = layer.dtype.size() as u64;
        vec![OutTensor {
            name: layer.written.clone(),
            dtype: layer.dtype,
            shape: layer.model_shape().into(),
            len: layer.geometry.numel() as u64 * size,
            row_bits: layer.geometry.row() as u64 * size * 8,
            fixed: vec![],
            placing: Placing::Rows,
        }]
    }

    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        let mut values = vec![0.0; rows.rows * layer.geometry.row()];
        rows.decode(layer, &mut values);
        from_f32(&values, layer.dtype, &mut out[0]);
    }

    fn read_codes(&self, _layer: &LayerSpec, _bytes: &[&[u8]], _rows: usize, _into: &mut EncodedRows) -> bool {
        false
    }

    fn read_rows(&self, layer: &LayerSpec, bytes: &[&[u8]], _rows: usize, out: &mut [f32]) {
        to_f32(bytes[0], layer.dtype, out);
    }

    fn quantization_config(&self, _described: Described<'_>) -> Option<Map<String, Value>> {
        None
    }
}
