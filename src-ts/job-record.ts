/** What is told about one job while it runs and when it ends: events for subscribers and the counters. */
import { type ArrowQuantError, isArrowQuantError } from './errors/classes.js';
import type { CallInfo } from './errors/create.js';
import { publish } from './events.js';
import { counters } from './metrics/counters.js';
import { recordFailure } from './metrics/record.js';
import type { LayerResult, ReportWarning } from './results.js';

/** The parts of a report that become events. Reports of other operations and partial ones lack some. */
interface ReportParts {
  readonly layers?: readonly Partial<LayerResult>[];
  readonly warnings?: readonly ReportWarning[];
  readonly resolvedConfig?: { readonly minAccuracy?: number };
}

export class JobRecord {
  readonly #call: CallInfo;
  readonly #jobId: string | null;

  constructor(call: CallInfo) {
    this.#call = call;
    this.#jobId = call.jobId ?? null;
    counters.running += 1;
    const { operation, modelPath = null, outputPath = null } = call;
    publish('job.start', this.#jobId, () => ({ operation, modelPath, outputPath }));
  }

  /** A late failure, after the job settled, is published and not counted. */
  callbackFailed(failure: { readonly name: string; readonly message: string }, late: boolean): void {
    if (!late) counters.callbackErrors += 1;
    publish('callback-error', this.#jobId, () => ({ ...failure, late }));
  }

  succeeded(report: object): void {
    counters.running -= 1;
    counters.jobs.succeeded += 1;
    this.#tellReport(report);
    publish('job.end', this.#jobId, () => ({ ...this.#times(), report }));
  }

  failed(error: unknown): void {
    counters.running -= 1;
    counters.jobs[isArrowQuantError(error, 'AQ_ABORTED') ? 'aborted' : 'failed'] += 1;
    recordFailure(error, this.#call.startedAt);
    if (isArrowQuantError(error) && error.report !== undefined) this.#tellReport(error.report);
    publish('job.error', this.#jobId, () => ({ ...this.#times(), error: error as ArrowQuantError }));
  }

  #tellReport(report: ReportParts): void {
    const threshold = report.resolvedConfig?.minAccuracy ?? null;
    for (const { name = '', outcome, fallback, attempts } of listOf(report.layers)) {
      if (outcome !== 'raised' || fallback === undefined) continue;
      const { from, to } = fallback;
      counters.fallbacks.add({ from, to });
      const similarity = attempts?.find(({ bitWidth }) => bitWidth === from)?.similarity ?? null;
      publish('fallback', this.#jobId, () => ({ layer: name, from, to, similarity, threshold }));
    }
    for (const { code, message, details } of listOf(report.warnings)) {
      publish('warning', this.#jobId, () => ({ code, message, details }));
    }
  }

  #times(): { readonly operation: string; readonly elapsedMs: number } {
    const { operation, startedAt } = this.#call;
    return { operation, elapsedMs: Math.max(0, Math.round(performance.now() - startedAt)) };
  }
}

function listOf<T>(value: readonly T[] | undefined): readonly T[] {
  return Array.isArray(value) ? value : [];
}
