//! One tensor in memory, on libuv's pool: short work, and the data is copied at once, since JavaScript may change it meanwhile.

use aq_core::GivenConfig;
use aq_engine::QuantError;
use aq_engine::guard::guard;
use aq_engine::tensor::{QuantizedTensor, quantize_tensor as quantize};
use aq_wire::Call;
use aq_wire::{Ended, failed, succeeded};
use napi::bindgen_prelude::{AsyncTask, Float32Array, Float32ArraySlice, Uint8Array};
use napi::{Env, Task};
use napi_derive::napi;

/// A quantized tensor, or the error in its outcome.
#[napi(object)]
pub struct NativeTensor {
    /// JSON: `{ok: true, value: figures}` or `{ok: false, error}`.
    pub outcome: String,
    /// Packed codes.
    pub codes: Option<Uint8Array>,
    /// Scales.
    pub scales: Option<Float32Array>,
    /// Zeros, unless symmetric.
    pub zeros: Option<Float32Array>,
}

/// The work behind the promise.
pub struct TensorTask {
    name: String,
    data: Vec<f32>,
    shape: Vec<u32>,
    config: String,
}

impl TensorTask {
    fn work(&self) -> Result<QuantizedTensor, QuantError> {
        let value = serde_json::from_str(&self.config).map_err(|e| QuantError::Internal {
            message: format!("the facade's config is malformed: {e}"),
            location: None,
            panic: false,
        })?;
        let config = GivenConfig::from_value(value).map_err(QuantError::InvalidConfig)?;
        let shape: Vec<usize> = self.shape.iter().map(|&d| d as usize).collect();
        quantize(&self.name, &self.data, &shape, &config, aq_kernels::Tuning::default())
    }
}

#[napi]
impl Task for TensorTask {
    type Output = Result<QuantizedTensor, QuantError>;
    type JsValue = NativeTensor;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(guard(|| self.work()))
    }

    fn resolve(&mut self, _env: Env, output: Self::Output) -> napi::Result<NativeTensor> {
        let call = Call { operation: "quantize", ..Call::default() };
        let none = |outcome| NativeTensor { outcome, codes: None, scales: None, zeros: None };
        let tensor = match output {
            Ok(tensor) => tensor,
            Err(error) => return Ok(none(failed(error, &call, Ended::default()))),
        };
        let value = serde_json::to_value(&tensor.report).unwrap_or_default();
        let zeros = (!tensor.zeros.is_empty()).then(|| tensor.zeros.into());
        Ok(NativeTensor { outcome: succeeded(&value, &[]), codes: Some(tensor.codes.into()), scales: Some(tensor.scales.into()), zeros })
    }
}

/// Quantizes one tensor in memory.
#[napi]
pub fn quantize_tensor(name: String, data: Float32ArraySlice<'_>, shape: Vec<u32>, config: String) -> AsyncTask<TensorTask> {
    AsyncTask::new(TensorTask { name, data: data.to_vec(), shape, config })
}
