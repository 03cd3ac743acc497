/** Comparing a quantized model on disk with its original. */
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
import type { QualityReport } from './results.js';

export interface ValidateQualityOptions extends Pick<DiffusionQuantOptions, 'minAccuracy' | 'numThreads'> {
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Decodes a quantized model and compares every layer with the original.
 *
 * Low similarity is no error: the result says `passed: false`.
 *
 * @param originalPath - the model before
 * @param quantizedPath - what quantizing it made
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, ShapeMismatchError, QuantizationError, AbortError
 */
export async function validateQuality(
  originalPath: string | URL,
  quantizedPath: string | URL,
  options?: ValidateQualityOptions,
): Promise<QualityReport> {
  return runValidation(originalPath, quantizedPath, options, beginCall('validateQuality', validateQuality));
}

const OPTIONS = ['minAccuracy', 'numThreads'] as const;

/** The same for every entry point; `call` tells which one was used. */
export function runValidation(
  originalPath: unknown,
  quantizedPath: unknown,
  input: unknown,
  call: CallInfo,
): Promise<QualityReport> {
  return recorded(call, () => validate(originalPath, quantizedPath, input, call));
}

async function validate(
  originalPath: unknown,
  quantizedPath: unknown,
  input: unknown,
  call: CallInfo,
): Promise<QualityReport> {
  const issues = new IssueList();
  const { entries, onProgress, signal } = readCallOptions(input, OPTIONS, ['onProgress', 'signal'], issues);
  const original = readPath(originalPath, new Place(issues, 'originalPath'));
  const quantized = readPath(quantizedPath, new Place(issues, 'quantizedPath'));
  const known: CallInfo = { ...call, modelPath: original ?? null, outputPath: quantized ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const request = {
    operation: 'validateQuality',
    jobId,
    originalPath: original,
    quantizedPath: quantized,
    config: givenValues(entries),
  };
  return (await runJob(request, { ...known, jobId }, { onProgress, signal })) as QualityReport;
}
