/** What `diagnose` resolves with. Sizes are bytes. */
import type { LastError } from '../metrics/counters.js';

export type CheckStatus = 'ok' | 'warn' | 'fail';

/** One thing that was looked at. */
export interface StatusCheck {
  readonly name: string;
  /** `fail`: calls cannot work; `warn`: some may not. */
  readonly status: CheckStatus;
  readonly message: string;
  /** What to do; null where all is well. */
  readonly hint: string | null;
}

/** A device other than the CPU. */
export interface DeviceStatus {
  readonly id: string;
  readonly state: string;
  readonly reason: string | null;
  readonly breaker: string | null;
}

export interface Status {
  /** Of this package. */
  readonly version: string;
  readonly node: string;
  /** Operating system and processor, such as `linux-x64`. */
  readonly platform: string;
  /** The addon; `error` tells why it is not loaded. */
  readonly native: { readonly loaded: boolean; readonly version: string | null; readonly error: string | null };
  /**
   * `cores` are those this process may use at once, by its affinity and the quota of its control group: the default of
   * `numThreads`. `simd` is the instruction set the kernels use; null where the addon is not loaded.
   */
  readonly cpu: { readonly cores: number; readonly simd: string | null };
  /** `limit` is that of the container; null where there is none. */
  readonly memory: { readonly total: number; readonly available: number; readonly limit: number | null };
  /** The folder that was asked about and the space a user may fill there; null where that cannot be told. */
  readonly disk: { readonly path: string; readonly free: number } | null;
  readonly devices: readonly DeviceStatus[];
  /** Of this thread: at work now, and settled with a thread stuck in the operating system. */
  readonly jobs: { readonly running: number; readonly abandoned: number };
  /** The latest, at most 16, newest last. */
  readonly lastErrors: readonly LastError[];
  readonly checks: readonly StatusCheck[];
}
