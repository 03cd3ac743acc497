//! What the facade asks for, and which engine function answers.

use crate::models::keep;
use aq_core::config::{Layout, PlainDtype};
use aq_core::error::{ConfigIssue, ErrorCode};
use aq_core::{GivenConfig, Modality, Mode};
use aq_engine::calibration::{CalibrationRequest, summary};
use aq_engine::export::{ExportRequest, export};
use aq_engine::histogram::histograms;
use aq_engine::inspect::inspect;
use aq_engine::job::{MergeRequest, PlanRequest, QuantizeRequest, merge, preview, quantize};
use aq_engine::open::OpenModel;
use aq_engine::tuning::Tuning;
use aq_engine::validate::{ValidateRequest, validate};
use aq_engine::{Control, QuantError};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// One call of the facade.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the facade, which documents them")]
pub enum Request {
    QuantizeDiffusionModel {
        job_id: String,
        model_path: PathBuf,
        output_path: PathBuf,
        #[serde(default)]
        mode: Mode,
        config: Value,
    },
    Plan {
        job_id: String,
        model_path: PathBuf,
        output_path: Option<PathBuf>,
        config: Value,
    },
    WeightHistograms {
        job_id: String,
        original_path: PathBuf,
        quantized_path: PathBuf,
        layers: Vec<String>,
    },
    ValidateQuality {
        job_id: String,
        original_path: PathBuf,
        quantized_path: PathBuf,
        config: ValidateConfig,
    },
    Inspect {
        job_id: String,
        model_path: PathBuf,
        config: InspectConfig,
    },
    OpenQuantizedModel {
        job_id: String,
        model_path: PathBuf,
    },
    Merge {
        job_id: String,
        shares: Vec<PathBuf>,
        output_path: PathBuf,
        config: MergeConfig,
    },
    ExportModel {
        job_id: String,
        model_path: PathBuf,
        output_path: PathBuf,
        config: ExportConfig,
    },
    InspectCalibration {
        job_id: String,
        calibration_path: PathBuf,
        model_path: Option<PathBuf>,
        config: Value,
    },
}

/// Options of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidateConfig {
    min_accuracy: Option<f64>,
    num_threads: Option<u64>,
}

/// Options of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectConfig {
    modality: Option<Modality>,
}

/// Options of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MergeConfig {
    model_path: Option<PathBuf>,
    calibration: Option<String>,
    #[serde(default)]
    overwrite: bool,
    num_threads: Option<u64>,
}

/// Options of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportConfig {
    layout: Layout,
    plain_dtype: Option<PlainDtype>,
    #[serde(default)]
    overwrite: bool,
    num_threads: Option<u64>,
}

/// What an error's context tells of the call.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the words of the facade, which documents them")]
pub struct Call {
    pub operation: &'static str,
    pub job_id: Option<String>,
    pub model_path: Option<String>,
    pub output_path: Option<String>,
}

impl Request {
    /// Parses a request; the facade made it, so a wrong one is a defect.
    pub fn parse(text: &str) -> Result<Self, QuantError> {
        serde_json::from_str(text).map_err(|e| QuantError::Internal {
            message: format!("the facade's request is malformed: {e}"),
            location: None,
            panic: false,
        })
    }

    /// For the error's context.
    pub fn call(&self) -> Call {
        let text = |p: &PathBuf| Some(p.to_string_lossy().into_owned());
        match self {
            Self::QuantizeDiffusionModel { job_id, model_path, output_path, .. } => Call {
                operation: "quantizeDiffusionModel",
                job_id: Some(job_id.clone()),
                model_path: text(model_path),
                output_path: text(output_path),
            },
            Self::Plan { job_id, model_path, output_path, .. } => Call {
                operation: "plan",
                job_id: Some(job_id.clone()),
                model_path: text(model_path),
                output_path: output_path.as_ref().and_then(text),
            },
            Self::WeightHistograms { job_id, original_path, quantized_path, .. } => Call {
                operation: "weightHistograms",
                job_id: Some(job_id.clone()),
                model_path: text(original_path),
                output_path: text(quantized_path),
            },
            Self::ValidateQuality { job_id, original_path, quantized_path, .. } => Call {
                operation: "validateQuality",
                job_id: Some(job_id.clone()),
                model_path: text(original_path),
                output_path: text(quantized_path),
            },
            Self::OpenQuantizedModel { job_id, model_path } => {
                Call { operation: "openQuantizedModel", job_id: Some(job_id.clone()), model_path: text(model_path), output_path: None }
            }
            Self::Merge { job_id, shares, output_path, .. } => Call {
                operation: "merge",
                job_id: Some(job_id.clone()),
                model_path: shares.first().and_then(text),
                output_path: text(output_path),
            },
            Self::ExportModel { job_id, model_path, output_path, .. } => Call {
                operation: "exportModel",
                job_id: Some(job_id.clone()),
                model_path: text(model_path),
                output_path: text(output_path),
            },
            Self::InspectCalibration { job_id, model_path, .. } => Call {
                operation: "inspectCalibration",
                job_id: Some(job_id.clone()),
                model_path: model_path.as_ref().and_then(text),
                output_path: None,
            },
            Self::Inspect { job_id, model_path, .. } => {
                Call { operation: "inspect", job_id: Some(job_id.clone()), model_path: text(model_path), output_path: None }
            }
        }
    }

    /// Does the work.
    pub fn run(self, control: &Arc<Control>) -> Result<Value, QuantError> {
        match self {
            Self::QuantizeDiffusionModel { model_path, output_path, mode, config, .. } => {
                let config = GivenConfig::from_value(config).map_err(QuantError::InvalidConfig)?;
                to_value(&quantize(&QuantizeRequest { model_path, output_path, mode, config, tuning: Tuning::default() }, control)?)
            }
            Self::Plan { model_path, output_path, config, .. } => {
                let config = GivenConfig::from_value(config).map_err(QuantError::InvalidConfig)?;
                to_value(&preview(&PlanRequest { model_path, output_path, config }, control)?)
            }
            Self::WeightHistograms { original_path, quantized_path, layers, .. } => {
                to_value(&histograms(&original_path, &quantized_path, &layers, control)?)
            }
            Self::ValidateQuality { original_path, quantized_path, config, .. } => {
                let min_accuracy = config.min_accuracy;
                if min_accuracy.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
                    let value = min_accuracy.unwrap_or_default();
                    let issue = ConfigIssue::number(ErrorCode::InvalidAccuracy, "minAccuracy", "a number between 0.0 and 1.0", value);
                    return Err(QuantError::InvalidConfig(vec![issue]));
                }
                let num_threads = config.num_threads.unwrap_or(0).min(1024) as usize;
                let request = ValidateRequest { original: original_path, quantized: quantized_path, min_accuracy, num_threads };
                to_value(&validate(&request, control)?)
            }
            Self::InspectCalibration { calibration_path, model_path, config, .. } => {
                let config = GivenConfig::from_value(config).map_err(QuantError::InvalidConfig)?;
                to_value(&summary(&CalibrationRequest { calibration: calibration_path, model: model_path, config }, control)?)
            }
            Self::OpenQuantizedModel { model_path, .. } => Ok(keep(OpenModel::open(&model_path, control)?)),
            Self::Merge { shares, output_path, config, .. } => {
                let MergeConfig { model_path, calibration, overwrite, num_threads } = config;
                let num_threads = num_threads.unwrap_or(0).min(1024) as usize;
                to_value(&merge(&MergeRequest { shares, output_path, model_path, calibration, overwrite, num_threads }, control)?)
            }
            Self::ExportModel { model_path, output_path, config, .. } => {
                let ExportConfig { layout, plain_dtype, overwrite, num_threads } = config;
                let num_threads = num_threads.unwrap_or(0).min(1024) as usize;
                let request = ExportRequest { from: model_path, to: output_path, layout, plain_dtype, overwrite, num_threads };
                to_value(&export(&request, control)?)
            }
            Self::Inspect { model_path, config, .. } => to_value(&inspect(&model_path, config.modality, control)?),
        }
    }
}

fn to_value<T: serde::Serialize>(value: &T) -> Result<Value, QuantError> {
    serde_json::to_value(value).map_err(|e| QuantError::Internal {
        message: format!("a result could not be written as JSON: {e}"),
        location: None,
        panic: false,
    })
}
