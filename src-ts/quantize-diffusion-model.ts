/** Quantizing a model on disk. */
import { throwIfAborted } from './abort.js';
import { type CallHooks, readCallOptions } from './config/call-options.js';
import { checkComplete, checkTogether, givenValues, mergeEntries, optionPlace, readConfig } from './config/entries.js';
import { IssueList, type IssueSink } from './config/issues.js';
import { OPTION_NAMES } from './config/option-table.js';
import type { ConfigInput, DiffusionQuantOptions, LogLevel } from './config/options.js';
import { checkApart, readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { type JobHooks, newJobId, runJob } from './job.js';
import { setLogLevel } from './log-level.js';
import { recorded } from './metrics/record.js';
import type { ProgressCallback } from './progress.js';
import type { QuantizationResult } from './results.js';
import { withReport } from './with-report.js';

/** Options may stand in `config` or beside it, not differently in both. */
export interface QuantizeDiffusionModelOptions extends DiffusionQuantOptions {
  /** The model: a pipeline folder, a component folder, a transformers folder, or one .safetensors or .gguf file. */
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

/** A job that was read and found right. */
export interface PreparedJob {
  readonly modelPath: string | undefined;
  readonly outputPath: string | undefined;
  readonly mode: Mode;
  /** Given options only. */
  readonly config: object;
  /** Where given, for the process. */
  readonly logLevel: LogLevel | undefined;
}

/** The same for every entry point; `call` tells which one was used. */
export function runQuantization(input: unknown, mode: Mode, call: CallInfo): Promise<QuantizationResult> {
  return recorded(call, async () => {
    const issues = new IssueList();
    const { job, onProgress, signal } = readJob(input, mode, MEMBERS, issues);
    const known = { ...call, modelPath: job.modelPath ?? null, outputPath: job.outputPath ?? null };
    if (issues.empty) throwIfAborted(signal, known);
    await checkPaths(job, issues);
    issues.throwIfAny(known);
    return runPrepared(job, known, { onProgress, signal });
  });
}

/**
 * Reads one job.
 *
 * @param members - what may stand beside the options
 * @param configIssues - takes the problems of `config`, where their paths differ from those beside it
 * @param writes - an output must be named
 */
export function readJob(
  input: unknown,
  mode: Mode,
  members: readonly string[],
  issues: IssueSink,
  configIssues: IssueSink = issues,
  writes = true,
): CallHooks & { readonly job: PreparedJob } {
  const { entries, rest, onProgress, signal } = readCallOptions(input, OPTION_NAMES, members, issues);
  const config = mergeEntries([readConfig(rest.get('config'), configIssues), entries], optionPlace(issues));
  checkTogether(config, optionPlace(issues));
  checkComplete(config, optionPlace(issues));
  const modelPath = readPath(rest.get('modelPath'), new Place(issues, 'modelPath'));
  const output = rest.get('outputPath');
  const outputPath = writes || output !== undefined ? readPath(output, new Place(issues, 'outputPath')) : undefined;
  const { logLevel, ...given } = givenValues(config);
  const job = {
    modelPath,
    outputPath,
    mode,
    config: { deploymentProfile: 'local', ...given },
    logLevel: logLevel as LogLevel | undefined,
  };
  return { job, onProgress, signal };
}

/** Notes an output that is not apart from its model. */
export async function checkPaths({ modelPath, outputPath }: PreparedJob, issues: IssueSink): Promise<void> {
  if (modelPath === undefined || outputPath === undefined) return;
  await checkApart(modelPath, outputPath, new Place(issues, 'outputPath'));
}

/** Runs a job without problems. */
export async function runPrepared(job: PreparedJob, call: CallInfo, hooks: JobHooks): Promise<QuantizationResult> {
  const jobId = newJobId();
  const { logLevel, ...known } = job;
  if (logLevel !== undefined) await setLogLevel(logLevel);
  const request = { operation: 'quantizeDiffusionModel', jobId, ...known };
  const result = (await runJob(request, { ...call, jobId }, hooks)) as QuantizationResult;
  // A share is no model, and its layers are not all: the page is made when shares are joined.
  const isShare = (job.config as DiffusionQuantOptions).partition !== undefined;
  return job.modelPath === undefined || isShare ? result : withReport(result, job.modelPath, { ...call, jobId });
}

const MEMBERS = ['modelPath', 'outputPath', 'config', 'onProgress', 'signal'];
