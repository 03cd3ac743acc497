//! What this addon is and where it runs.

use aq_engine::job::thread_count;
use napi_derive::napi;
use serde_json::json;

/// Version of the addon; the facade checks that it is its own.
#[napi]
pub fn version() -> String {
    aq_engine::VERSION.into()
}

/// Version, kernel level and default number of threads, as an outcome in JSON.
#[napi]
pub fn system_info() -> String {
    let value = json!({"version": aq_engine::VERSION, "simd": aq_kernels::LEVEL, "threads": thread_count(0)});
    crate::convert_error::succeeded(&value)
}
