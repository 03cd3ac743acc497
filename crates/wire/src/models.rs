//! Open models, by number: JavaScript holds the number, the files stay here until it is given back or its thread ends.

use aq_engine::open::OpenModel;
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
pub(crate) fn keep(model: OpenModel) -> Value {
    let (id, layers) = (NEXT.fetch_add(1, Ordering::Relaxed), model.layers());
    models().insert(id, Arc::new(model));
    json!({"id": id, "layers": layers})
}

/// The model of a number, if it is open.
pub fn get(id: u32) -> Option<Arc<OpenModel>> {
    models().get(&id).cloned()
}

/// Gives a model back; rows that are being read are read to their end.
pub fn close(id: u32) {
    models().remove(&id);
}
