/** Quantizing a model on disk. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { givenValues, mergeEntries, optionPlace, readConfig } from './config/entries.js';
import { IssueList } from './config/issues.js';
import { OPTION_NAMES } from './config/option-table.js';
import type { ConfigInput, DiffusionQuantOptions } from './config/options.js';
import { checkApart, readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import type { ProgressCallback } from './progress.js';
import type { QuantizationResult } from './results.js';

/** Options may stand in `config` or beside it, not differently in both. */
export interface QuantizeDiffusionModelOptions extends DiffusionQuantOptions {
  /** The model: a pipeline folder, a component folder, a transformers folder, or one .safetensors file. */
  readonly modelPath: string | URL;
  /** Folder to make. It is complete or does not exist; an existing one is refused unless `overwrite`. */
  readonly outputPath: string | URL;
  /** @defaultValue the profile 'local' */
  readonly config?: ConfigInput | undefined;
  /** Called every 10 layers or 5 seconds at the least, and once with `final: true`. */
  readonly onProgress?: ProgressCallback | undefined;
  /** Aborts promptly and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

/** What kind of model is worked on; `base` for models without a time axis. */
export type Mode = 'diffusion' | 'base';

/**
 * Quantizes a diffusion model on disk into a folder that its usual loader opens.
 *
 * Rejects and never throws; whatever fails, `outputPath` is absent, or the old output, or the complete new one.
 *
 * @example
 * await quantizeDiffusionModel({ modelPath: './FLUX.1-dev', outputPath: './FLUX.1-dev-int4', config: 'local' });
 *
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, ShapeMismatchError, ValidationError,
 * QuantizationError, AbortError
 */
export async function quantizeDiffusionModel(options: QuantizeDiffusionModelOptions): Promise<QuantizationResult> {
  return runQuantization(options, 'diffusion', beginCall('quantizeDiffusionModel', quantizeDiffusionModel));
}

/** The same for every entry point; `call` tells which one was used. */
export async function runQuantization(input: unknown, mode: Mode, call: CallInfo): Promise<QuantizationResult> {
  const issues = new IssueList();
  const { entries, rest, onProgress, signal } = readCallOptions(input, OPTION_NAMES, MEMBERS, issues);
  const config = mergeEntries([readConfig(rest.get('config'), issues), entries], optionPlace(issues));
  const modelPath = readPath(rest.get('modelPath'), new Place(issues, 'modelPath'));
  const output = new Place(issues, 'outputPath');
  const outputPath = readPath(rest.get('outputPath'), output);
  const known: CallInfo = { ...call, modelPath: modelPath ?? null, outputPath: outputPath ?? null };
  if (issues.empty) throwIfAborted(signal, known);
  if (modelPath !== undefined && outputPath !== undefined) await checkApart(modelPath, outputPath, output);
  issues.throwIfAny(known);

  const jobId = newJobId();
  const request = {
    operation: 'quantizeDiffusionModel',
    jobId,
    modelPath,
    outputPath,
    mode,
    config: { deploymentProfile: 'local', ...givenValues(config) },
  };
  return (await runJob(request, { ...known, jobId }, { onProgress, signal })) as QuantizationResult;
}

const MEMBERS = ['modelPath', 'outputPath', 'config', 'onProgress', 'signal'];
