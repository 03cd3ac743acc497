//! Open models, by number: JavaScript holds the number, the files stay here until it is given back or its thread ends.

use crate::convert_error::{Ended, failed, succeeded};
use crate::request::Call;
use aq_engine::QuantError;
use aq_engine::guard::guard;
use aq_engine::open::OpenModel;
use napi::bindgen_prelude::{AsyncTask, Float32Array};
use napi::{Env, Task};
use napi_derive::napi;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

static NEXT: AtomicU32 = AtomicU32::new(1);

fn models() -> MutexGuard<'static, HashMap<u32, Arc<OpenModel>>> {
    static MODELS: OnceLock<Mutex<HashMap<u32, Arc<OpenModel>>>> = OnceLock::new();
    MODELS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a model and tells its number and its layers.
pub fn keep(model: OpenModel) -> Value {
    let (id, layers) = (NEXT.fetch_add(1, Ordering::Relaxed), model.layers());
    models().insert(id, Arc::new(model));
    json!({"id": id, "layers": layers})
}

/// Gives a model back; rows that are being read are read to their end.
#[napi]
pub fn close_model(id: u32) {
    models().remove(&id);
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
        let model = models().get(&self.id).cloned();
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
