/** The counters as a snapshot. */
import type { BitWidth } from '../config/options.js';
import type { ErrorCode, Phase } from '../errors/details.js';
import { counters, type HistogramBucket } from './counters.js';

/** Counts since the package was loaded. No path, layer name or message is in it. */
export interface ErrorMetrics {
  /** Jobs on disk by outcome; calls that were refused before there was a job are only in `errors`. */
  readonly jobs: { readonly succeeded: number; readonly failed: number; readonly aborted: number };
  /** What calls rejected with, and the failures of single items. Each error counts once. */
  readonly errors: readonly { readonly code: ErrorCode; readonly phase: Phase | 'unknown'; readonly count: number }[];
  /** Repeated file operations. */
  readonly retries: readonly { readonly op: string; readonly errno: string; readonly count: number }[];
  /** Steps down in memory or device. */
  readonly degradations: readonly { readonly what: string; readonly count: number }[];
  /** Circuit breakers that ever changed, as they are now. */
  readonly breakers: readonly { readonly device: string; readonly state: string }[];
  /** Layers stored wider than planned. */
  readonly fallbacks: readonly { readonly from: BitWidth; readonly to: BitWidth; readonly count: number }[];
  /** Throws and rejections of `onProgress`. */
  readonly callbackErrors: number;
  /** From the call to the failure, in milliseconds, by code. */
  readonly timeToFailureMs: readonly {
    readonly code: ErrorCode;
    readonly count: number;
    readonly sum: number;
    readonly buckets: readonly HistogramBucket[];
  }[];
}

/**
 * What failed in this process so far: a snapshot that later failures do not change.
 *
 * Each worker thread, and each copy of the package, counts for itself. Throwing constructors are not counted.
 */
export function errorMetrics(): ErrorMetrics {
  const times = [...counters.timeToFailureMs].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    jobs: { ...counters.jobs },
    errors: counters.errors.rows(),
    retries: counters.retries.rows(),
    degradations: counters.degradations.rows(),
    breakers: [...counters.breakers].sort().map(([device, state]) => ({ device, state })),
    fallbacks: counters.fallbacks.rows(),
    callbackErrors: counters.callbackErrors,
    timeToFailureMs: times.map(([code, histogram]) => ({ code, ...histogram.read() })),
  };
}
