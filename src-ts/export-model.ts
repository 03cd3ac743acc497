/** Writing a quantized model in another layout, without rounding anything a second time. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { givenValues } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { DiffusionQuantOptions, Layout } from './config/options.js';
import { checkApart, readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { recorded } from './metrics/record.js';
import type { ProgressCallback } from './progress.js';
import type { ExportResult } from './results.js';

/** Options of `exportModel` that are those of a job. */
export const EXPORT_OPTIONS = ['layout', 'plainDtype', 'overwrite', 'numThreads'] as const;

export interface ExportModelOptions extends Pick<DiffusionQuantOptions, 'overwrite' | 'numThreads'> {
  /** A model with layers in codes: any layout that this package reads, whoever wrote it. */
  readonly from: string | URL;
  /** The output folder. */
  readonly to: string | URL;
  /** `plain` holds the values; any other layout the same codes, scales and zeros. */
  readonly layout: Exclude<Layout, 'auto'>;
  /** Element type of decoded layers, with layout `plain`. @defaultValue f32 */
  readonly plainDtype?: DiffusionQuantOptions['plainDtype'];
  readonly onProgress?: ProgressCallback | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes a quantized model in another layout. Lossless: codes that the layout cannot hold as they are refuse the export
 * (`AQ_QUANTIZATION_FAILED`, reason `would-round`); quantize the original with that layout instead.
 *
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, QuantizationError, AbortError
 */
export async function exportModel(options: ExportModelOptions): Promise<ExportResult> {
  const call = beginCall('exportModel', exportModel);
  return recorded(call, () => run(options, call));
}

const EXPECTED = 'a layout name';

async function run(input: unknown, call: CallInfo): Promise<ExportResult> {
  const issues = new IssueList();
  const names = ['from', 'to', 'onProgress', 'signal'] as const;
  const { entries, rest, onProgress, signal } = readCallOptions(input, EXPORT_OPTIONS, names, issues);
  const modelPath = readPath(rest.get('from'), new Place(issues, 'from'));
  const to = new Place(issues, 'to');
  const outputPath = readPath(rest.get('to'), to);
  const config = givenValues(entries) as { readonly layout?: Layout | readonly Layout[]; readonly plainDtype?: string };
  const layout = new Place(issues, 'layout', 'option', "Name the layout to write: 'plain', 'sdnq', ...");
  if (typeof config.layout !== 'string' || config.layout === 'auto') {
    if (issues.empty || config.layout !== undefined) layout.refuse(EXPECTED, config.layout);
  } else if (config.plainDtype !== undefined && config.layout !== 'plain') {
    new Place(issues, 'plainDtype').refuse("to be given only with layout 'plain'", config.layout);
  }
  if (modelPath !== undefined && outputPath !== undefined) await checkApart(modelPath, outputPath, to);
  const known: CallInfo = { ...call, modelPath: modelPath ?? null, outputPath: outputPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const request = { operation: 'exportModel', jobId, modelPath, outputPath, config };
  return (await runJob(request, { ...known, jobId }, { onProgress, signal })) as ExportResult;
}
