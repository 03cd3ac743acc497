/** Two models, weight by weight, whatever layout each is stored in. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { givenValues } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { DiffusionQuantOptions } from './config/options.js';
import { readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { recorded } from './metrics/record.js';
import type { ProgressCallback } from './progress.js';
import type { Comparison, QualityReport } from './results.js';

export interface CompareOptions extends Pick<DiffusionQuantOptions, 'numThreads'> {
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Decodes two models and tells how far the weights of the second lie from those of the first. No threshold: nothing passes or fails.
 *
 * @param a - one model, float or quantized
 * @param b - the other; its layers must have the names and shapes of the first
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, ShapeMismatchError, QuantizationError, AbortError
 */
export async function compare(a: string | URL, b: string | URL, options?: CompareOptions): Promise<Comparison> {
  const call = beginCall('compare', compare);
  return recorded(call, () => run(a, b, options, call));
}

async function run(a: unknown, b: unknown, input: unknown, call: CallInfo): Promise<Comparison> {
  const issues = new IssueList();
  const { entries, onProgress, signal } = readCallOptions(input, ['numThreads'], ['onProgress', 'signal'], issues);
  const originalPath = readPath(a, new Place(issues, 'a'));
  const quantizedPath = readPath(b, new Place(issues, 'b'));
  const known: CallInfo = { ...call, modelPath: originalPath ?? null, outputPath: quantizedPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const config = { ...givenValues(entries), minAccuracy: 0 };
  const request = { operation: 'validateQuality', jobId, originalPath, quantizedPath, config };
  const report = (await runJob(request, { ...known, jobId }, { onProgress, signal })) as QualityReport;
  return withoutVerdict(report);
}

/** What was measured, without what is held against a threshold. */
function withoutVerdict({
  passed: _,
  threshold: __,
  failed: ___,
  layers,
  unquantized,
  ...report
}: QualityReport): Comparison {
  // That nothing differs is a result here, not a warning.
  const warnings = report.warnings.filter(({ code }) => code !== 'AQ_WARN_NOTHING_COMPARED');
  return { ...report, warnings, equal: unquantized, layers: layers.map(({ passed: _passed, ...layer }) => layer) };
}
