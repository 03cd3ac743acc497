//! The codes. A code is a promise: it never changes meaning or vanishes inside a major version.

macro_rules! codes {
    ($($variant:ident => $text:literal),+ $(,)?) => {
        /// One code for each way of failing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the catalogue holds a title and a hint for each")]
        pub enum ErrorCode { $($variant),+ }

        impl ErrorCode {
            /// All codes, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as callers see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for ErrorCode {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }
    };
}

codes! {
    InvalidBitWidth => "AQ_INVALID_BIT_WIDTH",
    InvalidGroupSize => "AQ_INVALID_GROUP_SIZE",
    InvalidTimeGroups => "AQ_INVALID_TIME_GROUPS",
    InvalidAccuracy => "AQ_INVALID_ACCURACY",
    ValidationFailed => "AQ_VALIDATION_FAILED",
    ModelNotFound => "AQ_MODEL_NOT_FOUND",
    Metadata => "AQ_METADATA",
    UnknownModality => "AQ_UNKNOWN_MODALITY",
    ShapeMismatch => "AQ_SHAPE_MISMATCH",
    QuantizationFailed => "AQ_QUANTIZATION_FAILED",
    Io => "AQ_IO",
    Arrow => "AQ_ARROW",
    Parquet => "AQ_PARQUET",
    Serde => "AQ_SERDE",
    Internal => "AQ_INTERNAL",
    InvalidConfig => "AQ_INVALID_CONFIG",
    OutputExists => "AQ_OUTPUT_EXISTS",
    ResumeMismatch => "AQ_RESUME_MISMATCH",
    UnsupportedFormat => "AQ_UNSUPPORTED_FORMAT",
    UnsupportedDtype => "AQ_UNSUPPORTED_DTYPE",
    CorruptModel => "AQ_CORRUPT_MODEL",
    NonFiniteWeights => "AQ_NON_FINITE_WEIGHTS",
    OutOfDisk => "AQ_OUT_OF_DISK",
    OutOfMemory => "AQ_OUT_OF_MEMORY",
    Timeout => "AQ_TIMEOUT",
    DeviceUnavailable => "AQ_DEVICE_UNAVAILABLE",
    DeviceFailed => "AQ_DEVICE_FAILED",
    OutputBusy => "AQ_OUTPUT_BUSY",
    Aborted => "AQ_ABORTED",
    NativeLoad => "AQ_NATIVE_LOAD",
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
