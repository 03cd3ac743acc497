//! From the engine's error to the data that crosses to JavaScript. One exhaustive match: a new variant stops the build.

use crate::request::Call;
use aq_core::Numbered;
use aq_core::StopSource;
use aq_core::error::ErrorContext;
use aq_core::report::PartialReport;
use aq_engine::error::{Failure, MemoryCause, Pool, ShapeSubject, Staged, WorkFailure};
use aq_engine::{Control, QuantError};
use aq_io::errno::name as errno_name;
use aq_io::error::{MetadataProblem, Missing};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::SystemTime;

const MOST_CAUSES: usize = 8;

/// Where a job stood when it ended, and what it had done.
#[derive(Default)]
pub struct Ended {
    phase: aq_core::Phase,
    elapsed_ms: u64,
    layer: Option<String>,
    partial: Option<PartialReport>,
    notices: Vec<Numbered>,
}

impl Ended {
    /// Of a job.
    pub fn of(control: &Control) -> Self {
        let (ledger, phase, elapsed_ms) = (&control.ledger, control.phase(), control.elapsed_ms());
        Self { phase, elapsed_ms, layer: ledger.at_layer(), partial: ledger.partial(), notices: ledger.notices() }
    }
}

/// A failed outcome as JSON text.
pub fn failed(error: QuantError, call: &Call, ended: Ended) -> String {
    let failure = Failure { context: context(&error, call, &ended), error, partial: ended.partial };
    log(&failure);
    json!({"ok": false, "error": convert_error(&failure), "notices": ended.notices}).to_string()
}

/// A successful outcome as JSON text.
pub fn succeeded(value: &Value, notices: &[Numbered]) -> String {
    json!({"ok": true, "value": value, "notices": notices}).to_string()
}

fn log(failure: &Failure) {
    let (error, context) = (&failure.error, &failure.context);
    let row = error.code().row();
    let kind = serde_json::to_value(error.kind()).ok();
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    let errno = if let QuantError::Io { source, .. } = error { Some(errno_name(source)) } else { None };
    let (code, phase) = (error.code().as_str(), context.phase.as_str());
    crate::log::failure(row.severity, code, kind, phase, errno.as_deref(), context.elapsed_ms, &error.texts().sentence);
}

/// The error as the facade wants it.
pub fn convert_error(failure: &Failure) -> Value {
    let error = &failure.error;
    let code = error.code();
    let row = code.row();
    let texts = error.texts();
    let kind = error.kind();
    json!({
        "v": 1,
        "name": row.class,
        "code": code.as_str(),
        "title": row.title,
        "message": texts.message(),
        "hint": texts.suggestions.first().cloned().unwrap_or_else(|| row.hint.to_owned()),
        "suggestions": texts.suggestions,
        "category": row.category,
        "severity": row.severity,
        "kind": kind,
        "retryable": kind == aq_core::error::Kind::Transient,
        "retryAfterMs": error.retry_after_ms(),
        "details": details(error),
        "context": failure.context,
        "causes": causes(error),
        "report": failure.partial,
    })
}

#[expect(clippy::too_many_lines, reason = "one exhaustive match, so that a new variant stops the build")]
fn details(error: &QuantError) -> Value {
    match error {
        QuantError::InvalidConfig(issues) => json!({"issues": issues}),
        QuantError::ValidationFailed(q) => json!({
            "similarity": q.similarity,
            "threshold": q.threshold,
            "layer": q.layer,
            "bitWidth": q.bit_width,
            "measure": q.measure,
            "timeGroup": q.time_group,
            "meanSimilarity": q.mean_similarity,
            "failed": q.failed.iter().map(|f| json!({
                "layer": f.layer,
                "attempts": f.attempts.iter().map(|(b, s)| json!({"bitWidth": b, "similarity": s})).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "failedCount": q.failed_count,
            "layerCount": q.layer_count,
        }),
        QuantError::ModelNotFound { path, what, referenced_by, .. } => json!({
            "path": path,
            "what": match what {
                Missing::Model => "model",
                Missing::Weights => "weights",
                Missing::Shard => "shard",
                Missing::Share => "share",
            },
            "referencedBy": referenced_by,
        }),
        QuantError::Metadata { path, field, problem } => json!({
            "path": path,
            "field": field,
            "problem": match problem {
                MetadataProblem::FieldMissing => "field-missing",
                MetadataProblem::FieldType { .. } => "field-type",
                MetadataProblem::Contradiction { .. } | MetadataProblem::Ambiguous { .. } => "contradiction",
                MetadataProblem::Outside { .. } => "outside",
                MetadataProblem::Version { .. } => "version",
            },
        }),
        QuantError::UnknownModality { path, value, looked_at } => json!({"path": path, "value": value, "lookedAt": looked_at}),
        QuantError::ShapeMismatch { subject, name, expected, actual } => json!({
            "subject": match subject {
                ShapeSubject::Model => "model",
                ShapeSubject::Calibration => "calibration",
                ShapeSubject::Buffer => "buffer",
            },
            "name": name,
            "expected": expected,
            "actual": actual,
        }),
        QuantError::QuantizationFailed { path, layer, failure } => json!({
            "path": path,
            "layer": layer,
            "reason": match failure {
                WorkFailure::NothingToQuantize { .. } => "nothing-to-quantize",
                WorkFailure::BadCalibration { .. } => "bad-calibration",
                WorkFailure::TargetUnreachable { .. } => "target-unreachable",
                WorkFailure::ScaleOverflow { .. } => "scale-overflow",
                WorkFailure::NameCollision { .. } => "name-collision",
                WorkFailure::NotQuantized => "not-quantized",
                WorkFailure::WouldRound { .. } => "would-round",
                WorkFailure::NotCarried { .. } => "not-carried",
                WorkFailure::AlreadyQuantized { .. } => "already-quantized",
            },
        }),
        QuantError::Io { op, path, attempts, source, .. } => {
            json!({"path": path, "op": op.as_str(), "errno": errno_name(source), "attempts": attempts})
        }
        QuantError::Arrow { path, .. } | QuantError::Parquet { path, .. } => json!({"path": path}),
        QuantError::Serde { path, line, column, .. } => json!({"path": path, "line": line, "column": column}),
        QuantError::Internal { location, panic, .. } => json!({"location": location, "panic": panic}),
        QuantError::OutputExists { path } => json!({"path": path, "issues": [{
            "path": "outputPath",
            "expected": "a path where nothing is yet",
            "received": format!("\"{}\" (string)", path.display()),
            "message": format!("Expected a path where nothing is yet for outputPath but received \"{}\" (string).", path.display()),
            "code": error.code().as_str(),
            "source": "option",
        }]}),
        QuantError::UnsupportedFormat { path, detected } => json!({"path": path, "detected": detected}),
        QuantError::UnsupportedDtype { path, tensor, dtype } => json!({"path": path, "tensor": tensor, "dtype": dtype}),
        QuantError::CorruptModel(d) => json!({
            "path": d.path,
            "tensor": d.tensor,
            "offset": d.offset,
            "defect": d.defect.as_str(),
            "declared": d.declared,
            "limit": d.limit,
        }),
        QuantError::NonFiniteWeights { path, tensor, index, value, count } => {
            json!({"path": path, "tensor": tensor, "index": index, "value": aq_engine::error::non_finite_name(*value), "count": count})
        }
        QuantError::OutOfDisk { path, required, available, source } => {
            json!({"path": path, "required": required, "available": available, "errno": source.as_ref().map(errno_name)})
        }
        QuantError::OutOfMemory { pool, cause, requested, limit, tensor } => json!({
            "pool": match pool {
                Pool::Host => "host",
                Pool::Device => "device",
            },
            "cause": match cause {
                MemoryCause::Budget => "budget",
                MemoryCause::Refused => "refused",
            },
            "requested": requested,
            "limit": limit,
            "tensor": tensor,
        }),
        QuantError::Timeout { clock, limit_ms, elapsed_ms, phase, abandoned } => {
            let clock = if *clock == StopSource::Stall { "stall" } else { "total" };
            json!({"clock": clock, "limitMs": limit_ms, "elapsedMs": elapsed_ms, "phase": phase, "abandoned": abandoned})
        }
        QuantError::DeviceUnavailable { device, reason } => json!({"device": device, "reason": reason.to_string()}),
        QuantError::DeviceFailed { device, op, status, sticky, .. } => {
            json!({"device": device, "op": op, "status": status, "sticky": sticky})
        }
        QuantError::ResumeMismatch { path, issues } => json!({"path": path, "issues": issues}),
        QuantError::OutputBusy { path, pid } => json!({"path": path, "pid": pid}),
        QuantError::Cancelled { phase, staged, abandoned } => json!({
            "phase": phase,
            "staged": match staged {
                Staged::Nothing => "nothing",
                Staged::Journal => "journal",
            },
            "abandoned": abandoned,
        }),
    }
}

/// Chain of sources below the error itself.
fn causes(error: &QuantError) -> Vec<Value> {
    let mut list = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| list.len() < MOST_CAUSES) {
        let code = cause.downcast_ref::<std::io::Error>().map(errno_name);
        list.push(json!({"name": "Error", "message": aq_core::error::visible(&cause.to_string()), "code": code}));
        next = cause.source();
    }
    list
}

fn context(error: &QuantError, call: &Call, ended: &Ended) -> ErrorContext {
    let text = |p: &Path| Some(p.to_string_lossy().into_owned());
    let (file, layer, offset) = match error {
        QuantError::ModelNotFound { path, .. }
        | QuantError::Metadata { path, .. }
        | QuantError::UnknownModality { path, .. }
        | QuantError::Serde { path, .. }
        | QuantError::Arrow { path, .. }
        | QuantError::Parquet { path, .. }
        | QuantError::OutputExists { path }
        | QuantError::UnsupportedFormat { path, .. }
        | QuantError::OutOfDisk { path, .. }
        | QuantError::ResumeMismatch { path, .. }
        | QuantError::OutputBusy { path, .. } => (text(path), None, None),
        QuantError::Io { path, offset, .. } => (text(path), None, *offset),
        QuantError::QuantizationFailed { path, layer, .. } => (text(path), layer.clone(), None),
        QuantError::UnsupportedDtype { path, tensor, .. } | QuantError::NonFiniteWeights { path, tensor, .. } => {
            (text(path), Some(tensor.clone()), None)
        }
        QuantError::CorruptModel(d) => (text(&d.path), d.tensor.clone(), d.offset),
        QuantError::ValidationFailed(q) => (None, Some(q.layer.clone()), None),
        QuantError::ShapeMismatch { name, .. } => (None, Some(name.clone()), None),
        QuantError::OutOfMemory { tensor, .. } => (None, tensor.clone(), None),
        QuantError::InvalidConfig(_)
        | QuantError::Internal { .. }
        | QuantError::Cancelled { .. }
        | QuantError::DeviceUnavailable { .. }
        | QuantError::DeviceFailed { .. }
        | QuantError::Timeout { .. } => (None, None, None),
    };
    let device = match error {
        QuantError::DeviceUnavailable { device, .. } | QuantError::DeviceFailed { device, .. } => Some(device.clone()),
        _ => None,
    };
    let attempt = if let QuantError::Io { attempts, .. } = error { *attempts } else { 1 };
    ErrorContext {
        operation: call.operation.into(),
        phase: ended.phase,
        job_id: call.job_id.clone(),
        timestamp: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        elapsed_ms: ended.elapsed_ms,
        model_path: call.model_path.clone(),
        output_path: call.output_path.clone(),
        file,
        offset,
        layer: layer.or_else(|| ended.layer.clone()),
        device,
        attempt,
    }
}
