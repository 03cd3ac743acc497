//! Open models, by their number.

use aq_engine::QuantError;
use aq_engine::guard::guard;
use aq_wire::{Call, Ended, failed, models, succeeded};
use napi::bindgen_prelude::{AsyncTask, Float32Array};
use napi::{Env, Task};
use napi_derive::napi;
use serde_json::json;

/// Gives a model back; rows that are being read are read to their end.
#[napi]
pub fn close_model(id: u32) {
    models::close(id);
}

/// Rows of a layer, or the error in the outcome.
#[napi(object)]
pub struct NativeRows {
    /// JSON: `{ok: true, value: {}}` or `{ok: false, error}`.
    pub outcome: String,
    /// The values.
    pub values: Option<Float32Array>,
}

/// The work behind the promise.
pub struct RowsTask {
    id: u32,
    name: String,
    first: u32,
    rows: Option<u32>,
    path: String,
}

#[napi]
impl Task for RowsTask {
    type Output = Result<Vec<f32>, QuantError>;
    type JsValue = NativeRows;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let model = models::get(self.id);
        Ok(guard(|| match model {
            Some(model) => model.rows(&self.name, self.first as usize, self.rows.map(|r| r as usize)),
            None => Err(QuantError::Internal { message: "the model is closed".into(), location: None, panic: false }),
        }))
    }

    fn resolve(&mut self, _env: Env, output: Self::Output) -> napi::Result<NativeRows> {
        let call = Call { operation: "dequantize", model_path: Some(self.path.clone()), ..Call::default() };
        Ok(match output {
            Ok(values) => NativeRows { outcome: succeeded(&json!({}), &[]), values: Some(values.into()) },
            Err(error) => NativeRows { outcome: failed(error, &call, Ended::default()), values: None },
        })
    }
}

/// Decodes rows of a layer on libuv's pool.
#[napi]
pub fn read_rows(id: u32, name: String, first: u32, rows: Option<u32>, path: String) -> AsyncTask<RowsTask> {
    AsyncTask::new(RowsTask { id, name, first, rows, path })
}
