/** What is told about one job while it runs and when it ends: events for subscribers and the counters. */
import { type ArrowQuantError, isArrowQuantError } from './errors/classes.js';
import type { CallInfo } from './errors/create.js';
import { publish } from './events.js';
import { counters } from './metrics/counters.js';
import { countNotice, recordFailure } from './metrics/record.js';
import type { ReportWarning } from './results.js';

/** The parts of a report that become events. Reports of other operations and partial ones lack some. */
interface ReportParts {
  readonly warnings?: readonly ReportWarning[];
}

/** What the addon tells while a job runs, numbered from 1. */
interface Notice {
  readonly seq: number;
  readonly event: 'retry' | 'degrade' | 'breaker' | 'fallback';
}

export class JobRecord {
  readonly #call: CallInfo;
  readonly #jobId: string | null;
  /** Number of the last notice told. */
  #told = 0;

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

  /** Takes an event of the addon that is a notice; false for any other. */
  receive(json: string): boolean {
    // Notices begin with their number; progress, of which there is more, is not parsed here.
    if (!json.startsWith('{"seq":')) return false;
    this.#notice(JSON.parse(json));
    return true;
  }

  /** Takes all notices of the job again: those that had not come live are told now. */
  rest(notices: readonly unknown[]): void {
    for (const notice of notices) this.#notice(notice as Notice);
  }

  #notice({ seq, event, ...payload }: Notice): void {
    if (seq <= this.#told) return;
    this.#told = seq;
    countNotice(event, payload);
    publish(event, this.#jobId, () => payload as never);
  }

  #tellReport(report: ReportParts): void {
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
