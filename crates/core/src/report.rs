//! What a finished job tells: the figures are computed from the bytes that were written.

use crate::bits::BitWidth;
use crate::blocks::BlockType;
use crate::scheme::{Method, ScaleDtype};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A warning: something the user should know, that did not end the job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// `AQ_WARN_…`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Data behind the sentence.
    pub details: Value,
}

/// Error figures of one layer or of all: accumulated in f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Cosine between original and decoded weights.
    pub cosine: f64,
    /// 10 log10(signal / error); 200 where there is no error.
    pub sqnr_db: f64,
    /// The lowest cosine of any output row.
    pub worst_row_cosine: f64,
    /// The largest absolute difference of one weight.
    pub max_abs_error: f64,
}

/// The scheme a layer ended with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemeReport {
    /// Bits per code.
    pub bits: BitWidth,
    /// Wanted group size.
    pub group_size: usize,
    /// Stored group size (the loader's rule).
    pub stored_group_size: usize,
    /// No zero point.
    pub symmetric: bool,
    /// How codes were chosen.
    pub method: Method,
    /// Stored type of scales and zeros.
    pub scale_dtype: ScaleDtype,
    /// Values rotated together; none: not rotated.
    pub rotation: Option<usize>,
    /// ggml's blocks, where the layout has them: then `bits` is the width that they stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_type: Option<BlockType>,
}

/// One attempt at a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The width tried.
    pub bit_width: BitWidth,
    /// The similarity reached.
    pub similarity: f64,
}

/// A width that was raised because the narrower one missed the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fallback {
    /// The planned width.
    pub from: BitWidth,
    /// The width that passed.
    pub to: BitWidth,
}

/// How a layer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerOutcome {
    /// At the planned width.
    Quantized,
    /// At a wider one.
    Raised,
    /// At none.
    Failed,
}

/// Quality of a layer's output in a range of the time axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeGroup {
    /// Number of the group, from 0.
    pub index: u32,
    /// First recorded step.
    pub first: i32,
    /// Last recorded step.
    pub last: i32,
    /// Cosine between the outputs.
    pub cosine: f64,
    /// 10 log10(signal / error) of the outputs.
    pub sqnr_db: f64,
}

/// By what a layer was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The cosine of its weights.
    Weights,
    /// The cosine of its output in the worst time group.
    Output,
}

/// The form that a layer's inputs had when its codes were chosen by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondForm {
    /// All second moments, factored: compensation, then a sweep.
    Full,
    /// All of them, where they had no factor: sweeps.
    Sweeps,
    /// Rows that span the inputs: sweeps.
    Factored,
}

/// Where a layer's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputOrigin {
    /// The calibration file.
    #[default]
    Recorded,
    /// The model's own time embedding, at every step.
    Computed,
    /// The same, with samples in the place of what is not in the file.
    Sampled,
}

/// What was made of a layer's inputs to choose its codes by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondReport {
    /// In which form.
    pub form: SecondForm,
    /// Where they come from.
    pub inputs: InputOrigin,
    /// Rows of inputs.
    pub rows: usize,
    /// Rows that span them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The part of the inputs' energy that these hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// Bytes that this took at most.
    pub bytes: u64,
}

/// One quantized layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerReport {
    /// Module name; `component/layer` when several components are quantized.
    pub name: String,
    /// The tensor's name in the file, where that is not the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_as: Option<String>,
    /// The layers that its rows come from, in order, where they are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Shape of the weight.
    pub shape: Vec<u64>,
    /// Number of weights.
    pub parameters: u64,
    /// The role its name gave it.
    pub role: String,
    /// How it ended.
    pub outcome: LayerOutcome,
    /// The scheme it ended with.
    pub scheme: SchemeReport,
    /// Bytes on disk (codes, scales, zeros) * 8 / weights.
    pub bits_per_weight: f64,
    /// Error figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// By what it was judged.
    pub measure: Measure,
    /// The figure that was held against `minAccuracy`.
    pub similarity: f64,
    /// Quality over time, where there is calibration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub time_groups: Vec<TimeGroup>,
    /// Every width tried, in order.
    pub attempts: Vec<Attempt>,
    /// Set when the width was raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Set when the layer's inputs decided about its codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_moments: Option<SecondReport>,
}

/// Something that was left as it is, or left behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Skipped {
    /// Layer or file.
    pub name: String,
    /// Why, in words.
    pub why: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A component of the model and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Folder name; empty for a model that is one component.
    pub name: String,
    /// Class in its config, if any.
    pub class_name: Option<String>,
    /// Whether its layers were quantized.
    pub quantized: bool,
    /// Quantized layers.
    pub layers: u64,
    /// Parameters in its weight files.
    pub parameters: u64,
}

/// A file operation that was repeated.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// The operation, as in messages.
    pub op: &'static str,
    /// The file.
    pub path: String,
    /// What went wrong.
    pub errno: String,
    /// The try that failed, from 1.
    pub attempt: u32,
    /// Milliseconds waited before the next.
    pub delay_ms: f64,
}

/// A step down that changed no byte of the output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Degradation {
    /// `memory` or `device`.
    pub what: &'static str,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// What a failed job had done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialReport {
    /// The configuration after defaults, once it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_config: Option<Value>,
    /// Layers that were finished, in the order in which they were.
    pub layers: Vec<LayerReport>,
    /// Failures of other layers, in plan order; the error itself is not among them.
    pub failures: Vec<OtherFailure>,
    /// Repeated operations.
    pub retries: Vec<Retry>,
    /// Steps down.
    pub degradations: Vec<Degradation>,
    /// Warnings so far.
    pub warnings: Vec<Warning>,
}

/// A failure that was not the one told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherFailure {
    /// The tensor at hand.
    pub layer: String,
    /// Its code.
    pub code: &'static str,
    /// Its sentence.
    pub message: String,
}

/// What did the arithmetic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendReport {
    /// `cpu`, or the device.
    pub device: String,
    /// Why it is this one.
    pub reason: String,
    /// Kernel level.
    pub simd: &'static str,
    /// Worker threads.
    pub threads: usize,
}

/// What a job resolves with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuantizeReport {
    /// The output folder.
    pub quantized_path: String,
    /// `arrow-quant.json` in it.
    pub manifest_path: String,
    /// The report for people: the manifest, until the facade has made the page.
    pub report_path: String,
    /// What the model makes.
    pub modality: &'static str,
    /// Where that was read.
    pub modality_source: String,
    /// Layout written.
    pub layout: &'static str,
    /// The job's width.
    pub bit_width: BitWidth,
    /// The job's wanted group size.
    pub group_size: usize,
    /// Original bytes / written bytes, over the weight files of the quantized components.
    pub compression_ratio: f64,
    /// Mean layer cosine, weighted by parameters.
    pub cosine_similarity: f64,
    /// SQNR over all quantized weights together, dB.
    pub sqnr_db: f64,
    /// Bytes on disk * 8 / weights, over the quantized layers.
    pub bits_per_weight: f64,
    /// Written weight files, MB (10^6 bytes).
    pub model_size_mb: f64,
    /// Source weight files, MB.
    pub original_size_mb: f64,
    /// Wall time, seconds.
    pub quantization_time_s: f64,
    /// What did the arithmetic.
    pub backend: BackendReport,
    /// Components.
    pub components: Vec<ComponentReport>,
    /// Quantized layers in plan order.
    pub layers: Vec<LayerReport>,
    /// Layers and files left alone, with the reason.
    pub skipped: Vec<Skipped>,
    /// What a target size bought, where there was one.
    pub target: Option<TargetReport>,
    /// Repeated file operations.
    pub retries: Vec<Retry>,
    /// Steps down in memory or device.
    pub degradations: Vec<Degradation>,
    /// Warnings.
    pub warnings: Vec<Warning>,
    /// The configuration after defaults.
    pub resolved_config: Value,
    /// Where several layouts were asked for: the report of each, in their order. The one around them is that of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<QuantizeReport>,
}

/// How a target size was met.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// `targetModelSizeMb`.
    pub target_mb: f64,
    /// The width that all layers begin at.
    pub bit_width: BitWidth,
    /// The plan at that width.
    pub base_mb: f64,
    /// The plan after all steps.
    pub planned_mb: f64,
    /// In the order in which they were taken.
    pub steps: Vec<TargetStep>,
}

/// A block at a larger width.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetStep {
    /// The part of its layers' names that they share.
    pub block: String,
    /// Layers that are raised.
    pub layers: usize,
    /// From this width.
    pub from: BitWidth,
    /// To this one.
    pub to: BitWidth,
    /// What that adds to the weight files, MB.
    pub cost_mb: f64,
    /// Why it came before others.
    pub why: &'static str,
    /// Relative squared error of its layers before and after, added up: of outputs where inputs are known, else of weights. Where it was
    /// what decided.
    pub error: Option<[f64; 2]>,
}

/// MB as the reports use it.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
