//! Floats of eight bits with a scale beside them, as ComfyUI, diffusers and transformers store them: the scale is read with the header, so that
//! whoever reads the tensor gets its values.

use crate::disk::InputFile;
use crate::error::IoError;
use crate::header::{Header, TensorInfo};
use aq_core::Dtype;
use aq_kernels::convert::to_f32;
use std::collections::HashSet;
use std::sync::Arc;

/// Names of a scale after the module's.
const SCALES: [&str; 2] = ["weight_scale", "scale_weight"];
/// What stands beside it for runtimes that quantize activations, and nobody needs once weights have their values.
const ACTIVATIONS: [&str; 2] = ["input_scale", "scale_input"];
/// The mark of a whole file in ComfyUI.
const MARK: &str = "scaled_fp8";
/// Scales of blocks, as `DeepSeek` has them.
const BLOCKS: &str = "weight_scale_inv";

/// Gives every tensor of eight bits its scale, and notes the tensors that said so.
pub fn attach(file: &InputFile, header: &mut Header) -> Result<(), IoError> {
    if !header.tensors.iter().any(|t| t.dtype.is_f8()) {
        return Ok(());
    }
    let mut spent = HashSet::new();
    let mut found = Vec::new();
    for (i, t) in header.tensors.iter().enumerate().filter(|(_, t)| t.dtype.is_f8()) {
        if t.name == MARK || t.name.ends_with(".scaled_fp8") {
            spent.insert(t.name.clone());
            continue;
        }
        let Some(module) = t.name.strip_suffix(".weight") else { continue };
        let beside = |name: &str| header.tensor(&format!("{module}.{name}"));
        if beside(BLOCKS).is_some() {
            let detected = "a model of eight-bit floats with scales of blocks, which this version does not decode".into();
            return Err(IoError::Unsupported { path: file.path().into(), detected });
        }
        if let Some(scale) = SCALES.into_iter().find_map(beside) {
            found.push((i, values(file, t, scale)?));
            spent.insert(scale.name.clone());
        }
        spent.extend(ACTIVATIONS.into_iter().filter_map(beside).map(|t| t.name.clone()));
    }
    for (i, scale) in found {
        header.tensors[i].scale = Some(Arc::new(scale));
    }
    header.spent = spent;
    Ok(())
}

/// One number, or one for each row.
fn values(file: &InputFile, of: &TensorInfo, scale: &TensorInfo) -> Result<Vec<f32>, IoError> {
    let rows = of.shape.first().copied().unwrap_or(1);
    let whole = matches!(scale.dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16);
    if !whole || !(scale.numel() == 1 || scale.numel() == rows) {
        let detected = format!("a model whose {} is neither one number nor one for each row", scale.name);
        return Err(IoError::Unsupported { path: file.path().into(), detected });
    }
    let (mut bytes, mut values) = (vec![0; scale.len as usize], vec![0.0; scale.numel()]);
    file.read(&mut bytes, scale.offset)?;
    to_f32(&bytes, scale.dtype, &mut values);
    Ok(values)
}
