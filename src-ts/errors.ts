/** The public face of the error layer. */
export {
  AbortError,
  type AnyArrowQuantError,
  ArrowQuantError,
  type ArrowQuantErrorOptions,
  ConfigurationError,
  isArrowQuantError,
  MetadataError,
  ModelNotFoundError,
  QuantizationError,
  ShapeMismatchError,
  ValidationError,
} from './errors/classes.js';
export type {
  ConfigIssue,
  ConfigurationErrorCode,
  ErrorCategory,
  ErrorCode,
  ErrorContext,
  ErrorDetails,
  ErrorKind,
  ErrorSeverity,
  FailedLayer,
  MetadataErrorCode,
  Phase,
  QuantizationErrorCode,
  SerializedCause,
  SerializedError,
} from './errors/details.js';
export { ERROR_CODES, type ErrorExplanation, explainError } from './errors/explain.js';
export { type ErrorHtmlOptions, renderErrorHtml } from './errors/render-html.js';
export { errorFromJSON } from './errors/revive.js';
