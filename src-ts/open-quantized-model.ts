/** A model that stays open: its layers listed, any rows of them decoded when they are asked for. */
import { throwIfAborted } from './abort.js';
import { readCallOptions } from './config/call-options.js';
import { IssueList } from './config/issues.js';
import { readPath } from './config/paths.js';
import { Place } from './config/place.js';
import { beginCall } from './errors/call-site.js';
import type { CallInfo } from './errors/create.js';
import { internalError, unwrapOutcome } from './errors/throw-native.js';
import { newJobId, runJob } from './job.js';
import { recorded } from './metrics/record.js';
import { loadNative, type NativeModule } from './native.js';
import type { OpenedLayer } from './results.js';

export interface OpenOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Which rows of a layer; all of them where nothing is said. */
export interface RowRange {
  /** The first row. @defaultValue 0 */
  readonly firstRow?: number | undefined;
  /** How many. @defaultValue to the last one */
  readonly rows?: number | undefined;
}

interface Opened {
  readonly id: number;
  readonly layers: readonly OpenedLayer[];
}

// What nobody closed is closed once nobody can ask for it any more.
const forgotten = new FinalizationRegistry<() => void>((close) => close());

/** An open model. Its files stay open until `close()`; only headers are held. */
export class QuantizedModel {
  readonly path: string;
  /** Weights of two dimensions or more, in the order of the files; `component/layer` where there are several components. */
  readonly layers: readonly OpenedLayer[];
  readonly #native: NativeModule;
  readonly #id: number;
  #closed = false;

  /** @internal */
  constructor(path: string, opened: Opened, native: NativeModule) {
    this.path = path;
    this.layers = Object.freeze(opened.layers);
    this.#native = native;
    this.#id = opened.id;
    const { id } = opened;
    forgotten.register(this, () => native.closeModel(id), this);
  }

  /**
   * Decodes a layer, or some of its rows, in the order of its shape.
   *
   * @param name - a name of `layers`, with or without `.weight`
   * @throws ConfigurationError where there is no such layer or row, MetadataError, QuantizationError
   */
  async dequantize(name: string, range: RowRange = {}): Promise<Float32Array> {
    const call = { ...beginCall('dequantize', this.dequantize), modelPath: this.path };
    return recorded(call, () => this.#read(name, range, call));
  }

  async #read(name: unknown, range: unknown, call: CallInfo): Promise<Float32Array> {
    const issues = new IssueList();
    const { rest } = readCallOptions(range, [], ['firstRow', 'rows'], issues);
    const known = typeof name === 'string' ? name : '';
    if (typeof name !== 'string') new Place(issues, 'name').refuse('the name of a layer of the model', name);
    if (this.#closed) new Place(issues, 'model').refuse('an open model', undefined, { received: 'a closed one' });
    const firstRow = readCount(rest.get('firstRow'), new Place(issues, 'firstRow'));
    const rows = readCount(rest.get('rows'), new Place(issues, 'rows'));
    issues.throwIfAny(call);
    const answer = await this.#native.readRows(this.#id, known, firstRow ?? 0, rows, this.path).catch((cause) => {
      throw internalError('the addon threw instead of answering', call, { cause });
    });
    unwrapOutcome(answer.outcome, call);
    if (answer.values == null) throw internalError('the addon answered without values', call);
    return answer.values;
  }

  /** Gives the files back. Any number of times. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    this.#native.closeModel(this.#id);
  }
}

/** Rows are counted in 32 bits. */
const MOST = 2 ** 32 - 1;

function readCount(value: unknown, place: Place): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MOST) return value;
  return place.refuse('a whole number of at least 0', value);
}

/**
 * Opens a model in any layout that this package reads, its own or others' files, floats included.
 *
 * @param path - a folder, or one .safetensors or .gguf file, or a Parquet archive of this package
 * @throws ConfigurationError, ModelNotFoundError, MetadataError, QuantizationError, AbortError
 */
export async function openQuantizedModel(path: string | URL, options?: OpenOptions): Promise<QuantizedModel> {
  const call = beginCall('openQuantizedModel', openQuantizedModel);
  return recorded(call, () => open(path, options, call));
}

async function open(path: unknown, options: unknown, call: CallInfo): Promise<QuantizedModel> {
  const issues = new IssueList();
  const { signal } = readCallOptions(options, [], ['signal'], issues);
  const modelPath = readPath(path, new Place(issues, 'path'));
  const known = { ...call, modelPath: modelPath ?? null };
  issues.throwIfAny(known);
  throwIfAborted(signal, known);

  const jobId = newJobId();
  const request = { operation: 'openQuantizedModel', jobId, modelPath };
  const opened = (await runJob(request, { ...known, jobId }, { signal })) as Opened;
  return new QuantizedModel(modelPath ?? '', opened, await loadNative(known));
}
