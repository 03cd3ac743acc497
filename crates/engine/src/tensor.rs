//! One tensor in memory: the same kernels, without files.

use crate::error::{QuantError, ShapeSubject};
use aq_core::report::Figures;
use aq_core::{BitWidth, Dtype, GivenConfig, Method, Mode, ScaleDtype};
use aq_io::layout::LayerSpec;
use aq_kernels::convert::first_non_finite;
use aq_kernels::pack::{pack, packed_len};
use aq_kernels::{RowCodec, RowFlags, RowSums, Scratch, Tuning};
use serde::Serialize;
use std::path::PathBuf;

/// Figures of a quantized tensor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorReport {
    name: String,
    shape: Vec<usize>,
    parameters: usize,
    bit_width: BitWidth,
    group_size: usize,
    stored_group_size: usize,
    groups: usize,
    symmetric: bool,
    method: Method,
    scale_dtype: ScaleDtype,
    bits_per_weight: f64,
    #[serde(flatten)]
    figures: Figures,
}

/// A quantized tensor.
#[derive(Debug, Clone)]
pub struct QuantizedTensor {
    /// Its figures.
    pub report: TensorReport,
    /// Packed codes, LSB first, C order.
    pub codes: Vec<u8>,
    /// Scales, (out, group, tap).
    pub scales: Vec<f32>,
    /// Zeros, the same; empty in symmetric schemes.
    pub zeros: Vec<f32>,
}

/// Quantizes one tensor. `name` stands in errors only.
pub fn quantize_tensor(
    name: &str,
    data: &[f32],
    shape: &[usize],
    config: &GivenConfig,
    tuning: Tuning,
) -> Result<QuantizedTensor, QuantError> {
    let config = config.resolve(Mode::Diffusion).map_err(QuantError::InvalidConfig)?;
    let mismatch = || QuantError::ShapeMismatch {
        subject: ShapeSubject::Buffer,
        name: name.into(),
        expected: shape.iter().map(|&d| d as u64).collect(),
        actual: vec![data.len() as u64],
    };
    let base = crate::plan::base_scheme(&config);
    // A vector is one row.
    let rows = if shape.len() == 1 { vec![1, shape[0]] } else { shape.to_vec() };
    let spec = LayerSpec::new(name, &rows, Dtype::F32, base).filter(|s| s.geometry.numel() == data.len()).ok_or_else(mismatch)?;
    if first_non_finite(data).is_some() {
        return Err(non_finite(name, data, shape));
    }
    let mut encoded = encode(&spec, data, tuning);
    let mut spec = spec;
    if encoded.flags.needs_f32 && spec.scheme.scale_dtype == ScaleDtype::F16 {
        spec = spec.with_scheme(spec.scheme.with_scale_dtype(ScaleDtype::F32));
        encoded = encode(&spec, data, tuning);
    }
    if let Some(group) = encoded.flags.overflow {
        let failure = crate::error::WorkFailure::ScaleOverflow { group, dtype: spec.scheme.scale_dtype.name() };
        return Err(QuantError::QuantizationFailed { path: PathBuf::from(name), layer: Some(name.into()), failure });
    }
    Ok(finish(name, shape, &spec, encoded))
}

struct Encoded {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    sums: RowSums,
    worst: f64,
    flags: RowFlags,
}

fn encode(spec: &LayerSpec, data: &[f32], tuning: Tuning) -> Encoded {
    let g = spec.geometry;
    let codec = RowCodec::new(g, spec.scheme, tuning);
    let n = g.scales_per_row();
    let mut e = Encoded {
        codes: vec![0; data.len()],
        scales: vec![0.0; g.out * n],
        zeros: vec![0.0; g.out * n],
        sums: RowSums::default(),
        worst: 1.0,
        flags: RowFlags::default(),
    };
    e.flags = codec.encode(data, &mut Scratch::default(), &mut e.codes, &mut e.scales, &mut e.zeros);
    let mut decoded = vec![0.0; g.row()];
    for i in 0..g.out {
        let (r, s) = (i * g.row()..(i + 1) * g.row(), i * n..(i + 1) * n);
        codec.decode(&e.codes[r.clone()], &e.scales[s.clone()], &e.zeros[s], &mut decoded);
        // Next to the largest f32 a finite scale, rounded up to its stored type, can lead past it.
        if let (None, Some(at)) = (e.flags.overflow, first_non_finite(&decoded)) {
            e.flags.overflow = Some(at / g.taps / g.group * g.taps + at % g.taps);
        }
        let sums = RowSums::of(&data[r], &decoded);
        e.sums.add(&sums);
        e.worst = e.worst.min(sums.cosine());
    }
    e
}

fn finish(name: &str, shape: &[usize], spec: &LayerSpec, e: Encoded) -> QuantizedTensor {
    let (g, s) = (spec.geometry, spec.scheme);
    let mut codes = vec![0; packed_len(g.numel(), s.bits)];
    pack(&e.codes, s.bits, &mut codes);
    let zeros = if s.symmetric() { vec![] } else { e.zeros };
    let bytes = codes.len() + (e.scales.len() + zeros.len()) * s.scale_dtype.size();
    let report = TensorReport {
        name: name.into(),
        shape: shape.to_vec(),
        parameters: g.numel(),
        bit_width: s.bits,
        group_size: s.group_size,
        stored_group_size: g.group,
        groups: g.groups(),
        symmetric: s.symmetric(),
        method: s.method,
        scale_dtype: s.scale_dtype,
        bits_per_weight: bytes as f64 * 8.0 / g.numel() as f64,
        figures: crate::job::figures(&e.sums, e.worst),
    };
    QuantizedTensor { report, codes, scales: e.scales, zeros }
}

fn non_finite(name: &str, data: &[f32], shape: &[usize]) -> QuantError {
    let first = first_non_finite(data).unwrap_or(0);
    let count = data.iter().filter(|v| !v.is_finite()).count() as u64;
    let index = crate::job::unravel(first as u64, shape);
    QuantError::NonFiniteWeights { path: PathBuf::from(name), tensor: name.into(), index, value: data[first], count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::WorkFailure;
    use serde_json::json;

    #[test]
    fn values_past_the_largest_float_are_refused() {
        // Two groups; in the second bf16 rounds the scale up.
        let w: Vec<f32> = (0..128).map(|i| if i < 64 { i as f32 } else { f32::MAX / 63.0 * (i - 64) as f32 }).collect();
        for bits in [2, 4] {
            let config = GivenConfig::from_value(json!({"bitWidth": bits, "groupSize": 64, "method": "rtn"})).unwrap();
            let Err(error) = quantize_tensor("w", &w, &[1, 128], &config, Tuning::default()) else { panic!("{bits} bits were taken") };
            let QuantError::QuantizationFailed { failure, .. } = &error else { panic!("{error:?}") };
            assert_eq!(failure, &WorkFailure::ScaleOverflow { group: 1, dtype: "BF16" });
        }
    }
}
