//! The fault build's own functions: tests set a plan, ask how often each site was passed, and record what is changed on disk. Never in a
//! published build.

use aq_io::{disk, fault};
use napi_derive::napi;

/// Replaces the plan: `action@site:hits[,…]`; an empty text means no faults. Answers with what is wrong in it, if anything.
#[napi]
pub fn set_fault_plan(text: String) -> Option<String> {
    fault::set_plan(&text).err()
}

/// Passes of each site since the plan was set, as JSON.
#[napi]
pub fn fault_counts() -> String {
    serde_json::to_string(&fault::counts()).unwrap_or_default()
}

/// Starts to record what jobs change on disk.
#[napi]
pub fn record_changes() {
    disk::record_changes();
}

/// What was recorded, in order, as JSON; the recording ends.
#[napi]
pub fn recorded_changes() -> String {
    disk::recorded_changes()
}
