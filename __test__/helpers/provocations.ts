/** For each code that ordinary inputs reach today, the calls of the public API that end in it. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import {
  DiffusionQuantConfig,
  type DiffusionQuantOptions,
  type ErrorCode,
  errorFromJSON,
  type ProgressEvent,
  quantize,
  quantizeDiffusionModel,
  validateQuality,
} from '../../src-ts/index.js';
import * as bad from './bad-models.js';
import { ROOT } from './cli.js';
import { ditTensors, gaussian, writeModel } from './models.js';
import { f32 } from './safetensors.js';

export interface Provocation {
  readonly code: ErrorCode;
  readonly name: string;
  /** Fails with the error. `folder` is empty and the call's own. */
  readonly run: (folder: string) => Promise<unknown>;
}

const wrong = (code: ErrorCode, name: string, options: object): Provocation => ({
  code,
  name,
  run: async () => new DiffusionQuantConfig(options),
});

/** A job on a model that is wrong. */
const model = (code: ErrorCode, name: string, make: bad.Maker, options: DiffusionQuantOptions = {}): Provocation => ({
  code,
  name,
  run: (folder) => {
    const modelPath = make(folder);
    return quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0, ...options });
  },
});

/** A job on a good model to an output that is wrong. */
const output = (code: ErrorCode, name: string, place: (folder: string) => string): Provocation => ({
  code,
  name,
  run: (folder) => {
    const modelPath = writeModel(folder, ditTensors(2, 64));
    return quantizeDiffusionModel({ modelPath, outputPath: place(folder), minAccuracy: 0 });
  },
});

/** A job that `act` meets in its first event of phase quantize. */
const meanwhile = (
  code: ErrorCode,
  name: string,
  act: (
    job: { modelPath: string; outputPath: string },
    abort: (reason: unknown) => void,
  ) => Promise<unknown> | undefined,
): Provocation => ({
  code,
  name,
  run: async (folder) => {
    const job = { modelPath: writeModel(folder, ditTensors(24, 512)), outputPath: path.join(folder, 'out') };
    const controller = new AbortController();
    let other: Promise<unknown> | undefined;
    let met = false;
    const onProgress = ({ phase }: ProgressEvent) => {
      if (met || phase !== 'quantize') return;
      met = true;
      other = act(job, (reason) => controller.abort(reason));
      other?.catch(() => undefined);
    };
    const result = await quantizeDiffusionModel({ ...job, minAccuracy: 0, onProgress, signal: controller.signal });
    return other ?? result;
  },
});

const badModels: Provocation[] = [
  model('AQ_MODEL_NOT_FOUND', 'absent path', bad.absent),
  model('AQ_MODEL_NOT_FOUND', 'dangling link', bad.danglingLink),
  model('AQ_MODEL_NOT_FOUND', 'empty folder', bad.emptyFolder),
  model('AQ_MODEL_NOT_FOUND', 'missing shard', bad.withIndex({ [bad.FIRST]: 'two.safetensors' })),
  model('AQ_METADATA', 'no modality field', bad.unidentified('{"name":"x"}')),
  model('AQ_METADATA', 'modality of a wrong type', bad.withMetadata('{"modality":7}')),
  model('AQ_METADATA', 'index and shard disagree', bad.withIndex({ nothing: bad.WEIGHTS })),
  model('AQ_METADATA', 'index names a file outside', bad.withIndex({ [bad.FIRST]: '../x.safetensors' })),
  model('AQ_METADATA', 'several weight files', bad.severalFiles, { modality: 'image' }),
  model('AQ_METADATA', 'report of a later version', bad.withFile('arrow-quant.json', '{"formatVersion":99}')),
  model('AQ_UNKNOWN_MODALITY', 'unknown word', bad.withMetadata('{"modality":"hologram"}')),
  model('AQ_UNKNOWN_MODALITY', 'nothing tells it', bad.unidentified()),
  model('AQ_QUANTIZATION_FAILED', 'nothing to quantize', bad.withTensors({ 'norm.weight': f32([64], gaussian(64)) })),
  model(
    'AQ_QUANTIZATION_FAILED',
    'two tensors under one name',
    bad.withTensors({ 'w.weight': f32([64, 64], gaussian(4096)), 'w.scale': f32([64, 64], gaussian(4096)) }),
    { modality: 'image', layout: 'sdnq' },
  ),
  model('AQ_IO', 'metadata.json is a folder', bad.metadataFolder),
  model('AQ_IO', 'loop of links', bad.linkLoop),
  model('AQ_SERDE', 'metadata.json is no JSON', bad.withMetadata('{"modality": imag }')),
  model('AQ_SERDE', 'metadata.json nests too deeply', bad.withMetadata('['.repeat(200))),
  model('AQ_UNSUPPORTED_FORMAT', 'a pickle', bad.rawFile('m.ckpt', 'PK\u0003\u0004xxxx')),
  model('AQ_UNSUPPORTED_FORMAT', 'a FIFO', bad.fifo),
  model(
    'AQ_UNSUPPORTED_DTYPE',
    'C64',
    bad.withHeader((first) => Object.assign(first, { dtype: 'C64', shape: [32, 64] })),
  ),
  model(
    'AQ_NON_FINITE_WEIGHTS',
    'NaN and -Infinity',
    bad.withValues(
      new Map([
        [3 * 64 + 5, Number.NaN],
        [7 * 64, -Infinity],
      ]),
    ),
  ),
  model('AQ_VALIDATION_FAILED', 'failFast at 2 bits', writeModel, { bitWidth: 2, minAccuracy: 0.999, failFast: true }),
  model('AQ_VALIDATION_FAILED', 'exhausted at 8 bits', writeModel, { bitWidth: 8, minAccuracy: 1 }),
  model('AQ_INVALID_CONFIG', 'a layer the model lacks', writeModel, {
    skipLayers: ['transformer_blocks.0.attn1.to_p'],
  }),
  model('AQ_INVALID_CONFIG', 'a component the model lacks', writeModel, { components: ['vae'] }),
  model('AQ_TIMEOUT', 'timeoutMs', (folder) => writeModel(folder, ditTensors(8, 1024)), { timeoutMs: 1 }),
];

const MAX_HEADER = 100_000_000n;
const damagedFiles: Provocation[] = (
  [
    ['too-short', bad.withBytes((good) => good.subarray(0, 5))],
    ['header-length zero', bad.withHeaderLength(0n)],
    ['header-length 2^63', bad.withHeaderLength(2n ** 63n)],
    ['header-length over the bound', bad.withHeaderLength(MAX_HEADER + 1n)],
    ['header-encoding', bad.withHeaderText(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))],
    ['header-json', bad.withHeaderText('{"a":')],
    ['header-json, no object', bad.withHeaderText('[]')],
    ['header-entry', bad.withHeader((first) => Object.assign(first, { shape: 'x' }))],
    [
      'duplicate-name',
      bad.withHeaderText(
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      ),
    ],
    ['offset-order', bad.withHeader((first) => first.data_offsets.reverse())],
    ['offset-range', bad.withHeader((first) => Object.assign(first, { data_offsets: [2 ** 40, 2 ** 40 + 4 * 4096] }))],
    [
      'offset-overlap',
      bad.withHeader((first, header) => {
        header.again = structuredClone(first);
      }),
    ],
    [
      'offset-gap',
      bad.withHeader((_, header) => {
        delete header[bad.FIRST];
      }),
    ],
    ['size-mismatch', bad.withHeader((first) => Object.assign(first, { shape: [63, 64] }))],
    ['arithmetic-overflow', bad.withHeader((first) => Object.assign(first, { shape: [2 ** 40, 2 ** 40] }))],
    ['trailing-bytes', bad.withBytes((good) => Buffer.concat([good, Buffer.alloc(3)]))],
  ] as const
).map(([name, make]) => model('AQ_CORRUPT_MODEL', name, make));

const others: Provocation[] = [
  wrong('AQ_INVALID_BIT_WIDTH', 'bitWidth 3', { bitWidth: 3 }),
  wrong('AQ_INVALID_BIT_WIDTH', 'bitWidth "4"', { bitWidth: '4' }),
  wrong('AQ_INVALID_BIT_WIDTH', 'bitWidth 16', { bitWidth: 16 }),
  wrong('AQ_INVALID_BIT_WIDTH', 'of a layer', { layerBitWidths: { x: 3 } }),
  wrong('AQ_INVALID_GROUP_SIZE', 'groupSize 100', { groupSize: 100 }),
  wrong('AQ_INVALID_TIME_GROUPS', 'numTimeGroups 0', { numTimeGroups: 0 }),
  wrong('AQ_INVALID_ACCURACY', 'minAccuracy NaN', { minAccuracy: Number.NaN }),
  wrong('AQ_INVALID_CONFIG', 'unknown option', { bit_width: 4 }),
  wrong('AQ_INVALID_CONFIG', 'two codes', { bitWidth: 3, groupSize: 7 }),
  wrong('AQ_INVALID_CONFIG', '__proto__', JSON.parse('{"__proto__":{"bitWidth":2}}')),
  {
    code: 'AQ_SHAPE_MISMATCH',
    name: 'of a buffer',
    run: () => quantize({ w: { data: new Float32Array(5), shape: [2, 3] } }),
  },
  {
    code: 'AQ_SHAPE_MISMATCH',
    name: 'of two models',
    run: async (folder) => {
      const outputPath = path.join(folder, 'quantized');
      const modelPath = writeModel(folder, ditTensors(2, 64));
      await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 });
      return validateQuality(writeModel(folder, ditTensors(2, 128), 'other'), outputPath);
    },
  },
  {
    code: 'AQ_QUANTIZATION_FAILED',
    name: 'quantized already',
    run: async (folder) => {
      const first = path.join(folder, 'first');
      await quantizeDiffusionModel({ modelPath: writeModel(folder), outputPath: first, minAccuracy: 0 });
      return quantizeDiffusionModel({ modelPath: first, outputPath: path.join(folder, 'out'), minAccuracy: 0 });
    },
  },
  output('AQ_IO', 'output below a file', (folder) => {
    writeFileSync(path.join(folder, 'file'), '');
    return path.join(folder, 'file/out');
  }),
  output('AQ_IO', 'name too long', (folder) => path.join(folder, 'x'.repeat(300))),
  output('AQ_OUTPUT_EXISTS', 'a folder stands there', (folder) => {
    mkdirSync(path.join(folder, 'out'));
    return path.join(folder, 'out');
  }),
  meanwhile('AQ_OUTPUT_BUSY', 'a second job', (job) => quantizeDiffusionModel({ ...job, minAccuracy: 0 })),
  meanwhile('AQ_ABORTED', 'in phase quantize', (_, abort) => {
    abort('enough');
    return undefined;
  }),
  {
    code: 'AQ_ABORTED',
    name: 'before the call',
    run: (folder) =>
      quantizeDiffusionModel({
        modelPath: path.join(folder, 'model'),
        outputPath: path.join(folder, 'out'),
        signal: AbortSignal.abort('enough'),
      }),
  },
  { code: 'AQ_NATIVE_LOAD', name: 'a text file for an addon', run: loadTextAsAddon },
  { code: 'AQ_OUT_OF_DISK', name: 'a file grows beyond its limit', run: writeBeyondLimit },
];

/** By code; the cases of one code stay in the order in which they are written. */
export const PROVOCATIONS: readonly Provocation[] = [...others, ...badModels, ...damagedFiles].sort((a, b) =>
  a.code === b.code ? 0 : a.code < b.code ? -1 : 1,
);

/** What the call of the public API in `expression` fails with in a process of its own; it crosses as JSON. */
async function failElsewhere(expression: string, prefix: readonly string[], env: NodeJS.ProcessEnv): Promise<never> {
  const entry = pathToFileURL(path.join(ROOT, 'dist/index.js')).href;
  const script = `const aq = await import('${entry}');
    await ${expression}.catch((error) => console.log(JSON.stringify(error)));`;
  const [command = '', ...args] = [...prefix, process.execPath, '--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(command, args, { env: { ...process.env, ...env } });
  throw errorFromJSON(stdout);
}

/** A process loads the addon once, so another one must fail to. */
function loadTextAsAddon(folder: string): Promise<never> {
  const file = path.join(folder, 'addon.node');
  writeFileSync(file, 'no shared library');
  return failElsewhere(`aq.inspect('/nowhere')`, [], { NAPI_RS_NATIVE_LIBRARY_PATH: file });
}

/** A limit on the size of files is the full disk that needs no privilege: writing fails with EFBIG. */
function writeBeyondLimit(folder: string): Promise<never> {
  const modelPath = writeModel(folder, ditTensors(2, 512));
  const job = JSON.stringify({ modelPath, outputPath: path.join(folder, 'out'), bitWidth: 8, minAccuracy: 0 });
  return failElsewhere(`aq.quantizeDiffusionModel(${job})`, ['sh', '-c', 'ulimit -f 100; exec "$@"', 'sh'], {});
}
