//! What this addon is and where it runs.

use aq_engine::job::thread_count;
use napi_derive::napi;
use serde_json::json;

/// Version of the addon; the facade checks that it is its own.
#[napi]
pub fn version() -> String {
    aq_engine::VERSION.into()
}

/// Version, kernel level, default number of threads, memory limit of the container, devices, as an outcome in JSON.
#[napi]
pub fn system_info() -> String {
    let devices = aq_engine::device::devices();
    let memory_limit = aq_io::os::memory_limit();
    let value = json!({
        "version": aq_engine::VERSION,
        "simd": aq_kernels::Level::current().name(),
        "threads": thread_count(0),
        "memoryLimit": memory_limit,
        "devices": devices,
    });
    aq_wire::succeeded(&value, &[])
}
