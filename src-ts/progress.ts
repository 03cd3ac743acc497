/**
 * The user's progress callback, kept away from the job: it may throw, reject, never return, or start another job, and
 * the job goes on. The native side sends events; the one with `final: true` is made here, after the outcome arrived.
 */
import { AsyncResource } from 'node:async_hooks';
import { describeThrown } from './errors/causes.js';
import type { Phase } from './errors/details.js';

/** What `onProgress` receives. Sizes are bytes, times milliseconds. */
export interface ProgressEvent {
  readonly phase: Phase;
  /** 0 to 1, never falling. */
  readonly fraction: number;
  readonly layersDone: number;
  readonly layersTotal: number;
  /** The layer at hand, or null. */
  readonly layer: string | null;
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly elapsedMs: number;
  /** null until there is something to estimate from. */
  readonly etaMs: number | null;
  readonly retries: number;
  readonly degradations: number;
  readonly message: string;
  /** True for exactly one event of a job, the last. */
  readonly final: boolean;
}

/** A returned promise is not awaited; a throw or rejection is counted in the report and never breaks the job. */
export type ProgressCallback = (event: ProgressEvent) => unknown;

/** Failures of the callback during one job. */
export interface CallbackErrors {
  readonly count: number;
  readonly first: { readonly name: string; readonly message: string } | null;
}

/** Told of each failure of the callback; `late` where the job had settled before. */
export type CallbackFailureListener = (failure: NonNullable<CallbackErrors['first']>, late: boolean) => void;

const START: ProgressEvent = {
  phase: 'config',
  fraction: 0,
  layersDone: 0,
  layersTotal: 0,
  layer: null,
  bytesDone: 0,
  bytesTotal: 0,
  elapsedMs: 0,
  etaMs: null,
  retries: 0,
  degradations: 0,
  message: '',
  final: false,
};

/** Delivers the events of one job to one callback. */
export class ProgressGuard {
  readonly #deliver: ((event: ProgressEvent) => unknown) | undefined;
  readonly #startedAt: number;
  readonly #onFailure: CallbackFailureListener | undefined;
  #last = START;
  #finished = false;
  #settled = false;
  #count = 0;
  #first: CallbackErrors['first'] = null;

  /** Made in the caller's async context, which the callback then runs in. */
  constructor(callback: ProgressCallback | undefined, startedAt: number, onFailure?: CallbackFailureListener) {
    this.#startedAt = startedAt;
    this.#onFailure = onFailure;
    this.#deliver =
      callback === undefined
        ? undefined
        : AsyncResource.bind((event: ProgressEvent) => callback(event), 'arrow-quant.progress');
  }

  /** Takes the JSON of a native event. Late and malformed ones are dropped. */
  receive(json: unknown): void {
    if (this.#finished || this.#deliver === undefined) return;
    const event = parseEvent(json);
    if (event === undefined) return;
    const fraction = Math.max(this.#last.fraction, Math.min(1, Math.max(0, event.fraction)));
    this.#last = { ...START, ...event, fraction, final: false };
    this.#call(this.#last);
  }

  /** Sends the one final event and lets rejections that are already there be counted. */
  async finish(succeeded: boolean): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    if (this.#deliver !== undefined) {
      const elapsedMs = Math.round(performance.now() - this.#startedAt);
      const { layersTotal, bytesTotal } = this.#last;
      const end: Partial<ProgressEvent> = succeeded
        ? { fraction: 1, layersDone: layersTotal, bytesDone: bytesTotal, etaMs: 0, message: 'done' }
        : { etaMs: null, message: 'stopped' };
      this.#call({ ...this.#last, ...end, elapsedMs, final: true });
      // The callback's own rejection and that of a thenable it returned arrive within a few microtasks. Timers would
      // wait for ever where a test of the user has replaced them.
      for (let turn = 0; turn < 5; turn += 1) await undefined;
    }
    this.#settled = true;
  }

  get errors(): CallbackErrors {
    return { count: this.#count, first: this.#first };
  }

  #call(event: ProgressEvent): void {
    try {
      const returned = this.#deliver?.(Object.freeze(event));
      if (typeof returned === 'object' && returned !== null) {
        Promise.resolve(returned).then(undefined, (reason: unknown) => this.#failed(reason));
      }
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  #failed(thrown: unknown): void {
    const failure = describeThrown(thrown);
    this.#onFailure?.(failure, this.#settled);
    if (this.#settled) return;
    this.#count += 1;
    if (this.#count > 1) return;
    this.#first = failure;
    const { name, message } = failure;
    process.emitWarning(`onProgress failed and is called again: ${name}: ${message}`, {
      type: 'ArrowQuantWarning',
      code: 'AQ_WARN_CALLBACK',
    });
  }
}

function parseEvent(json: unknown): ProgressEvent | undefined {
  if (typeof json !== 'string') return undefined;
  try {
    const event = JSON.parse(json) as Partial<ProgressEvent> | null;
    return typeof event?.phase === 'string' && typeof event.fraction === 'number'
      ? (event as ProgressEvent)
      : undefined;
  } catch {
    return undefined;
  }
}
