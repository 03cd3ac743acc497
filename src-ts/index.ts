/** The public exports, and nothing else. */
export { ArrowQuantV2, type ArrowQuantV2Options } from './arrow-quant-v2.js';
export { type CompareOptions, compare } from './compare.js';
export { DiffusionQuantConfig } from './config/diffusion-quant-config.js';
export type {
  BitWidth,
  ConfigInput,
  DeploymentProfile,
  DiffusionQuantOptions,
  GgufNames,
  GgufType,
  GroupSize,
  Layout,
  LogLevel,
  Method,
  Modality,
  PlainDtype,
} from './config/options.js';
export type { Weights } from './config/weights.js';
export { type DiagnoseOptions, diagnose } from './diagnose/diagnose.js';
export type { CheckStatus, DeviceStatus, Status, StatusCheck } from './diagnose/status.js';
export * from './errors.js';
export type { DiagnosticEvent, DiagnosticEventName, DiagnosticEvents } from './events.js';
export { type ExportModelOptions, exportModel } from './export-model.js';
export { version } from './generated/version.js';
export { type InspectOptions, inspect } from './inspect.js';
export { type InspectCalibrationOptions, inspectCalibration } from './inspect-calibration.js';
export { setLogLevel } from './log-level.js';
export { type MergeOptions, type MergeResult, merge } from './merge.js';
export type { HistogramBucket, LastError } from './metrics/counters.js';
export { type ErrorMetrics, errorMetrics } from './metrics/error-metrics.js';
export {
  instrument,
  type MeterLike,
  type ObservableLike,
  type ObservableResultLike,
} from './metrics/instrument.js';
export {
  type OpenOptions,
  openQuantizedModel,
  QuantizedModel,
  type RowRange,
} from './open-quantized-model.js';
export { type PlanOptions, plan } from './plan.js';
export type * from './plan-report.js';
export type { CallbackErrors, ProgressCallback, ProgressEvent } from './progress.js';
export { type QuantizeOptions, quantize } from './quantize.js';
export { type Mode, type QuantizeDiffusionModelOptions, quantizeDiffusionModel } from './quantize-diffusion-model.js';
export {
  type JobOutcome,
  type ListProgressEvent,
  type QuantizeManyJob,
  type QuantizeManyOptions,
  quantizeMany,
} from './quantize-many.js';
export type * from './results.js';
export { type ValidateQualityOptions, validateQuality } from './validate-quality.js';
