// Generated from the error catalogue of the core crate; do not edit.
export const ERROR_CATALOG = {
  "AQ_INVALID_BIT_WIDTH": {
    "className": "ConfigurationError",
    "title": "Unsupported bit width",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Set bitWidth to 2, 4 or 8, or let deploymentProfile choose it (edge 2, local 4, cloud 8)."
  },
  "AQ_INVALID_GROUP_SIZE": {
    "className": "ConfigurationError",
    "title": "Unsupported group size",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Small groups follow the weights more closely, large ones store fewer scales; 64 is the usual middle."
  },
  "AQ_INVALID_TIME_GROUPS": {
    "className": "ConfigurationError",
    "title": "Time groups out of range",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Time groups set how finely reports and activation tables resolve time; 10 suits most models."
  },
  "AQ_INVALID_ACCURACY": {
    "className": "ConfigurationError",
    "title": "Accuracy out of range",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "The defaults are 0.90 for INT2, 0.985 for INT4 and 0.9995 for INT8."
  },
  "AQ_VALIDATION_FAILED": {
    "className": "ValidationError",
    "title": "Quality below the threshold",
    "category": "quality",
    "severity": "medium",
    "kind": "user",
    "retryable": false,
    "hint": "raise bitWidth to 4 or 8"
  },
  "AQ_MODEL_NOT_FOUND": {
    "className": "ModelNotFoundError",
    "title": "Model not found",
    "category": "model-loading",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Check the path."
  },
  "AQ_METADATA": {
    "className": "MetadataError",
    "title": "Metadata missing or wrong",
    "category": "model-loading",
    "severity": "medium",
    "kind": "user",
    "retryable": false,
    "hint": "Give metadata.json a \"modality\" of text, code, image, audio or video, or pass the modality option."
  },
  "AQ_UNKNOWN_MODALITY": {
    "className": "MetadataError",
    "title": "Modality not recognised",
    "category": "model-loading",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Pass modality: 'text', 'code', 'image', 'audio' or 'video', or write it into metadata.json."
  },
  "AQ_SHAPE_MISMATCH": {
    "className": "ShapeMismatchError",
    "title": "Shapes do not agree",
    "category": "model-loading",
    "severity": "medium",
    "kind": "user",
    "retryable": false,
    "hint": "Both models must be the same architecture, undamaged."
  },
  "AQ_QUANTIZATION_FAILED": {
    "className": "QuantizationError",
    "title": "Quantization failed",
    "category": "quantization",
    "severity": "high",
    "kind": "permanent",
    "retryable": false,
    "hint": "check that this is a model and not only norms and biases"
  },
  "AQ_IO": {
    "className": "QuantizationError",
    "title": "File operation failed",
    "category": "file-system",
    "severity": "high",
    "kind": "system",
    "retryable": false,
    "hint": "Check permissions, free space and the path."
  },
  "AQ_ARROW": {
    "className": "QuantizationError",
    "title": "Arrow file unreadable",
    "category": "model-loading",
    "severity": "medium",
    "kind": "permanent",
    "retryable": false,
    "hint": "The file is damaged or of an incompatible schema; write it again."
  },
  "AQ_PARQUET": {
    "className": "QuantizationError",
    "title": "Parquet file unreadable",
    "category": "model-loading",
    "severity": "medium",
    "kind": "permanent",
    "retryable": false,
    "hint": "Check that the file is complete Parquet with the documented columns and schema version."
  },
  "AQ_SERDE": {
    "className": "QuantizationError",
    "title": "JSON unreadable",
    "category": "model-loading",
    "severity": "medium",
    "kind": "user",
    "retryable": false,
    "hint": "Correct the JSON there; comments and trailing commas are not allowed."
  },
  "AQ_INTERNAL": {
    "className": "QuantizationError",
    "title": "Defect in arrow-quant",
    "category": "internal",
    "severity": "critical",
    "kind": "system",
    "retryable": false,
    "hint": "This is a defect, not your input; report it with the output of `arrow-quant doctor --json`."
  },
  "AQ_INVALID_CONFIG": {
    "className": "ConfigurationError",
    "title": "Invalid options",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Correct the listed options; all are kept in error.issues."
  },
  "AQ_OUTPUT_EXISTS": {
    "className": "ConfigurationError",
    "title": "Output already exists",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "choose another outputPath"
  },
  "AQ_RESUME_MISMATCH": {
    "className": "ConfigurationError",
    "title": "Interrupted run differs",
    "category": "configuration",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "repeat the earlier settings"
  },
  "AQ_UNSUPPORTED_FORMAT": {
    "className": "MetadataError",
    "title": "Format not supported",
    "category": "model-loading",
    "severity": "medium",
    "kind": "permanent",
    "retryable": false,
    "hint": "Convert it to safetensors or GGUF first."
  },
  "AQ_UNSUPPORTED_DTYPE": {
    "className": "MetadataError",
    "title": "Number type not supported",
    "category": "model-loading",
    "severity": "medium",
    "kind": "permanent",
    "retryable": false,
    "hint": "cast it to F64, F32, F16 or BF16"
  },
  "AQ_CORRUPT_MODEL": {
    "className": "MetadataError",
    "title": "Model file damaged",
    "category": "model-loading",
    "severity": "high",
    "kind": "permanent",
    "retryable": false,
    "hint": "Fetch or export the file again; nothing was written."
  },
  "AQ_NON_FINITE_WEIGHTS": {
    "className": "QuantizationError",
    "title": "NaN or infinite weights",
    "category": "quantization",
    "severity": "high",
    "kind": "user",
    "retryable": false,
    "hint": "repair or re-export the checkpoint"
  },
  "AQ_OUT_OF_DISK": {
    "className": "QuantizationError",
    "title": "Disk full",
    "category": "system-resource",
    "severity": "high",
    "kind": "user",
    "retryable": false,
    "hint": "free space"
  },
  "AQ_OUT_OF_MEMORY": {
    "className": "QuantizationError",
    "title": "Not enough memory",
    "category": "system-resource",
    "severity": "high",
    "kind": "user",
    "retryable": false,
    "hint": "raise maxMemoryLimitMb"
  },
  "AQ_TIMEOUT": {
    "className": "QuantizationError",
    "title": "Time limit reached",
    "category": "system-resource",
    "severity": "medium",
    "kind": "transient",
    "retryable": true,
    "hint": "Raise timeoutMs."
  },
  "AQ_DEVICE_UNAVAILABLE": {
    "className": "QuantizationError",
    "title": "GPU not available",
    "category": "device",
    "severity": "medium",
    "kind": "user",
    "retryable": false,
    "hint": "use device: 'auto' or 'cpu'"
  },
  "AQ_DEVICE_FAILED": {
    "className": "QuantizationError",
    "title": "GPU failed",
    "category": "device",
    "severity": "high",
    "kind": "transient",
    "retryable": true,
    "hint": "Set deviceFallback: true to finish on the CPU."
  },
  "AQ_OUTPUT_BUSY": {
    "className": "QuantizationError",
    "title": "Output in use",
    "category": "file-system",
    "severity": "low",
    "kind": "transient",
    "retryable": true,
    "hint": "wait for that job"
  },
  "AQ_ABORTED": {
    "className": "AbortError",
    "title": "Aborted",
    "category": "cancellation",
    "severity": "low",
    "kind": "user",
    "retryable": false,
    "hint": "Nothing was left behind; call again to start over."
  },
  "AQ_NATIVE_LOAD": {
    "className": "ArrowQuantError",
    "title": "Native addon not loaded",
    "category": "internal",
    "severity": "critical",
    "kind": "system",
    "retryable": false,
    "hint": "reinstall without omitting optional dependencies"
  }
} as const;
