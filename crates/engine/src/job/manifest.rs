//! `arrow-quant.json`: what was done, for programs. Free of time stamps, paths and thread counts: equal jobs give equal bytes.

use super::files::json_bytes;
use super::tables;
use crate::error::QuantError;
use aq_core::report::{QuantizeReport, Warning, megabytes};
use aq_io::output::Staging;
use aq_io::source::Source;
use aq_io::{Disk, MetadataProblem};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Its name, in the output folder.
pub const FILE: &str = "arrow-quant.json";
/// Warnings about how a job went, not about what it wrote.
const ABOUT_THE_RUN: [&str; 5] =
    ["AQ_WARN_STALE_STAGING", "AQ_WARN_RESUMED", "AQ_WARN_RETRIED", "AQ_WARN_DEGRADED_MEMORY", "AQ_WARN_DEGRADED_DEVICE"];
/// Options about how a job is run: they do not change what it writes. Calibration is a path, of which none is told here; what it did to
/// a layer stands with the layer.
pub const HOW_IT_RUNS: [&str; 11] = [
    "calibration",
    "numThreads",
    "timeoutMs",
    "stallTimeoutMs",
    "maxMemoryLimitMb",
    "ioRetries",
    "device",
    "deviceFallback",
    "overwrite",
    "partition",
    "resume",
];
const FORMAT: &str = "arrow-quant";
const FORMAT_VERSION: u64 = 1;

/// A written weight file.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    /// Path in the output, with `/`.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

/// Writes the manifest.
pub fn write(staging: &Staging, report: &QuantizeReport, files: &[WrittenFile]) -> Result<(), QuantError> {
    let config = what_is_written(&report.resolved_config);
    let warnings: Vec<&Warning> = report.warnings.iter().filter(|w| !ABOUT_THE_RUN.contains(&w.code)).collect();
    let files: Vec<Value> = files.iter().map(listed).collect();
    let value = json!({
        "format": FORMAT,
        "formatVersion": FORMAT_VERSION,
        "version": crate::VERSION,
        "layout": report.layout,
        "modality": report.modality,
        "modalitySource": report.modality_source,
        "bitWidth": report.bit_width,
        "groupSize": report.group_size,
        "compressionRatio": report.compression_ratio,
        "cosineSimilarity": report.cosine_similarity,
        "sqnrDb": report.sqnr_db,
        "bitsPerWeight": report.bits_per_weight,
        "modelSizeMb": report.model_size_mb,
        "originalSizeMb": report.original_size_mb,
        "config": config,
        "components": report.components,
        "files": files,
        "layers": report.layers,
        "skipped": report.skipped,
        "target": report.target,
        "warnings": warnings,
    });
    staging.write(Path::new(FILE), &json_bytes(&value))?;
    Ok(())
}

/// Writes the manifest of an output that holds the codes of an earlier one: what that says of its layers holds here, too.
pub fn exported(staging: &Staging, earlier: Option<&Map<String, Value>>, layout: &str, files: &[WrittenFile]) -> Result<(), QuantError> {
    let mut map = earlier.cloned().unwrap_or_else(|| {
        let new = json!({"format": FORMAT, "formatVersion": FORMAT_VERSION, "version": crate::VERSION});
        new.as_object().cloned().unwrap_or_default()
    });
    map.insert("layout".into(), json!(layout));
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    map.insert("modelSizeMb".into(), json!(megabytes(bytes)));
    let beside = beside(earlier);
    map.insert("files".into(), files.iter().chain(&beside).map(listed).collect());
    staging.write(Path::new(FILE), &json_bytes(&Value::Object(map)))?;
    Ok(())
}

fn listed(file: &WrittenFile) -> Value {
    json!({"name": file.name, "bytes": file.bytes, "blake3": file.blake3})
}

/// Files of an earlier output that go with its codes.
pub fn beside(earlier: Option<&Map<String, Value>>) -> Vec<WrittenFile> {
    let files = earlier.and_then(|m| m.get("files")).and_then(Value::as_array).into_iter().flatten();
    let of = |f: &Value| {
        Some(WrittenFile { name: f["name"].as_str()?.into(), bytes: f["bytes"].as_u64()?, blake3: f["blake3"].as_str()?.into() })
    };
    files.filter(|f| f["name"] == tables::FILE).filter_map(of).collect()
}

/// A configuration without what does not change the output.
pub fn what_is_written(config: &Value) -> Value {
    let mut config = config.clone();
    if let Value::Object(map) = &mut config {
        HOW_IT_RUNS.iter().for_each(|option| drop(map.remove(*option)));
    }
    config
}

/// The manifest in a model folder, if there is one; of a newer format it is an error.
pub fn read(disk: &Disk, source: &Source) -> Result<Option<Map<String, Value>>, QuantError> {
    let path = source.root.join(FILE);
    if !disk.is_file(&path)? {
        return Ok(None);
    }
    let map = aq_io::json::read_object(disk, &path)?;
    match map.get("formatVersion").and_then(Value::as_u64) {
        Some(found) if found > FORMAT_VERSION => {
            let problem = MetadataProblem::Version { found, newest: FORMAT_VERSION };
            Err(QuantError::Metadata { path, field: Some("formatVersion".into()), problem })
        }
        _ => Ok(Some(map)),
    }
}
