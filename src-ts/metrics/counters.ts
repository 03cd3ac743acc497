/** The counters of this process, kept by one copy of the package. Labels come from closed sets, so they cannot grow. */
import type { BitWidth } from '../config/options.js';
import type { ErrorCode, Phase } from '../errors/details.js';

/** Counts by labels. */
class LabelledCounter<L extends Readonly<Record<string, string | number>>> {
  readonly #rows = new Map<string, { readonly labels: L; count: number }>();

  add(labels: L): void {
    const key = Object.values(labels).join(' ');
    const row = this.#rows.get(key);
    if (row === undefined) this.#rows.set(key, { labels, count: 1 });
    else row.count += 1;
  }

  /** One row for each set of labels seen, sorted by them. */
  rows(): (L & { readonly count: number })[] {
    const sorted = [...this.#rows].sort(([a], [b]) => (a < b ? -1 : 1));
    return sorted.map(([, { labels, count }]) => ({ ...labels, count }));
  }
}

/** Upper bounds of the buckets, in milliseconds; the last bucket has none. */
const BOUNDS = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000] as const;

/** How many values were at most `le` milliseconds; each bucket includes the smaller ones. */
export interface HistogramBucket {
  readonly le: number | '+Inf';
  readonly count: number;
}

/** Durations in milliseconds. */
export class Histogram {
  #count = 0;
  #sum = 0;
  readonly #buckets = BOUNDS.map(() => 0);

  add(milliseconds: number): void {
    this.#count += 1;
    this.#sum += milliseconds;
    for (const [index, bound] of BOUNDS.entries()) {
      if (milliseconds <= bound) this.#buckets[index] = (this.#buckets[index] ?? 0) + 1;
    }
  }

  read(): { readonly count: number; readonly sum: number; readonly buckets: readonly HistogramBucket[] } {
    const bounded = BOUNDS.map((le, index) => ({ le, count: this.#buckets[index] ?? 0 }));
    return { count: this.#count, sum: this.#sum, buckets: [...bounded, { le: '+Inf', count: this.#count }] };
  }
}

export interface LastError {
  readonly code: ErrorCode;
  readonly phase: Phase | 'unknown';
  /** ISO 8601. */
  readonly timestamp: string;
}

export const counters = {
  jobs: { succeeded: 0, failed: 0, aborted: 0 },
  /** Jobs at work now. */
  running: 0,
  /** Jobs that settled while one of their threads was stuck. */
  abandoned: 0,
  errors: new LabelledCounter<{ readonly code: ErrorCode; readonly phase: Phase | 'unknown' }>(),
  retries: new LabelledCounter<{ readonly op: string; readonly errno: string }>(),
  degradations: new LabelledCounter<{ readonly what: string }>(),
  /** State of the circuit breaker of each device. */
  breakers: new Map<string, string>(),
  fallbacks: new LabelledCounter<{ readonly from: BitWidth; readonly to: BitWidth }>(),
  callbackErrors: 0,
  timeToFailureMs: new Map<ErrorCode, Histogram>(),
  /** Newest last. */
  lastErrors: [] as LastError[],
};
