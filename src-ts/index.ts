/** The public exports, and nothing else. */
export { ArrowQuantV2, type ArrowQuantV2Options } from './arrow-quant-v2.js';
export { DiffusionQuantConfig } from './config/diffusion-quant-config.js';
export type {
  BitWidth,
  ConfigInput,
  DeploymentProfile,
  DiffusionQuantOptions,
  GroupSize,
  Layout,
  Method,
  Modality,
  PlainDtype,
} from './config/options.js';
export type { Weights } from './config/weights.js';
export * from './errors.js';
export { type InspectOptions, inspect } from './inspect.js';
export type { CallbackErrors, ProgressCallback, ProgressEvent } from './progress.js';
export { type QuantizeOptions, quantize } from './quantize.js';
export { type Mode, type QuantizeDiffusionModelOptions, quantizeDiffusionModel } from './quantize-diffusion-model.js';
export type * from './results.js';
export { type ValidateQualityOptions, validateQuality } from './validate-quality.js';
export { version } from './version.js';
