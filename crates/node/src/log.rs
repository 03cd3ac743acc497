//! The level of the log.

use aq_wire::{log, succeeded};
use napi_derive::napi;
use serde_json::json;

/// Sets the level of this process; anything but a level is ignored by the facade before it comes here.
#[napi]
pub fn set_log_level(level: String) -> String {
    log::set_level(&level);
    succeeded(&json!({"level": level}), &[])
}
