/** Reading a calibration file as a job would, and telling what it holds. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { givenValues } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { DiffusionQuantOptions } from './config/options.js';
import { calibrationPath, readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { newJobId, runJob } from './job.js';
import { recorded } from './metrics/record.js';
import type { CalibrationInfo } from './results.js';

/** Options of `inspectCalibration` that are those of a job. */
export const CALIBRATION_OPTIONS = ['components', 'modality', 'skipLayers', 'enableTimeAware', 'numThreads'] as const;

export interface InspectCalibrationOptions extends Pick<DiffusionQuantOptions, (typeof CALIBRATION_OPTIONS)[number]> {
  /** The model that the file is for; without it only the file itself is checked. */
  readonly modelPath?: string | URL | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads and checks a calibration file, and tells what it holds of each layer of a model.
 *
 * Every value is read, nothing is written. What a job would refuse is refused here; what it would warn of stands in `warnings`.
 *
 * @param path - a .safetensors, .parquet, .arrow or .jsonl file
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, ShapeMismatchError, QuantizationError, AbortError
 */
export async function inspectCalibration(
  path: string | URL,
  options?: InspectCalibrationOptions,
): Promise<CalibrationInfo> {
  const call = beginCall('inspectCalibration', inspectCalibration);
  return recorded(call, () => look(path, options, call));
}

async function look(path: unknown, input: unknown, call: CallInfo): Promise<CalibrationInfo> {
  const issues = new IssueList();
  const { entries, rest, signal } = readCallOptions(input, CALIBRATION_OPTIONS, ['modelPath', 'signal'], issues);
  const place = new Place(issues, 'calibration');
  const file = readPath(path, place);
  const calibration = file === undefined ? undefined : calibrationPath(file, place);
  const model = rest.get('modelPath');
  const modelPath = model === undefined ? undefined : readPath(model, new Place(issues, 'modelPath'));
  const known = { ...call, modelPath: modelPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const operation = 'inspectCalibration';
  const request = { operation, jobId, calibrationPath: calibration, modelPath, config: givenValues(entries) };
  return (await runJob(request, { ...known, jobId }, { signal })) as CalibrationInfo;
}
