/** What a job would do, before a byte is written. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { checkComplete, checkTogether, givenValues, mergeEntries, optionPlace, readConfig } from './config/entries.js';
import { IssueList } from './config/issues.js';
import { OPTION_NAMES } from './config/option-table.js';
import type { ConfigInput, DiffusionQuantOptions, LogLevel } from './config/options.js';
import { checkApart, readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { setLogLevel } from './log-level.js';
import { recorded } from './metrics/record.js';
import type { JobPlan } from './plan-report.js';

/** Options may stand in `config` or beside it, not differently in both. */
export interface PlanOptions extends DiffusionQuantOptions {
  /** The model: a pipeline folder, a component folder, a transformers folder, or one .safetensors or .gguf file. */
  readonly modelPath: string | URL;
  /** Where the output would be made; only to tell whether there is room for it. */
  readonly outputPath?: string | URL | undefined;
  /** @defaultValue the profile 'local' */
  readonly config?: ConfigInput | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MEMBERS = ['modelPath', 'outputPath', 'config', 'signal'];

/**
 * Tells what `quantizeDiffusionModel` would do with these options: layers, schemes and why, sizes, memory, time, room on the disk.
 *
 * Headers are read, of a calibration file too, and no weights; nothing is written. Half a second is spent on measuring this machine.
 *
 * @example
 * const { modelSizeMb, time } = await plan({ modelPath: './FLUX.1-dev', config: { bitWidth: 4 } });
 *
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, ShapeMismatchError, QuantizationError, AbortError
 */
export async function plan(options: PlanOptions): Promise<JobPlan> {
  const call = beginCall('plan', plan);
  return recorded(call, () => look(options, call));
}

async function look(input: unknown, call: CallInfo): Promise<JobPlan> {
  const issues = new IssueList();
  const { entries, rest, signal } = readCallOptions(input, OPTION_NAMES, MEMBERS, issues);
  const config = mergeEntries([readConfig(rest.get('config'), issues), entries], optionPlace(issues));
  checkTogether(config, optionPlace(issues));
  checkComplete(config, optionPlace(issues));
  const modelPath = readPath(rest.get('modelPath'), new Place(issues, 'modelPath'));
  const output = rest.get('outputPath');
  const outputPath = output === undefined ? undefined : readPath(output, new Place(issues, 'outputPath'));
  const known = { ...call, modelPath: modelPath ?? null, outputPath: outputPath ?? null };
  if (issues.empty) throwIfAborted(signal, known);
  if (modelPath !== undefined && outputPath !== undefined) {
    await checkApart(modelPath, outputPath, new Place(issues, 'outputPath'));
  }
  issues.throwIfAny(known);

  const jobId = newJobId();
  const { logLevel, ...given } = givenValues(config);
  if (logLevel !== undefined) await setLogLevel(logLevel as LogLevel);
  const request = {
    operation: 'plan',
    jobId,
    modelPath,
    outputPath,
    config: { deploymentProfile: 'local', ...given },
  };
  return (await runJob(request, { ...known, jobId }, { signal })) as JobPlan;
}
