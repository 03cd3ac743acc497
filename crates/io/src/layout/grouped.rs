//! Grouped integers as the bytes that several layouts share: codes packed without gaps, then scales, then zeros where the scheme has them.

use super::{EncodedRows, LayerSpec};
use aq_kernels::Zeros;
use aq_kernels::convert::{from_f32, scale_file_dtype, to_f32};
use aq_kernels::pack::{pack, packed_len, unpack};

/// Appends some rows.
pub fn write(layer: &LayerSpec, rows: &EncodedRows, out: &mut [Vec<u8>]) {
    let (bits, dtype) = (layer.scheme.bits, scale_file_dtype(layer.scheme.scale_dtype));
    let at = out[0].len();
    u8::set_len(&mut out[0], at + packed_len(rows.codes.len(), bits));
    pack(&rows.codes, bits, &mut out[0][at..]);
    from_f32(&rows.scales, dtype, &mut out[1]);
    if let Some(zeros) = out.get_mut(2) {
        from_f32(&rows.zeros, dtype, zeros);
    }
}

/// Reads them back.
pub fn read(layer: &LayerSpec, bytes: &[&[u8]], rows: usize, into: &mut EncodedRows) {
    let dtype = scale_file_dtype(layer.scheme.scale_dtype);
    into.resize(layer, rows);
    unpack(bytes[0], layer.scheme.bits, &mut into.codes);
    to_f32(bytes[1], dtype, &mut into.scales);
    match bytes.get(2) {
        Some(bytes) => to_f32(bytes, dtype, &mut into.zeros),
        None => into.zeros.fill(0.0),
    }
}
