/** What a job would do, before a byte is written. */
import { throwIfAborted } from './abort.js';
import { IssueList } from './config/issues.js';
import type { ConfigInput, DiffusionQuantOptions } from './config/options.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { setLogLevel } from './log-level.js';
import { recorded } from './metrics/record.js';
import type { JobPlan } from './plan-report.js';
import { checkPaths, readJob } from './quantize-diffusion-model.js';

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
  const { job, signal } = readJob(input, 'diffusion', MEMBERS, issues, issues, false);
  const { modelPath, outputPath, config, logLevel } = job;
  const known = { ...call, modelPath: modelPath ?? null, outputPath: outputPath ?? null };
  if (issues.empty) throwIfAborted(signal, known);
  await checkPaths(job, issues);
  issues.throwIfAny(known);

  const jobId = newJobId();
  if (logLevel !== undefined) await setLogLevel(logLevel);
  const request = { operation: 'plan', jobId, modelPath, outputPath, config };
  return (await runJob(request, { ...known, jobId }, { signal })) as JobPlan;
}
