/**
 * Events on `node:diagnostics_channel`, for applications that log or trace. Nobody subscribed costs one comparison:
 * the payload is a function and is not called.
 */
import { channel } from 'node:diagnostics_channel';
import type { BitWidth } from './config/options.js';
import type { ArrowQuantError } from './errors/classes.js';

/** What each event holds besides `jobId` and `timestamp`. Channels are named `arrow-quant:` and the event. */
export interface DiagnosticEvents {
  'job.start': { readonly operation: string; readonly modelPath: string | null; readonly outputPath: string | null };
  /** `report` is what the call resolves with; `elapsedMs` counts from the call. */
  'job.end': { readonly operation: string; readonly elapsedMs: number; readonly report: object };
  'job.error': { readonly operation: string; readonly elapsedMs: number; readonly error: ArrowQuantError };
  /** A file operation is repeated after `delayMs`; `attempt` is the try that failed, from 1. */
  retry: {
    readonly op: string;
    readonly path: string;
    readonly errno: string;
    readonly attempt: number;
    readonly delayMs: number;
  };
  /** The job goes on with less; the output stays the same. */
  degrade: {
    readonly what: 'memory' | 'device';
    readonly from: string;
    readonly to: string;
    readonly reason: string;
  };
  /** The circuit breaker of a device changed; `openMs` is how long the device is left alone. */
  breaker: {
    readonly device: string;
    readonly from: string;
    readonly to: string;
    readonly openMs: number | null;
  };
  /** A layer was stored wider than planned: its `similarity` at the width `from` lay below `threshold`. */
  fallback: {
    readonly layer: string;
    readonly from: BitWidth;
    readonly to: BitWidth;
    readonly similarity: number | null;
    readonly threshold: number | null;
  };
  warning: { readonly code: string; readonly message: string; readonly details: unknown };
  /** `onProgress` threw or rejected; `late` where the job had settled before. */
  'callback-error': { readonly name: string; readonly message: string; readonly late: boolean };
}

export type DiagnosticEventName = keyof DiagnosticEvents;

/** A message of a channel; `timestamp` in ISO 8601. */
export type DiagnosticEvent<E extends DiagnosticEventName> = DiagnosticEvents[E] & {
  readonly jobId: string | null;
  readonly timestamp: string;
};

const CHANNELS = {
  'job.start': channel('arrow-quant:job.start'),
  'job.end': channel('arrow-quant:job.end'),
  'job.error': channel('arrow-quant:job.error'),
  retry: channel('arrow-quant:retry'),
  degrade: channel('arrow-quant:degrade'),
  breaker: channel('arrow-quant:breaker'),
  fallback: channel('arrow-quant:fallback'),
  warning: channel('arrow-quant:warning'),
  'callback-error': channel('arrow-quant:callback-error'),
} as const satisfies Record<DiagnosticEventName, unknown>;

/** Publishes an event where somebody listens. What a subscriber throws surfaces as Node defines, not here. */
export function publish<E extends DiagnosticEventName>(
  name: E,
  jobId: string | null,
  payload: () => DiagnosticEvents[E],
): void {
  const target = CHANNELS[name];
  if (!target.hasSubscribers) return;
  target.publish({ jobId, timestamp: new Date().toISOString(), ...payload() });
}
