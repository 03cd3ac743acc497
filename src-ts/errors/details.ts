/**
 * The data of errors: code unions, details of each code, context, and the form in which an error is serialised.
 * Types only, so that every other file may import it without a cycle.
 */

export type ErrorKind = 'user' | 'transient' | 'permanent' | 'system';
export type ErrorSeverity = 'low' | 'medium' | 'high' | 'critical';
export type ErrorCategory =
  | 'configuration'
  | 'model-loading'
  | 'quality'
  | 'quantization'
  | 'file-system'
  | 'system-resource'
  | 'device'
  | 'cancellation'
  | 'internal';
/** Where in a job something happened. */
export type Phase = 'config' | 'open' | 'plan' | 'calibrate' | 'quantize' | 'validate' | 'commit';

export type ConfigurationErrorCode =
  | 'AQ_INVALID_BIT_WIDTH'
  | 'AQ_INVALID_GROUP_SIZE'
  | 'AQ_INVALID_TIME_GROUPS'
  | 'AQ_INVALID_ACCURACY'
  | 'AQ_INVALID_CONFIG'
  | 'AQ_OUTPUT_EXISTS'
  | 'AQ_RESUME_MISMATCH';
export type MetadataErrorCode =
  | 'AQ_METADATA'
  | 'AQ_UNKNOWN_MODALITY'
  | 'AQ_UNSUPPORTED_FORMAT'
  | 'AQ_UNSUPPORTED_DTYPE'
  | 'AQ_CORRUPT_MODEL';
export type QuantizationErrorCode =
  | 'AQ_QUANTIZATION_FAILED'
  | 'AQ_NON_FINITE_WEIGHTS'
  | 'AQ_IO'
  | 'AQ_ARROW'
  | 'AQ_PARQUET'
  | 'AQ_SERDE'
  | 'AQ_OUT_OF_DISK'
  | 'AQ_OUT_OF_MEMORY'
  | 'AQ_TIMEOUT'
  | 'AQ_DEVICE_UNAVAILABLE'
  | 'AQ_DEVICE_FAILED'
  | 'AQ_OUTPUT_BUSY'
  | 'AQ_INTERNAL';
/** Every code there is. A code never changes its meaning inside a major version. */
export type ErrorCode = keyof ErrorDetails;

type Text = string | null;
interface At {
  readonly path: string;
}
interface Issues {
  /** 1 to 50 of them; the message tells the full number. */
  readonly issues: readonly ConfigIssue[];
}
/** One thing wrong with one option. */
export interface ConfigIssue extends At {
  readonly expected: string;
  readonly received: string;
  readonly message: string;
  readonly code: ConfigurationErrorCode;
  readonly source: 'option' | 'cli' | 'env' | 'file' | 'journal';
}
export interface FailedLayer {
  readonly layer: string;
  readonly attempts: readonly { readonly bitWidth: 2 | 4 | 8; readonly similarity: number }[];
}

/** The data of each code. `ErrorCode` is derived from it, so a code without data does not compile. */
export interface ErrorDetails {
  AQ_INVALID_BIT_WIDTH: Issues;
  AQ_INVALID_GROUP_SIZE: Issues;
  AQ_INVALID_TIME_GROUPS: Issues;
  AQ_INVALID_ACCURACY: Issues;
  AQ_INVALID_CONFIG: Issues;
  AQ_OUTPUT_EXISTS: Issues & At;
  AQ_RESUME_MISMATCH: Issues & At;
  AQ_VALIDATION_FAILED: {
    readonly similarity: number;
    readonly threshold: number;
    readonly layer: string;
    readonly bitWidth: 2 | 4 | 8;
    readonly measure: 'weights' | 'output';
    readonly timeGroup: number | null;
    readonly meanSimilarity: number;
    readonly failed: readonly FailedLayer[];
    readonly failedCount: number;
    readonly layerCount: number;
  };
  AQ_MODEL_NOT_FOUND: At & { readonly what: 'model' | 'weights' | 'shard' | 'share'; readonly referencedBy: Text };
  AQ_METADATA: At & {
    readonly field: Text;
    readonly problem: 'missing' | 'field-missing' | 'field-type' | 'contradiction' | 'outside' | 'version';
  };
  AQ_UNKNOWN_MODALITY: At & { readonly value: Text; readonly lookedAt: readonly string[] };
  AQ_SHAPE_MISMATCH: {
    readonly subject: 'model' | 'calibration' | 'buffer';
    readonly name: string;
    readonly expected: readonly number[];
    readonly actual: readonly number[];
  };
  AQ_QUANTIZATION_FAILED: At & {
    readonly layer: Text;
    readonly reason:
      | 'nothing-to-quantize'
      | 'bad-calibration'
      | 'target-unreachable'
      | 'scale-overflow'
      | 'name-collision'
      | 'not-quantized'
      | 'would-round'
      | 'not-carried'
      | 'already-quantized';
  };
  AQ_IO: At & { readonly op: string; readonly errno: string; readonly attempts: number };
  AQ_ARROW: At;
  AQ_PARQUET: At;
  AQ_SERDE: At & { readonly line: number; readonly column: number };
  AQ_INTERNAL: { readonly location: Text; readonly panic: boolean };
  AQ_UNSUPPORTED_FORMAT: At & { readonly detected: string };
  AQ_UNSUPPORTED_DTYPE: At & { readonly tensor: string; readonly dtype: string };
  AQ_CORRUPT_MODEL: At & {
    readonly tensor: Text;
    readonly offset: number | null;
    readonly defect: string;
    readonly declared: Text;
    readonly limit: Text;
  };
  AQ_NON_FINITE_WEIGHTS: At & {
    readonly tensor: string;
    readonly index: readonly number[];
    readonly value: 'NaN' | 'Infinity' | '-Infinity';
    readonly count: number;
  };
  AQ_OUT_OF_DISK: At & { readonly required: number; readonly available: number | null; readonly errno: Text };
  AQ_OUT_OF_MEMORY: {
    readonly pool: 'host' | 'device';
    readonly cause: 'budget' | 'refused';
    readonly requested: number;
    readonly limit: number;
    readonly tensor: Text;
  };
  AQ_TIMEOUT: {
    readonly clock: 'total' | 'stall';
    readonly limitMs: number;
    readonly elapsedMs: number;
    readonly phase: Phase;
    readonly abandoned: boolean;
  };
  AQ_DEVICE_UNAVAILABLE: { readonly device: string; readonly reason: string };
  AQ_DEVICE_FAILED: {
    readonly device: string;
    readonly op: string;
    readonly status: Text;
    readonly sticky: boolean;
  };
  AQ_OUTPUT_BUSY: At & { readonly pid: number | null };
  AQ_ABORTED: { readonly phase: Phase; readonly staged: 'nothing' | 'journal'; readonly abandoned: boolean };
  AQ_NATIVE_LOAD: { readonly platform: string; readonly arch: string; readonly tried: readonly string[] };
}

/** Where and when an error happened; the same for every code. */
export interface ErrorContext {
  readonly operation: string;
  readonly phase: Phase;
  readonly jobId: Text;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  readonly elapsedMs: number;
  readonly modelPath: Text;
  readonly outputPath: Text;
  readonly file: Text;
  readonly offset: number | null;
  readonly layer: Text;
  readonly device: Text;
  readonly attempt: number;
}

export interface SerializedCause {
  readonly name: string;
  readonly message: string;
  readonly code: Text;
}

/** What `toJSON()` gives and `errorFromJSON()` takes. */
export interface SerializedError<C extends ErrorCode = ErrorCode> {
  readonly v: 1;
  readonly name: string;
  readonly code: C;
  readonly title: string;
  readonly message: string;
  readonly hint: string;
  readonly suggestions: readonly string[];
  readonly category: ErrorCategory;
  readonly severity: ErrorSeverity;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  /** Milliseconds to wait before the same call may succeed, or null where nothing is known. */
  readonly retryAfterMs: number | null;
  readonly details: ErrorDetails[C];
  readonly context: ErrorContext;
  readonly causes: readonly SerializedCause[];
}
