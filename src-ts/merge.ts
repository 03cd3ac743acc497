/** Joining the shares of a job that several machines have done. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { MOST_SHARES } from './config/checks.js';
import { givenValues } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { DiffusionQuantOptions } from './config/options.js';
import { readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { isArray, readArray } from './config/read-record.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { recorded } from './metrics/record.js';
import type { ProgressCallback } from './progress.js';
import type { QuantizationResult } from './results.js';
import { withReport } from './with-report.js';

/** Options of `merge` that are those of a job. */
export const MERGE_OPTIONS = ['calibration', 'overwrite', 'numThreads'] as const;

export interface MergeOptions extends Pick<DiffusionQuantOptions, (typeof MERGE_OPTIONS)[number]> {
  /** The folders that the shares were written to, all of them, in any order. */
  readonly shares: readonly (string | URL)[];
  /** Folder to make. It is complete or does not exist; an existing one is refused unless `overwrite`. */
  readonly outputPath: string | URL;
  /** The model; its headers and small files are read, its weights are not. @defaultValue where the first share found it */
  readonly modelPath?: string | URL | undefined;
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What `merge` resolves with. */
export interface MergeResult extends QuantizationResult {
  /** The model that the shares are of. */
  readonly modelPath: string;
}

/**
 * Joins the shares of a job (`partition`) into the output that a single job would have written, byte for byte. Every share is checked: a lost
 * one is `AQ_MODEL_NOT_FOUND`, a doubled one or one of another job `AQ_METADATA`, damaged bytes `AQ_CORRUPT_MODEL`, each by name.
 *
 * @example
 * await merge({ shares: ['./shares/1', './shares/2'], outputPath: './FLUX.1-dev-int4' });
 *
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, QuantizationError, AbortError
 */
export async function merge(options: MergeOptions): Promise<MergeResult> {
  const call = beginCall('merge', merge);
  return recorded(call, () => run(options, call));
}

async function run(input: unknown, call: CallInfo): Promise<MergeResult> {
  const issues = new IssueList();
  const names = ['shares', 'outputPath', 'modelPath', 'onProgress', 'signal'] as const;
  const { entries, rest, onProgress, signal } = readCallOptions(input, MERGE_OPTIONS, names, issues);
  const shares = readShares(rest.get('shares'), new Place(issues, 'shares'));
  const outputPath = readPath(rest.get('outputPath'), new Place(issues, 'outputPath'));
  const given = rest.get('modelPath');
  const modelPath = given === undefined ? undefined : readPath(given, new Place(issues, 'modelPath'));
  const known: CallInfo = { ...call, modelPath: modelPath ?? null, outputPath: outputPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const config = { ...givenValues(entries), modelPath };
  const request = { operation: 'merge', jobId, shares, outputPath, config };
  const result = (await runJob(request, { ...known, jobId }, { onProgress, signal })) as MergeResult;
  return { ...result, ...(await withReport(result, result.modelPath, { ...known, jobId })) };
}

function readShares(value: unknown, place: Place): readonly string[] | undefined {
  const expected = 'an array of folders';
  if (!isArray(value)) return place.refuse(expected, value);
  const list = readArray(value, place, MOST_SHARES, () => place.refuse(expected, value));
  if (list === undefined) return undefined;
  if (list.length === 0)
    return place.refuse(expected, value, { hint: 'Name the folders that the shares were written to.' });
  const paths = list.map((element, index) => readPath(element, place.child(index)));
  for (const [index, path] of paths.entries()) {
    if (path !== undefined && paths.indexOf(path) < index) place.child(index).refuse('each folder once', path);
  }
  return paths.every((path) => path !== undefined) ? paths : undefined;
}
