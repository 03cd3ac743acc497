//! Writes the facade's copies of the tables that live in this crate: `npm run generate`.
//!
//! Both files are committed; CI runs this and fails on a difference.

use aq_core::error::ErrorCode;
use aq_core::{BitWidth, Profile};
use serde_json::{Map, Value, json};
use std::path::Path;

fn constant(name: &str, value: &Value) -> String {
    format!("export const {name} = {value:#} as const;\n")
}

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src-ts/generated");

    let rows: Map<String, Value> = ErrorCode::ALL.iter().map(|code| (code.as_str().to_owned(), json!(code.row()))).collect();
    let text = format!(
        "// Generated from the error catalogue of the core crate; do not edit.\n{}",
        constant("ERROR_CATALOG", &Value::Object(rows))
    );
    std::fs::write(folder.join("error-catalog.ts"), text)?;

    let profiles: Map<String, Value> = Profile::ALL.iter().map(|p| (p.as_str().to_owned(), json!(p.defaults()))).collect();
    let gates: Map<String, Value> = BitWidth::ALL.iter().map(|b| (b.to_string(), json!(b.default_min_accuracy()))).collect();
    let text = format!(
        "// Generated from the option defaults of the core crate; do not edit.\n{}\n/** By the job's bitWidth. */\n{}",
        constant("PROFILES", &Value::Object(profiles)),
        constant("MIN_ACCURACY", &Value::Object(gates))
    );
    std::fs::write(folder.join("profiles.ts"), text)
}
