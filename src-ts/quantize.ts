/** Quantizing tensors in memory. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import type { DiffusionQuantConfig } from './config/diffusion-quant-config.js';
import { type Entries, givenValues, readConfig } from './config/entries.js';
import { IssueList } from './config/issues.js';
import type { OptionName } from './config/option-table.js';
import type { DeploymentProfile, DiffusionQuantOptions } from './config/options.js';
import { Place } from './config/place.js';
import { isPlainObject, readRecord } from './config/read-record.js';
import { readTensor, type Weights } from './config/weights.js';
import { beginCall } from './errors/call-site.js';
import { type AnyArrowQuantError, isArrowQuantError } from './errors/classes.js';
import type { CallInfo } from './errors/create.js';
import { internalError, unwrapOutcome } from './errors/throw-native.js';
import { recorded, recordFailure } from './metrics/record.js';
import { loadNative, type NativeModule, type NativeTensor } from './native.js';
import type { InMemoryResult, QuantizedTensor } from './results.js';

const OPTIONS = ['bitWidth', 'groupSize', 'deploymentProfile', 'symmetric', 'method'] as const satisfies OptionName[];

export interface QuantizeOptions extends Pick<DiffusionQuantOptions, (typeof OPTIONS)[number]> {
  /** Collect the failures of single tensors instead of rejecting with the first. @defaultValue false */
  readonly continueOnError?: boolean | undefined;
  /** Looked at between tensors. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Quantizes tensors in memory, in the order of their sorted names.
 *
 * @param weights - name to Float32Array (one row) or to `{ data, shape }`; the data are copied when their turn comes
 * @param options - options, a profile name or a configuration, of which width, group size, method and symmetry count
 * @returns codes, scales and zeros of each tensor, and the failures where `continueOnError`
 * @throws ConfigurationError, ShapeMismatchError, QuantizationError, AbortError
 */
export async function quantize(
  weights: Weights,
  options?: QuantizeOptions | DeploymentProfile | DiffusionQuantConfig,
): Promise<InMemoryResult> {
  return runInMemory(weights, options, beginCall('quantize', quantize));
}

/** The same for every entry point; `call` tells which one was used. */
export function runInMemory(weights: unknown, input: unknown, call: CallInfo): Promise<InMemoryResult> {
  return recorded(call, () => quantizeAll(weights, input, call));
}

async function quantizeAll(weights: unknown, input: unknown, call: CallInfo): Promise<InMemoryResult> {
  const issues = new IssueList();
  const { entries, continueOnError, signal } = readOptions(input, issues);
  const tensors = readWeights(weights, issues);
  issues.throwIfAny(call);
  throwIfAborted(signal, call);

  const native = await loadNative(call);
  const given = givenValues(entries);
  const picked = Object.fromEntries(OPTIONS.filter((name) => name in given).map((name) => [name, given[name]]));
  const config = JSON.stringify({ deploymentProfile: 'local', ...picked });
  const layers: QuantizedTensor[] = [];
  const failures: { layer: string; error: AnyArrowQuantError }[] = [];
  for (const name of [...tensors.keys()].sort()) {
    throwIfAborted(signal, call);
    try {
      layers.push(await quantizeOne(native, name, tensors.get(name), config, call));
    } catch (error) {
      if (!continueOnError || !isArrowQuantError(error)) throw error;
      recordFailure(error, call.startedAt);
      failures.push({ layer: name, error });
    }
  }
  return { layers, failures };
}

async function quantizeOne(
  native: NativeModule,
  name: string,
  value: unknown,
  config: string,
  call: CallInfo,
): Promise<QuantizedTensor> {
  const { data, shape } = readTensor(name, value, call);
  let answer: NativeTensor;
  try {
    answer = await native.quantizeTensor(name, data, shape, config);
  } catch (cause) {
    throw internalError('the addon threw instead of answering', call, { cause });
  }
  const { codes, scales, zeros } = answer;
  const facts = unwrapOutcome(answer.outcome, call);
  if (typeof facts !== 'object' || facts === null || codes === undefined || scales === undefined) {
    throw internalError('the addon answered without a tensor', call);
  }
  return { ...(facts as QuantizedTensor), codes, scales, ...(zeros == null ? {} : { zeros }) };
}

function readOptions(input: unknown, issues: IssueList) {
  // A configuration may hold options that mean nothing here; an options object may not.
  if (input !== undefined && !isPlainObject(input)) {
    return { entries: readConfig(input, issues) as Entries, continueOnError: false, signal: undefined };
  }
  const { entries, rest, signal } = readCallOptions(input, OPTIONS, ['continueOnError', 'signal'], issues);
  const continueOnError = rest.get('continueOnError') ?? false;
  if (typeof continueOnError !== 'boolean')
    new Place(issues, 'continueOnError').refuse('true or false', continueOnError);
  return { entries: entries as Entries, continueOnError: continueOnError === true, signal };
}

function readWeights(weights: unknown, issues: IssueList): Map<string, unknown> {
  const hint = 'Pass an object of tensor names to Float32Arrays or { data, shape }.';
  const place = new Place(issues, 'weights', 'option', hint);
  const expected = 'a non-empty record of Float32Arrays';
  if (!isPlainObject(weights)) {
    place.refuse(expected, weights);
    return new Map();
  }
  const values = readRecord(weights, place, (key) => place.child(key));
  if (values.size === 0 && issues.empty) place.refuse(expected, weights, { received: 'an empty record' });
  return values;
}
