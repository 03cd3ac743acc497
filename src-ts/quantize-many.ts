/** Quantizing a list of models on disk, one after the other. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { IssueList } from './config/issues.js';
import { Place } from './config/place.js';
import { isArray, readArray } from './config/read-record.js';
import { ScopedIssues } from './config/scoped-issues.js';
import { beginCall } from './errors/call-site.js';
import { type AnyArrowQuantError, isArrowQuantError } from './errors/classes.js';
import type { CallInfo } from './errors/create.js';
import { recorded } from './metrics/record.js';
import type { ProgressEvent } from './progress.js';
import {
  checkPaths,
  type PreparedJob,
  type QuantizeDiffusionModelOptions,
  readJob,
  runPrepared,
} from './quantize-diffusion-model.js';
import type { QuantizationResult } from './results.js';

/** One job of a list: the options of `quantizeDiffusionModel`; callback and signal belong to the list. */
export type QuantizeManyJob = Omit<QuantizeDiffusionModelOptions, 'onProgress' | 'signal'>;

/** A progress event of one job, with its place in the list. */
export interface ListProgressEvent extends ProgressEvent {
  /** Index of the job, from 0. */
  readonly job: number;
  /** Number of jobs. */
  readonly jobs: number;
}

export interface QuantizeManyOptions {
  /** As for a single job; exactly one event of each job has `final: true`. */
  readonly onProgress?: ((event: ListProgressEvent) => unknown) | undefined;
  /** Ends the job at hand and the list. */
  readonly signal?: AbortSignal | undefined;
}

/** What became of one job. */
export type JobOutcome =
  | { readonly ok: true; readonly report: QuantizationResult }
  | { readonly ok: false; readonly error: AnyArrowQuantError };

const MAX_JOBS = 10_000;
const MEMBERS = ['modelPath', 'outputPath', 'config'];

/**
 * Quantizes models one after the other. A job that fails does not stop the others: its error is its outcome.
 *
 * The whole list is checked before the first job starts. Rejects only for a bad list and for an abort; the outcomes
 * up to an abort are in `error.report.jobs`.
 *
 * @param list - at most 10,000 jobs; an empty list gives an empty answer
 * @returns one outcome for each job, in the order of the list
 * @throws ConfigurationError that names every problem of every job (`[2].config.bitWidth`), AbortError
 *
 * @example
 * const outcomes = await quantizeMany([
 *   { modelPath: './a', outputPath: './a-int4' },
 *   { modelPath: './b', outputPath: './b-int8', config: { bitWidth: 8 } },
 * ]);
 * const failed = outcomes.filter(({ ok }) => !ok);
 */
export async function quantizeMany(
  list: readonly QuantizeManyJob[],
  options?: QuantizeManyOptions,
): Promise<JobOutcome[]> {
  const call = beginCall('quantizeMany', quantizeMany);
  return recorded(call, () => runList(list, options, call));
}

async function runList(list: unknown, options: unknown, call: CallInfo): Promise<JobOutcome[]> {
  const issues = new IssueList();
  const { onProgress, signal } = readCallOptions(options, [], ['onProgress', 'signal'], issues);
  const jobs = await readList(list, issues);
  issues.throwIfAny(call);

  const outcomes: JobOutcome[] = [];
  for (const [job, prepared] of jobs.entries()) {
    // A job's times count from its own start.
    const { modelPath = null, outputPath = null } = prepared;
    const own: CallInfo = { ...call, startedAt: performance.now(), modelPath, outputPath };
    const tell = onProgress && ((event: ProgressEvent) => onProgress(placed(event, job, jobs.length)));
    try {
      throwIfAborted(signal, own);
      outcomes.push({ ok: true, report: await runPrepared(prepared, own, { onProgress: tell, signal }) });
    } catch (error) {
      if (!isArrowQuantError(error)) throw error;
      if (error.code === 'AQ_ABORTED') throw withOutcomes(error, outcomes);
      outcomes.push({ ok: false, error });
    }
  }
  return outcomes;
}

async function readList(list: unknown, issues: IssueList): Promise<PreparedJob[]> {
  const hint = 'Pass an array of jobs such as [{ modelPath, outputPath }].';
  const place = new Place(issues, 'list', 'option', hint);
  const refuse = () => place.refuse(`an array of at most ${MAX_JOBS} jobs`, list);
  const inputs = isArray(list) ? readArray(list, place, MAX_JOBS, refuse) : refuse();
  const jobs: PreparedJob[] = [];
  for (const [index, input] of (inputs ?? []).entries()) {
    // The job itself is called "options" where it stands alone; absent elements are no empty jobs.
    const own = new ScopedIssues(issues, (path) => (path === 'options' ? `[${index}]` : `[${index}].${path}`));
    const ofConfig = new ScopedIssues(own, (path) => (path === 'config' ? path : `config.${path}`));
    const { job } = readJob(input ?? null, 'diffusion', MEMBERS, own, ofConfig);
    await checkPaths(job, own);
    jobs.push(job);
  }
  return jobs;
}

function placed(event: ProgressEvent, job: number, jobs: number): ListProgressEvent {
  return Object.freeze({ ...event, job, jobs });
}

function withOutcomes(error: AnyArrowQuantError, jobs: readonly JobOutcome[]): AnyArrowQuantError {
  Object.defineProperty(error, 'report', { value: { ...error.report, jobs }, configurable: true });
  return error;
}
