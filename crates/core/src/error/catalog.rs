//! One row per code: class, title, classification, and the hint when a case gives none of its own.

use super::code::ErrorCode;
use serde::Serialize;

/// The JavaScript class an error becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the classes")]
pub enum Class {
    QuantizationError,
    ConfigurationError,
    ValidationError,
    ModelNotFoundError,
    MetadataError,
    ShapeMismatchError,
    AbortError,
    ArrowQuantError,
}

/// What part of the work an error belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Category {
    Configuration,
    ModelLoading,
    Quality,
    Quantization,
    FileSystem,
    SystemResource,
    Device,
    Cancellation,
    Internal,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// Who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Change the call or the files.
    User,
    /// The same call may succeed later.
    Transient,
    /// This input can never work.
    Permanent,
    /// A defect or a broken machine.
    System,
}

/// The catalogue row of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Class in JavaScript.
    #[serde(rename = "className")]
    pub class: Class,
    /// At most 32 characters.
    pub title: &'static str,
    /// Part of the work.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Who can act; a case may differ (I/O by errno).
    pub kind: Kind,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// What to do, when the case has no better advice.
    pub hint: &'static str,
}

impl ErrorCode {
    /// The catalogue row.
    #[expect(clippy::too_many_lines, reason = "a table: one arm per code")]
    pub const fn row(self) -> Row {
        use Category as G;
        use Class as C;
        use Kind as K;
        use Severity as S;
        let (class, title, category, severity, kind, hint) = match self {
            Self::InvalidBitWidth => (
                C::ConfigurationError,
                "Unsupported bit width",
                G::Configuration,
                S::Low,
                K::User,
                "Set bitWidth to 2, 4 or 8, or let deploymentProfile choose it (edge 2, local 4, cloud 8).",
            ),
            Self::InvalidGroupSize => (
                C::ConfigurationError,
                "Unsupported group size",
                G::Configuration,
                S::Low,
                K::User,
                "Small groups follow the weights more closely, large ones store fewer scales; 64 is the usual middle.",
            ),
            Self::InvalidTimeGroups => (
                C::ConfigurationError,
                "Time groups out of range",
                G::Configuration,
                S::Low,
                K::User,
                "Time groups set how finely reports and activation tables resolve time; 10 suits most models.",
            ),
            Self::InvalidAccuracy => (
                C::ConfigurationError,
                "Accuracy out of range",
                G::Configuration,
                S::Low,
                K::User,
                "The defaults are 0.90 for INT2, 0.985 for INT4 and 0.9995 for INT8.",
            ),
            Self::ValidationFailed => {
                (C::ValidationError, "Quality below the threshold", G::Quality, S::Medium, K::User, "raise bitWidth to 4 or 8")
            }
            Self::ModelNotFound => (C::ModelNotFoundError, "Model not found", G::ModelLoading, S::Low, K::User, "Check the path."),
            Self::Metadata => (
                C::MetadataError,
                "Metadata missing or wrong",
                G::ModelLoading,
                S::Medium,
                K::User,
                "Give metadata.json a \"modality\" of text, code, image, audio or video, or pass the modality option.",
            ),
            Self::UnknownModality => (
                C::MetadataError,
                "Modality not recognised",
                G::ModelLoading,
                S::Low,
                K::User,
                "Pass modality: 'text', 'code', 'image', 'audio' or 'video', or write it into metadata.json.",
            ),
            Self::ShapeMismatch => (
                C::ShapeMismatchError,
                "Shapes do not agree",
                G::ModelLoading,
                S::Medium,
                K::User,
                "Both models must be the same architecture, undamaged.",
            ),
            Self::QuantizationFailed => (
                C::QuantizationError,
                "Quantization failed",
                G::Quantization,
                S::High,
                K::Permanent,
                "check that this is a model and not only norms and biases",
            ),
            Self::Io => (
                C::QuantizationError,
                "File operation failed",
                G::FileSystem,
                S::High,
                K::System,
                "Check permissions, free space and the path.",
            ),
            Self::Arrow => (
                C::QuantizationError,
                "Arrow file unreadable",
                G::ModelLoading,
                S::Medium,
                K::Permanent,
                "The file is damaged or of an incompatible schema; write it again.",
            ),
            Self::Parquet => (
                C::QuantizationError,
                "Parquet file unreadable",
                G::ModelLoading,
                S::Medium,
                K::Permanent,
                "Check that the file is complete Parquet with the documented columns and schema version.",
            ),
            Self::Serde => (
                C::QuantizationError,
                "JSON unreadable",
                G::ModelLoading,
                S::Medium,
                K::User,
                "Correct the JSON there; comments and trailing commas are not allowed.",
            ),
            Self::Internal => (
                C::QuantizationError,
                "Defect in arrow-quant",
                G::Internal,
                S::Critical,
                K::System,
                "This is a defect, not your input; report it with the output of `arrow-quant doctor --json`.",
            ),
            Self::InvalidConfig => (
                C::ConfigurationError,
                "Invalid options",
                G::Configuration,
                S::Low,
                K::User,
                "Correct the listed options; all are kept in error.issues.",
            ),
            Self::OutputExists => {
                (C::ConfigurationError, "Output already exists", G::Configuration, S::Low, K::User, "choose another outputPath")
            }
            Self::ResumeMismatch => {
                (C::ConfigurationError, "Interrupted run differs", G::Configuration, S::Low, K::User, "repeat the earlier settings")
            }
            Self::UnsupportedFormat => (
                C::MetadataError,
                "Format not supported",
                G::ModelLoading,
                S::Medium,
                K::Permanent,
                "Convert it to safetensors or GGUF first.",
            ),
            Self::UnsupportedDtype => (
                C::MetadataError,
                "Number type not supported",
                G::ModelLoading,
                S::Medium,
                K::Permanent,
                "cast it to F64, F32, F16 or BF16",
            ),
            Self::CorruptModel => (
                C::MetadataError,
                "Model file damaged",
                G::ModelLoading,
                S::High,
                K::Permanent,
                "Fetch or export the file again; nothing was written.",
            ),
            Self::NonFiniteWeights => {
                (C::QuantizationError, "NaN or infinite weights", G::Quantization, S::High, K::User, "repair or re-export the checkpoint")
            }
            Self::OutOfDisk => (C::QuantizationError, "Disk full", G::SystemResource, S::High, K::User, "free space"),
            Self::OutOfMemory => (C::QuantizationError, "Not enough memory", G::SystemResource, S::High, K::User, "raise maxMemoryLimitMb"),
            Self::Timeout => (C::QuantizationError, "Time limit reached", G::SystemResource, S::Medium, K::Transient, "Raise timeoutMs."),
            Self::DeviceUnavailable => {
                (C::QuantizationError, "GPU not available", G::Device, S::Medium, K::User, "use device: 'auto' or 'cpu'")
            }
            Self::DeviceFailed => {
                (C::QuantizationError, "GPU failed", G::Device, S::High, K::Transient, "Set deviceFallback: true to finish on the CPU.")
            }
            Self::OutputBusy => (C::QuantizationError, "Output in use", G::FileSystem, S::Low, K::Transient, "wait for that job"),
            Self::Aborted => {
                (C::AbortError, "Aborted", G::Cancellation, S::Low, K::User, "Nothing was left behind; call again to start over.")
            }
            Self::NativeLoad => (
                C::ArrowQuantError,
                "Native addon not loaded",
                G::Internal,
                S::Critical,
                K::System,
                "reinstall without omitting optional dependencies",
            ),
        };
        Row { class, title, category, severity, kind, retryable: matches!(kind, K::Transient), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn codes_round_trip_and_titles_are_short() {
        assert_eq!(ErrorCode::ALL.len(), 30);
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_str(code.as_str()), Ok(code));
            assert!(code.row().title.len() <= 32 && !code.row().hint.is_empty(), "{code}");
        }
    }
}
