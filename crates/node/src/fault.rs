//! The fault build's own functions: tests set a plan, and ask how often each site was passed. Never in a published build.

use aq_io::fault;
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
