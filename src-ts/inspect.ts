/** Looking into a model without reading its weights. */
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
import type { ModelInfo } from './results.js';

export interface InspectOptions extends Pick<DiffusionQuantOptions, 'modality'> {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tells what a model is made of, and what quantizing it with the default options would do with each layer.
 *
 * @param path - pipeline, component or transformers folder, or one .safetensors or .gguf file, or a Parquet archive of this package
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, QuantizationError, AbortError
 */
export async function inspect(path: string | URL, options?: InspectOptions): Promise<ModelInfo> {
  const call = beginCall('inspect', inspect);
  return recorded(call, () => look(path, options, call));
}

async function look(path: unknown, options: unknown, call: CallInfo): Promise<ModelInfo> {
  const issues = new IssueList();
  const { entries, signal } = readCallOptions(options, ['modality'], ['signal'], issues);
  const modelPath = readPath(path, new Place(issues, 'modelPath'));
  const known = { ...call, modelPath: modelPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const request = { operation: 'inspect', jobId, modelPath, config: givenValues(entries) };
  return (await runJob(request, { ...known, jobId }, { signal })) as ModelInfo;
}
