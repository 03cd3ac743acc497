//! The words of each error: a sentence that names the file and the value, and what to do.

use super::system;
use super::{FailedLayer, Issues, QualityFailure, QuantError, ShapeSubject, Staged, WorkFailure};
use aq_core::error::{ConfigIssue, ErrorCode, quoted, visible};
use aq_core::report::megabytes;
use aq_io::error::{Damage, MetadataProblem, Missing};
use std::path::Path;

/// Sentence and advice of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// What was wrong, one sentence.
    pub sentence: String,
    /// What to do; the first is the hint.
    pub suggestions: Vec<String>,
}

impl Texts {
    /// Sentence and advice in one line.
    pub fn message(&self) -> String {
        match self.suggestions.as_slice() {
            [] => self.sentence.clone(),
            [hint] => format!("{} Hint: {hint}", self.sentence),
            many => {
                let list: Vec<String> = many.iter().enumerate().map(|(i, s)| format!("({}) {s}", i + 1)).collect();
                format!("{} Suggestions: {}.", self.sentence, list.join(", "))
            }
        }
    }
}

pub(super) fn path_text(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

pub(super) fn one(sentence: String, hint: impl Into<String>) -> Texts {
    Texts { sentence, suggestions: vec![hint.into()] }
}

pub(super) fn many(sentence: String, suggestions: &[&str]) -> Texts {
    Texts { sentence, suggestions: suggestions.iter().map(|s| (*s).to_owned()).collect() }
}

/// Sentence and advice.
pub fn texts(error: &QuantError) -> Texts {
    let hint = error.code().row().hint;
    match error {
        QuantError::InvalidConfig(issues) => config(issues, error.code()),
        QuantError::ValidationFailed(q) => quality(q),
        QuantError::ModelNotFound { path, what, referenced_by, .. } => not_found(path, *what, referenced_by.as_deref()),
        QuantError::Metadata { path, field, problem } => metadata(path, field.as_deref(), problem),
        QuantError::UnknownModality { path, value: Some(value), .. } => {
            one(format!("Unknown modality {} in {}.", quoted(value), path_text(path)), hint)
        }
        QuantError::UnknownModality { path, looked_at, .. } => one(
            format!(
                "Cannot tell the modality of {}: no known value in {}, and its tensor names match no family.",
                path_text(path),
                looked_at.iter().map(|l| visible(l)).collect::<Vec<_>>().join(", ")
            ),
            hint,
        ),
        QuantError::ShapeMismatch { subject, name, expected, actual } => one(
            format!("Shape mismatch for {}: expected {expected:?}, got {actual:?}.", visible(name)),
            match subject {
                ShapeSubject::Model => "Both models must be the same architecture, undamaged.",
                ShapeSubject::Calibration => "Calibration rows need one value per input channel.",
                ShapeSubject::Buffer => "The shape's product must equal the number of values.",
            },
        ),
        QuantError::QuantizationFailed { path, layer, failure } => work(path, layer.as_deref(), failure),
        QuantError::Io { op, path, attempts, source, .. } => system::io(*op, path, *attempts, source),
        QuantError::Arrow { path, source } => one(format!("Arrow error in {}: {}.", path_text(path), library_reason(source)), hint),
        QuantError::Parquet { path, source } => one(format!("Parquet error in {}: {}.", path_text(path), library_reason(source)), hint),
        QuantError::Serde { path, line, column, source } => {
            one(format!("JSON error in {} at line {line}, column {column}: {}.", path_text(path), json_reason(source)), hint)
        }
        QuantError::Internal { message, location, .. } => {
            one(format!("Internal error: {} (at {}).", visible(message), location.as_deref().unwrap_or("an unknown place")), hint)
        }
        QuantError::OutputExists { path } => {
            many(format!("Output already exists: {}.", path_text(path)), &["choose another outputPath", "pass overwrite: true"])
        }
        QuantError::UnsupportedFormat { path, detected } => one(
            format!("Unsupported model format: {} is {}.", path_text(path), visible(detected)),
            if detected.contains("pickle") {
                "Pickled checkpoints are never opened, because reading one can run code."
            } else if detected.contains("special file") {
                "Give a regular file or a folder."
            } else {
                hint
            },
        ),
        QuantError::UnsupportedDtype { path, tensor, dtype } => many(
            format!("Unsupported dtype {} of tensor {} in {}.", visible(dtype), visible(tensor), path_text(path)),
            &["cast it to F64, F32, F16 or BF16", "exclude the tensor"],
        ),
        QuantError::CorruptModel(damage) => corrupt(damage, of_share(&damage.path).unwrap_or(hint)),
        QuantError::NonFiniteWeights { tensor, index, value, count, .. } => many(
            format!("Tensor {} holds {count} non-finite value(s), the first is {} at {index:?}.", visible(tensor), non_finite_name(*value)),
            &["repair or re-export the checkpoint", "pass nonFinite: 'keep' to leave such tensors as they are"],
        ),
        QuantError::OutOfDisk { path, required, available, source } => system::disk(path, *required, *available, source.as_ref()),
        QuantError::OutOfMemory { pool, cause, requested, limit, tensor } => {
            system::memory(*pool, *cause, *requested, *limit, tensor.as_deref())
        }
        QuantError::Timeout { clock, limit_ms, elapsed_ms, phase, .. } => system::timeout(*clock, *limit_ms, *elapsed_ms, *phase),
        QuantError::DeviceUnavailable { device, reason } => system::no_device(device, reason),
        QuantError::DeviceFailed { device, op, status, sticky, .. } => system::device(device, op, status.as_deref(), *sticky),
        QuantError::ResumeMismatch { path, issues } => resume(path, issues),
        QuantError::OutputBusy { path, pid } => many(
            format!(
                "Output {} is being written by another job (pid {}).",
                path_text(path),
                pid.map_or("unknown".into(), |p| p.to_string())
            ),
            &["wait for that job", "choose another outputPath"],
        ),
        QuantError::Cancelled { phase, staged, .. } => one(
            format!("Aborted in phase {}.", phase.as_str()),
            match staged {
                Staged::Nothing => hint,
                Staged::Journal => "Call again with resume: true to continue.",
            },
        ),
    }
}

/// `NaN`, `Infinity` or `-Infinity`.
pub fn non_finite_name(value: f32) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn config(issues: &Issues, code: ErrorCode) -> Texts {
    let hint = code.row().hint;
    match issues.as_slice() {
        [issue] => {
            let bare = issue.received.strip_suffix(" (number)").unwrap_or(&issue.received);
            let place = if issue.path.starts_with("layerBitWidths") { format!(" for {}", issue.path) } else { String::new() };
            let sentence = match code {
                ErrorCode::InvalidBitWidth => format!("Invalid bit width{place}: {bare}. Must be {}.", issue.expected),
                ErrorCode::InvalidGroupSize => format!("Invalid group size: {bare}. Must be 32, 64, 128, or 256."),
                ErrorCode::InvalidTimeGroups => format!("Invalid time groups: {bare}. Must be an integer between 1 and 100."),
                ErrorCode::InvalidAccuracy => format!("Invalid accuracy threshold: {bare}. Must be between 0.0 and 1.0."),
                _ => {
                    format!("Invalid option {}: expected {}, received {}.", visible(&issue.path), issue.expected, visible(&issue.received))
                }
            };
            // What the message says beyond the usual sentence (the nearest names, say) is the best advice.
            let usual = ConfigIssue::new(issue.code, issue.path.as_str(), issue.expected.as_str(), issue.received.as_str()).message;
            let own = issue.message.strip_prefix(&usual).unwrap_or(&issue.message).trim();
            let hint = if own.is_empty() { hint } else { own };
            one(sentence, hint)
        }
        several => {
            let shown: Vec<String> = several
                .iter()
                .take(5)
                .map(|i| format!("{}: expected {}, received {}", visible(&i.path), i.expected, visible(&i.received)))
                .collect();
            let more = several.len().saturating_sub(5);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            one(
                format!("Invalid configuration, {} problems: {}{more}.", several.len(), shown.join("; ")),
                ErrorCode::InvalidConfig.row().hint,
            )
        }
    }
}

fn resume(path: &Path, issues: &Issues) -> Texts {
    let change = |i: &ConfigIssue| format!("{}: was {}, now {}", visible(&i.path), visible(&i.expected), visible(&i.received));
    let changes: Vec<String> = issues.iter().take(5).map(change).collect();
    many(
        format!("Cannot resume {}: {} setting(s) changed ({}).", path_text(path), issues.len(), changes.join("; ")),
        &["repeat the earlier settings", "pass resume: false to start over"],
    )
}

/// Four decimals; more where both would look equal.
fn similarity_texts(a: f64, b: f64) -> (String, String) {
    for digits in 4..=9 {
        let (x, y) = (format!("{a:.digits$}"), format!("{b:.digits$}"));
        if x != y || digits == 9 {
            return (x, y);
        }
    }
    unreachable!("the loop returns at 9 digits")
}

fn quality(q: &QualityFailure) -> Texts {
    let (similarity, threshold) = similarity_texts(q.similarity, q.threshold);
    let output = q.time_group.map(|g| format!(", output in time group {g}")).unwrap_or_default();
    let sentence = format!(
        "Quality validation failed: cosine similarity {similarity} is below threshold {threshold} (layer {}, INT{}{output}; {} of {} layers).",
        quoted(&q.layer),
        q.bit_width,
        q.failed_count,
        q.layer_count
    );
    Texts { sentence, suggestions: q.advice.clone() }
}

fn not_found(path: &Path, what: Missing, referenced_by: Option<&Path>) -> Texts {
    match what {
        Missing::Model => {
            let from = std::env::current_dir().map(|p| path_text(&p)).unwrap_or_default();
            one(format!("Model not found: {} does not exist.", path_text(path)), format!("Check the path; it was resolved against {from}."))
        }
        Missing::Weights => one(
            format!("Model not found: {} holds no weight file.", path_text(path)),
            "The folder needs .safetensors files or a shard index.",
        ),
        Missing::Shard => one(
            format!(
                "Model not found: shard {}, named by {}, does not exist.",
                path_text(path),
                path_text(referenced_by.unwrap_or(Path::new("the index")))
            ),
            "Fetch the missing shard again or correct the index.",
        ),
        Missing::Share => {
            one(format!("Model not found: share {} of this partition does not exist.", path_text(path)), "Run that share again.")
        }
    }
}

/// The advice for a file of a share, whatever is wrong with it.
fn of_share(path: &Path) -> Option<&'static str> {
    crate::job::is_of_share(path).then_some("Run that share again.")
}

fn metadata(path: &Path, field: Option<&str>, problem: &MetadataProblem) -> Texts {
    let hint = of_share(path).unwrap_or(ErrorCode::Metadata.row().hint);
    let field = quoted(field.unwrap_or("the root"));
    let p = path_text(path);
    let same_export = "Take index, shards and shares from the same export.";
    match problem {
        MetadataProblem::FieldMissing => one(format!("Failed to read model metadata: {p} has no {field} field."), hint),
        MetadataProblem::FieldType { expected, found } => {
            one(format!("Failed to read model metadata: {field} in {p} must be {expected}, found {found}."), hint)
        }
        MetadataProblem::Contradiction { other, about } => {
            one(format!("Failed to read model metadata: {p} and {} disagree about {}.", path_text(other), visible(about)), same_export)
        }
        MetadataProblem::Outside { name } => one(
            format!("Failed to read model metadata: {p} names {}, which lies outside the model folder.", quoted(name)),
            "Do not trust this model; its index was tampered with.",
        ),
        MetadataProblem::Ambiguous { candidates } => one(
            format!(
                "Failed to read model metadata: {p} holds several weight files: {}.",
                candidates.iter().map(|c| visible(c)).collect::<Vec<_>>().join(", ")
            ),
            "Point modelPath at the file that is meant, or remove the others.",
        ),
        MetadataProblem::Version { found, newest } => one(
            format!("Failed to read model metadata: {p} has format version {found}, the newest known is {newest}."),
            "Update arrow-quant.",
        ),
    }
}

fn work(path: &Path, layer: Option<&str>, failure: &WorkFailure) -> Texts {
    let p = path_text(path);
    match failure {
        WorkFailure::NothingToQuantize { tensors } => many(
            format!("Quantization failed: none of the {tensors} tensors in {p} can be quantized."),
            &["check that this is a model and not only norms and biases", "relax skipLayers"],
        ),
        WorkFailure::BadCalibration { record, problem } => {
            one(format!("Quantization failed: record {record} of {p} {}.", visible(problem)), "Remove or correct the record.")
        }
        WorkFailure::TargetUnreachable { smallest, target } => {
            let mb = |bytes: u64| format!("{:.2} MB", megabytes(bytes));
            let sentence = format!("Quantization failed: the smallest plan is {}, the target is {}.", mb(*smallest), mb(*target));
            many(sentence, &["raise targetModelSizeMb", "use a smaller bitWidth"])
        }
        WorkFailure::ScaleOverflow { group, dtype } => one(
            format!("Quantization failed: group {group} of {} needs a scale beyond {dtype}.", visible(layer.unwrap_or_default())),
            "Keep the layer as it is (layerBitWidths: 16).",
        ),
        WorkFailure::NameCollision { a, b, name } => one(
            format!("Quantization failed: {} and {} would both be written as {}.", visible(a), visible(b), visible(name)),
            "Rename one tensor or choose another layout.",
        ),
        WorkFailure::NotQuantized => one(
            format!("Quantization failed: {p} holds no quantized layer."),
            "Quantize the model with the layout that is wanted; only what is in codes already is exported.",
        ),
        WorkFailure::WouldRound { layout, why } => one(
            format!("Quantization failed: {} cannot go to layout {layout} as it is: {}.", visible(layer.unwrap_or_default()), visible(why)),
            "Quantize the original with that layout instead: rounding codes once more would add a second error.",
        ),
        WorkFailure::NotCarried { tensor, layout, why } => one(
            format!("Quantization failed: layout {layout} cannot carry {}: {}.", visible(tensor), visible(why)),
            "Choose another layout: 'plain' carries every model, 'sdnq' every model in safetensors.",
        ),
        WorkFailure::AlreadyQuantized { scheme } => one(
            format!("Quantization failed: {p} is already quantized ({}).", visible(scheme)),
            "Start from the original weights; quantizing twice adds two errors.",
        ),
    }
}

/// The parser's sentence without the place, which is told apart.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    visible(text.split(" at line ").next().unwrap_or(&text))
}

/// What another library says, in one line without its own full stop.
fn library_reason(error: &dyn std::fmt::Display) -> String {
    visible(error.to_string().trim_end_matches('.'))
}

fn corrupt(damage: &Damage, hint: &str) -> Texts {
    let mut defect = damage.defect.as_str().to_owned();
    if let Some(tensor) = &damage.tensor {
        defect += &format!(", tensor {}", visible(tensor));
    }
    if let (Some(declared), Some(limit)) = (&damage.declared, &damage.limit) {
        defect += &format!(", {} against {}", visible(declared), visible(limit));
    }
    one(format!("Corrupt model file {}: {defect}.", path_text(&damage.path)), hint)
}

impl FailedLayer {
    /// The last similarity reached.
    pub fn last(&self) -> f64 {
        self.attempts.last().map_or(0.0, |a| a.1)
    }
}
