//! The configuration after defaults: nothing in it is optional that the engine has to decide.

use super::profile::{Mode, Profile};
use crate::bits::BitWidth;
use crate::dtype::Dtype;
use crate::modality::Modality;
use crate::scheme::{Method, ZeroKind};
use crate::share::Share;
use serde::{Deserialize, Serialize};

/// The rounding method as the caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodChoice {
    /// The best that the inputs allow: `gptq` where there are inputs, `mse` elsewhere.
    Auto,
    /// Min/max.
    Rtn,
    /// Searched.
    Mse,
    /// By the second moments of the inputs.
    Gptq,
}

impl MethodChoice {
    /// The method of layers whose inputs are not known.
    pub const fn resolve(self) -> Method {
        match self {
            Self::Rtn => Method::Rtn,
            Self::Auto | Self::Mse | Self::Gptq => Method::Mse,
        }
    }

    /// Whether layers whose inputs are known are encoded for the least error of their output.
    pub const fn by_output(self) -> bool {
        matches!(self, Self::Auto | Self::Gptq)
    }
}

/// The layout as the caller names it, `auto` already replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// SDNQ's safetensors: diffusers opens it.
    Sdnq,
    /// compressed-tensors, packed: transformers and vLLM open it.
    #[serde(rename = "compressed-tensors")]
    CompressedTensors,
    /// ggml's blocks: diffusers, ComfyUI, stable-diffusion.cpp and llama.cpp open them.
    Gguf,
    /// ComfyUI's codes of 8 and 4 bits, under the original names: ComfyUI opens it.
    ComfyUi,
    /// An archive for tools that ask about layers: any reader of Parquet opens it.
    Parquet,
    /// Dequantized to the source's types: any loader opens it.
    Plain,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sdnq, Self::CompressedTensors, Self::Gguf, Self::ComfyUi, Self::Parquet, Self::Plain];

    /// From its name; `None` for `auto`, which the model decides.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == name)
    }

    /// The name in options and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sdnq => "sdnq",
            Self::CompressedTensors => "compressed-tensors",
            Self::Gguf => "gguf",
            Self::ComfyUi => "comfyui",
            Self::Parquet => "parquet",
            Self::Plain => "plain",
        }
    }
}

/// Names of the tensors in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GgufNames {
    /// The source's own.
    #[default]
    Auto,
    /// The same, said aloud.
    Diffusers,
    /// Those of the original checkpoint, which ComfyUI and stable-diffusion.cpp know.
    Original,
}

impl GgufNames {
    /// Whether nothing was said.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Element type of the `plain` layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainDtype {
    /// Each tensor's own.
    Source,
    /// The decoded values as they are.
    F32,
    /// Rounded to IEEE half.
    F16,
    /// Rounded to bfloat16.
    Bf16,
}

impl PlainDtype {
    /// For a tensor whose source type is given. Decoded values are single precision, so doubles become F32.
    pub const fn resolve(self, source: Dtype) -> Dtype {
        match (self, source) {
            (Self::F32, _) | (Self::Source, Dtype::F64) => Dtype::F32,
            (Self::F16, _) => Dtype::F16,
            (Self::Bf16, _) | (Self::Source, Dtype::F8E4m3 | Dtype::F8E5m2) => Dtype::Bf16,
            (Self::Source, source) => source,
        }
    }
}

/// The first-block rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protect {
    /// First block (UNets: last up block too) one width up.
    Auto,
    /// Every block at the job's width.
    None,
}

/// What to do with tensors that hold NaN or infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinitePolicy {
    /// End the job.
    Error,
    /// Carry the tensor over as it is.
    Keep,
}

/// The configuration after defaults.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "these are the public options, one field each")]
pub struct ResolvedConfig {
    /// With a time axis or without; not an option of the configuration.
    #[serde(skip)]
    pub mode: Mode,
    /// The profile behind the defaults.
    pub deployment_profile: Profile,
    /// Bits per code.
    pub bit_width: BitWidth,
    /// Wanted group size.
    pub group_size: usize,
    /// Time groups.
    pub num_time_groups: u32,
    /// Time-aware statistics.
    pub enable_time_aware: bool,
    /// Rotation.
    pub enable_spatial: bool,
    /// Path of the calibration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// Calibration rows per layer and step, at most.
    pub calibration_samples: u32,
    /// Rounding method.
    pub method: MethodChoice,
    /// No zero point.
    pub symmetric: bool,
    /// Similarity every layer must reach.
    pub min_accuracy: f64,
    /// Stop at the first failing layer.
    pub fail_fast: bool,
    /// Given by the caller; otherwise detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modality: Option<Modality>,
    /// Layout to write.
    pub layout: Layout,
    /// Names of the tensors, with layout `gguf`.
    #[serde(skip_serializing_if = "GgufNames::is_auto")]
    pub gguf_names: GgufNames,
    /// The kind of GGUF file; none: the type that each width stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gguf_type: Option<&'static str>,
    /// Element type of the `plain` layout; `None` with any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_dtype: Option<PlainDtype>,
    /// The first-block rule.
    pub protect_blocks: Protect,
    /// The share of the work that this job does; `None`: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Share>,
    /// Components to quantize; `None`: the denoiser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<String>>,
    /// Names or globs of layers to leave alone.
    pub skip_layers: Vec<String>,
    /// Names or globs with a width of their own; 16 keeps the layer as it is.
    #[serde(serialize_with = "as_record")]
    pub layer_bit_widths: Vec<(String, u8)>,
    /// What the budget of `target_model_size_mb` leaves goes to blocks at a larger width.
    pub enable_mixed_precision: bool,
    /// What the weight files of the quantized components may take together, in MB (10^6 bytes).
    pub target_model_size_mb: Option<f64>,
    /// Worker threads; 0: as many as cores.
    pub num_threads: usize,
    /// NaN and infinities.
    pub non_finite: NonFinitePolicy,
    /// Replace an existing output.
    pub overwrite: bool,
    /// Milliseconds that the job may take; `None`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Milliseconds without any progress that end the job; 0: never.
    pub stall_timeout_ms: u64,
    /// MiB that the job's buffers may take together.
    pub max_memory_limit_mb: u64,
    /// Retries of a file operation after a transient error.
    pub io_retries: u32,
    /// What computes.
    pub device: Device,
    /// Whether the CPU takes over from a device that fails.
    pub device_fallback: bool,
    /// Go on with what an interrupted job left, and leave it when this one is interrupted.
    pub resume: bool,
}

/// What computes, as the caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A GPU where there is one and it is worth it, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU, by its number.
    Cuda(u32),
}

impl Device {
    /// Reads a name: `auto`, `cpu`, `cuda` (the first), `cuda:N`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => {
                let digits = name.strip_prefix("cuda:").filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
                digits.parse().ok().map(Self::Cuda)
            }
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn as_record<S: serde::Serializer>(pairs: &[(String, u8)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(k, v)| (k, v)))
}

impl ResolvedConfig {
    /// What stands at code 0.
    pub const fn zero_kind(&self) -> ZeroKind {
        if self.symmetric { ZeroKind::None } else { ZeroKind::Float }
    }
}
