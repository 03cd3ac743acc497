//! What a job would do, as far as headers tell.

use crate::bits::BitWidth;
use crate::report::{ComponentReport, SchemeReport, Skipped, Warning};
use serde::Serialize;
use serde_json::Value;

/// What `plan` resolves with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The model.
    pub model_path: String,
    /// What the model makes.
    pub modality: &'static str,
    /// Where that was read.
    pub modality_source: String,
    /// Layout that would be written.
    pub layout: &'static str,
    /// The job's width.
    pub bit_width: BitWidth,
    /// The job's wanted group size.
    pub group_size: usize,
    /// Components.
    pub components: Vec<ComponentReport>,
    /// Layers that would be quantized, in plan order.
    pub layers: Vec<PlannedLayer>,
    /// Layers and files that would be left alone, with the reason.
    pub skipped: Vec<Skipped>,
    /// Weight files that would be written.
    pub files: Vec<PlannedFile>,
    /// Source weight files, MB (10^6 bytes).
    pub original_size_mb: f64,
    /// Planned weight files, MB.
    pub model_size_mb: f64,
    /// Whether that is exact unless a layer falls back.
    pub exact: bool,
    /// Original bytes / planned bytes.
    pub compression_ratio: f64,
    /// Bytes on disk * 8 / weights, over the layers.
    pub bits_per_weight: f64,
    /// Memory of the job.
    pub memory: MemoryEstimate,
    /// Time of the job on this machine.
    pub time: TimeEstimate,
    /// Room for the output; none where no output was named.
    pub disk: Option<DiskEstimate>,
    /// What a target size leaves to be bought.
    pub target: Option<Trade>,
    /// Warnings.
    pub warnings: Vec<Warning>,
    /// The configuration after defaults.
    pub resolved_config: Value,
    /// Where several layouts were asked for: the plan of each, in their order. The one around them is that of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<PlanReport>,
}

/// A layer that would be quantized.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLayer {
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
    /// The role its name gives it.
    pub role: String,
    /// The scheme that is tried first; rotation and the stored type of scales are decided when its weights are read.
    pub scheme: SchemeReport,
    /// Bytes in the file.
    pub bytes: u64,
    /// Bytes in the file * 8 / weights.
    pub bits_per_weight: f64,
    /// Why it has this width.
    pub why: String,
    /// What is known of its inputs: `recorded`, `computed`, or nothing.
    pub inputs: Option<&'static str>,
}

/// A weight file that would be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Path in the output folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Memory of a job beside that of the process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryEstimate {
    /// What blocks and inputs would take, MB.
    pub estimate_mb: f64,
    /// `maxMemoryLimitMb`, MiB.
    pub limit_mib: u64,
}

/// Time of a job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeEstimate {
    /// All of it, seconds.
    pub seconds: f64,
    /// Worker threads.
    pub threads: usize,
    /// How long this machine was measured for that, seconds.
    pub measured_s: f64,
}

/// Room for an output.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskEstimate {
    /// Where.
    pub path: String,
    /// What weight files need, MB.
    pub required_mb: f64,
    /// What is free there, MB; none where the system does not tell.
    pub free_mb: Option<f64>,
}

/// What a target size leaves to be bought. Which blocks are taken is decided by their error, when the weights are read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trade {
    /// `targetModelSizeMb`.
    pub target_mb: f64,
    /// The width that all layers begin at.
    pub bit_width: BitWidth,
    /// The plan at that width, MB.
    pub base_mb: f64,
    /// What is left of the target, MB.
    pub left_mb: f64,
    /// Blocks that could be raised, in the order of the file; none without mixed precision.
    pub raises: Vec<Raise>,
}

/// A block at the next width.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Raise {
    /// The part of its layers' names that they share.
    pub block: String,
    /// Layers that would be raised.
    pub layers: usize,
    /// From this width.
    pub from: BitWidth,
    /// To this one.
    pub to: BitWidth,
    /// What that would add to the weight files, MB.
    pub cost_mb: f64,
    /// Whether that fits what is left.
    pub fits: bool,
}
