//! The Parquet archive: codes, scales and zeros as they are, under whatever scheme, with what is known of each layer beside them.

use super::{Described, EncodedRows, LayerSpec, Layout, Origin, OutTensor, Pages, Placing, grouped};
use crate::header::TensorInfo;
use crate::output::Container;
use crate::parquet::{EXTENSION, MOST_DATA, lead};
use crate::source::Component;
use aq_core::{Dtype, Scheme};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Rows of codes begin on a byte at multiples of this, in every width.
const ROW_STEP: u64 = 4;
const BYTES: Dtype = Dtype::Carried("U8", 1);

/// The Parquet layout.
#[derive(Debug, Clone, Copy)]
pub struct Parquet {
    /// Bytes of codes, or of floats, that one value holds at most.
    pub most: u64,
}

/// As everybody has it.
pub const PARQUET: Parquet = Parquet { most: MOST_DATA };

/// Names of the tensors of a layer, as this program tells them apart; in the file they are columns.
pub fn scales_of(tensor: &str) -> String {
    format!("{tensor}#scales")
}

fn zeros_of(tensor: &str) -> String {
    format!("{tensor}#zero_points")
}

impl Parquet {
    /// Rows in one value, where a row takes so many bits.
    fn rows_each(self, row_bits: u64) -> u64 {
        (self.most * 8 / row_bits.max(1) / ROW_STEP * ROW_STEP).max(ROW_STEP)
    }

    /// A tensor of bytes in values of as many rows.
    fn paged(name: String, rows: u64, row_bits: u64, each: u64, optional: bool) -> OutTensor {
        let body = (rows * row_bits).div_ceil(8);
        let pages = Pages::cut(body, each.saturating_mul(row_bits) / 8, |len| lead(len, optional));
        let len = body + pages.overhead();
        let placing = Placing::Pages(Arc::new(pages));
        OutTensor { name, dtype: BYTES, shape: vec![body as usize], len, row_bits, fixed: vec![], placing }
    }
}

impl Layout for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn fit(&self, layer: &LayerSpec) -> Result<LayerSpec, String> {
        let bits = layer.geometry.row() as u64 * u64::from(layer.scheme.bits.bits());
        // A value has a length of 32 bits; with room for what stands before it.
        if ROW_STEP * bits / 8 > u64::from(u32::MAX / 4) {
            return Err(format!("{ROW_STEP} rows of {} weights are more than one value holds", layer.geometry.row()));
        }
        Ok(layer.with_scheme(Scheme { blocks: None, ..layer.scheme.with_float_zero() }))
    }

    fn rotates(&self, _layer: &LayerSpec, _block: usize) -> bool {
        true
    }

    fn carry(&self, tensor: &TensorInfo) -> Result<OutTensor, String> {
        let info = super::carried_floats(tensor);
        let rows = tensor.shape.first().copied().unwrap_or(1).max(1) as u64;
        // By rows where these are whole bytes, which those of all element types are.
        let row_bits = info.len * 8 / rows;
        if ROW_STEP * row_bits / 8 > u64::from(u32::MAX / 4) {
            return Err("a row of it is more than one value holds".into());
        }
        let paged = Self::paged(info.name, rows, row_bits, self.rows_each(row_bits), false);
        Ok(OutTensor { dtype: info.dtype, shape: info.shape, row_bits: 0, ..paged })
    }

    fn tells(&self) -> bool {
        true
    }

    fn merged(&self, component: &Component) -> Option<String> {
        let name = if component.name.is_empty() { "model" } else { &component.name };
        Some(format!("{name}.{EXTENSION}"))
    }

    fn container(&self, _origin: Origin<'_>) -> Container {
        Container::Parquet
    }

    fn tensors(&self, layer: &LayerSpec) -> Vec<OutTensor> {
        let (g, scheme) = (layer.geometry, layer.scheme);
        let (rows, name) = (g.out as u64, &layer.written);
        let codes = g.row() as u64 * u64::from(scheme.bits.bits());
        let scales = (g.scales_per_row() * scheme.scale_dtype.size() * 8) as u64;
        let each = self.rows_each(codes);
        let mut tensors = vec![Self::paged(name.clone(), rows, codes, each, false), Self::paged(scales_of(name), rows, scales, each, true)];
        if !scheme.symmetric() {
            tensors.push(Self::paged(zeros_of(name), rows, scales, each, true));
        }
        tensors
    }

    fn write_rows(&self, layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
        grouped::write(layer, rows, out);
    }

    fn read_codes(&self, layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) -> bool {
        grouped::read(layer, bytes, rows, into);
        true
    }

    fn quantization_config(&self, _described: Described<'_>) -> Option<Map<String, Value>> {
        None
    }
}
