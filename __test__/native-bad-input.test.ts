/** Bad input: each is a typed error that names file and value, and nothing is written. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, errorFromJSON, quantizeDiffusionModel } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { encode, f32, type Header } from './helpers/safetensors.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

const WEIGHTS = 'diffusion_pytorch_model.safetensors';
const FIRST = 'transformer_blocks.0.attn1.to_q.weight';
type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] };

interface Case {
  readonly name: string;
  /** Prepares the folder and returns the model's path. */
  readonly prepare: (folder: string) => string;
  readonly code: ErrorCode;
  readonly className: string;
  readonly details?: object;
  /** Texts the message must hold. */
  readonly told: readonly string[];
}

/** A model whose header was changed before it was written. */
const damaged = (change: (entry: Entry, header: Header) => void) => (folder: string) => {
  const model = writeModel(folder);
  const damage = (header: Header) => {
    change(header[FIRST] as Entry, header);
    return header;
  };
  writeFileSync(path.join(model, WEIGHTS), encode(ditTensors(2, 64), {}, damage));
  return model;
};
const withBytes = (bytes: (good: Buffer) => Buffer) => (folder: string) => {
  const model = writeModel(folder);
  const file = path.join(model, WEIGHTS);
  writeFileSync(file, bytes(readFileSync(file)));
  return model;
};
const withIndex = (weightMap: Record<string, string>) => (folder: string) => {
  const model = writeModel(folder);
  const index = { metadata: { total_size: 1 }, weight_map: weightMap };
  writeFileSync(path.join(model, `${WEIGHTS}.index.json`), JSON.stringify(index));
  return model;
};
const empty = (folder: string) => {
  const model = path.join(folder, 'model');
  mkdirSync(model);
  return model;
};
const corrupt = (name: string, defect: string, prepare: Case['prepare']): Case => ({
  name,
  prepare,
  code: 'AQ_CORRUPT_MODEL',
  className: 'MetadataError',
  details: { defect },
  told: [WEIGHTS],
});
const missing = (name: string, what: string, prepare: Case['prepare'], told = ['model']): Case => ({
  name,
  prepare,
  code: 'AQ_MODEL_NOT_FOUND',
  className: 'ModelNotFoundError',
  details: { what },
  told,
});

const cases: Case[] = [
  missing('missing path', 'model', (folder) => path.join(folder, 'model')),
  missing('empty folder', 'weights', empty),
  missing('dangling link', 'model', (folder) => {
    symlinkSync(path.join(folder, 'gone'), path.join(folder, 'model'));
    return path.join(folder, 'model');
  }),
  missing('folder without weights', 'weights', (folder) => {
    const model = empty(folder);
    writeFileSync(path.join(model, 'config.json'), '{"_class_name":"DiTTransformer2DModel"}');
    return model;
  }),
  missing('index naming a missing shard', 'shard', withIndex({ [FIRST]: 'shard-00002.safetensors' }), [
    'shard-00002.safetensors',
    'index.json',
  ]),
  {
    name: 'index naming a file outside',
    prepare: withIndex({ [FIRST]: '../x.safetensors' }),
    code: 'AQ_METADATA',
    className: 'MetadataError',
    details: { problem: 'outside' },
    told: ['../x.safetensors'],
  },
  {
    name: 'index naming a tensor the shard lacks',
    prepare: withIndex({ nothing: WEIGHTS }),
    code: 'AQ_METADATA',
    className: 'MetadataError',
    details: { problem: 'contradiction' },
    told: [WEIGHTS],
  },
  corrupt('truncated shard', 'offset-range', (folder) => {
    const model = writeModel(folder);
    const file = path.join(model, WEIGHTS);
    truncateSync(file, readFileSync(file).length - 100);
    return model;
  }),
  corrupt(
    'file of 5 bytes',
    'too-short',
    withBytes((good) => good.subarray(0, 5)),
  ),
  corrupt(
    'header larger than the file',
    'header-length',
    withBytes((good) => {
      const bytes = Buffer.from(good);
      bytes.writeBigUInt64LE(BigInt(good.length), 0);
      return bytes;
    }),
  ),
  corrupt(
    'header of 2^63 bytes',
    'header-length',
    withBytes((good) => {
      const bytes = Buffer.from(good);
      bytes.writeBigUInt64LE(2n ** 63n, 0);
      return bytes;
    }),
  ),
  corrupt(
    'header that is no JSON',
    'header-json',
    withBytes((good) => {
      const bytes = Buffer.from(good);
      bytes[8] = 'x'.charCodeAt(0);
      return bytes;
    }),
  ),
  corrupt(
    'overlapping offsets',
    'offset-overlap',
    damaged((_, header) => {
      const second = header['transformer_blocks.0.attn1.to_q.bias'] as Entry;
      const [begin, end] = second.data_offsets;
      second.data_offsets = [begin - 128, end - 128];
    }),
  ),
  corrupt(
    'wrong shape product',
    'size-mismatch',
    damaged((entry) => {
      entry.shape = [63, 64];
    }),
  ),
  corrupt(
    'shape beyond 64 bits',
    'arithmetic-overflow',
    damaged((entry) => {
      entry.shape = [2 ** 40, 2 ** 40];
    }),
  ),
  corrupt(
    'offsets past the end',
    'offset-range',
    damaged((_, header) => {
      const last = header['transformer_blocks.1.attn1.to_q.bias'] as Entry;
      last.data_offsets[1] += 4;
      last.shape = [65];
    }),
  ),
  {
    name: 'unknown dtype',
    prepare: damaged((entry) => {
      entry.dtype = 'C64';
      entry.shape = [32, 64];
    }),
    code: 'AQ_UNSUPPORTED_DTYPE',
    className: 'MetadataError',
    details: { tensor: FIRST, dtype: 'C64' },
    told: [WEIGHTS, 'C64', FIRST],
  },
  {
    name: 'NaN and infinite weights',
    prepare: (folder) => {
      const tensors = ditTensors(2, 64);
      const values = new Float32Array(64 * 64).fill(0.5);
      values[3 * 64 + 5] = Number.NaN;
      values[7 * 64] = -Infinity;
      return writeModel(folder, { ...tensors, [FIRST]: f32([64, 64], values) });
    },
    code: 'AQ_NON_FINITE_WEIGHTS',
    className: 'QuantizationError',
    details: { index: [3, 5], value: 'NaN', count: 2 },
    told: [FIRST.replace('.weight', ''), '[3, 5]'],
  },
  {
    name: 'nothing to quantize',
    prepare: (folder) => writeModel(folder, { 'norm.weight': f32([64], new Float32Array(64)) }),
    code: 'AQ_QUANTIZATION_FAILED',
    className: 'QuantizationError',
    details: { reason: 'nothing-to-quantize' },
    told: ['model'],
  },
  {
    name: 'a pickle',
    prepare: (folder) => {
      writeFileSync(path.join(folder, 'm.ckpt'), Buffer.from('PK\u0003\u0004xxxx'));
      return path.join(folder, 'm.ckpt');
    },
    code: 'AQ_UNSUPPORTED_FORMAT',
    className: 'MetadataError',
    told: ['m.ckpt'],
  },
  {
    name: 'metadata.json that is no JSON',
    prepare: (folder) => {
      const model = writeModel(folder);
      writeFileSync(path.join(model, 'metadata.json'), '{"modality": imag }');
      return model;
    },
    code: 'AQ_SERDE',
    className: 'QuantizationError',
    details: { line: 1, column: 14 },
    told: ['metadata.json'],
  },
  {
    name: 'an unknown modality',
    prepare: (folder) => {
      const model = writeModel(folder);
      writeFileSync(path.join(model, 'metadata.json'), '{"modality":"hologram"}');
      return model;
    },
    code: 'AQ_UNKNOWN_MODALITY',
    className: 'MetadataError',
    details: { value: 'hologram' },
    told: ['hologram', 'metadata.json'],
  },
  {
    name: 'a modality nothing tells',
    prepare: (folder) => {
      writeFileSync(path.join(folder, 'w.safetensors'), encode({ w: f32([64, 64], new Float32Array(4096).fill(1)) }));
      return path.join(folder, 'w.safetensors');
    },
    code: 'AQ_UNKNOWN_MODALITY',
    className: 'MetadataError',
    details: { value: null },
    told: ['w.safetensors'],
  },
];

test.each(cases)('$name', async ({ prepare, code, className, details, told }) => {
  const folder = tempDir();
  const modelPath = prepare(folder);
  const before = listing(folder);
  const error = await caught(() =>
    quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0 }),
  );
  expect(error).toMatchObject({ code, name: className });
  if (details !== undefined) expect(error.details).toMatchObject(details);
  for (const text of told) expect(error.message).toContain(text);
  expect(error.message).toMatch(/ Hint: .| Suggestions: \(1\) .+\(2\) /);
  expect(listing(folder)).toEqual(before);
});

describe('output', () => {
  test('below a regular file', async () => {
    const folder = tempDir();
    const modelPath = writeModel(folder);
    writeFileSync(path.join(folder, 'file'), '');
    const before = listing(folder);
    const error = await caught(() =>
      quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'file/out'), minAccuracy: 0 }),
    );
    expect(error).toMatchObject({ code: 'AQ_IO', details: { errno: 'ENOTDIR', attempts: 1 } });
    expect(error.message).toContain('file');
    expect(listing(folder)).toEqual(before);
  });
  test('a name too long', async () => {
    const folder = tempDir();
    const error = await caught(() =>
      quantizeDiffusionModel({
        modelPath: writeModel(folder),
        outputPath: path.join(folder, 'x'.repeat(300)),
        minAccuracy: 0,
      }),
    );
    expect(error).toMatchObject({ code: 'AQ_IO', details: { errno: 'ENAMETOOLONG' } });
    expect(listing(folder).filter((name) => !name.startsWith('model'))).toEqual([]);
  });
  test('into a folder that may not be written', async () => {
    const folder = tempDir();
    chmodSync(folder, 0o755);
    const modelPath = writeModel(folder);
    const locked = path.join(folder, 'locked');
    mkdirSync(locked, { mode: 0o555 });
    const request = { modelPath, outputPath: path.join(locked, 'out'), minAccuracy: 0 };
    // Root may write anywhere, so the process gives that up, once everything is loaded that only root may read.
    const script = `const aq = await import(${JSON.stringify(path.join(ROOT, 'dist/index.js'))});
      await aq.inspect(${JSON.stringify(modelPath)});
      if (process.geteuid() === 0) process.seteuid(65534);
      const error = await aq.quantizeDiffusionModel(${JSON.stringify(request)}).catch((e) => e);
      console.log(JSON.stringify(error));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    const error = errorFromJSON(stdout);
    expect(error).toMatchObject({ code: 'AQ_IO', kind: 'user', details: { errno: 'EACCES', attempts: 1 } });
    expect(error.message).toContain(locked);
    expect(listing(locked)).toEqual([]);
  });
});

test('a layer name that matches nothing is refused with the nearest names', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder);
  const outputPath = path.join(folder, 'out');
  const skip = await caught(() =>
    quantizeDiffusionModel({ modelPath, outputPath, skipLayers: ['transformer_blocks.0.attn1.to_p'] }),
  );
  expect(skip).toMatchObject({
    code: 'AQ_INVALID_CONFIG',
    issues: [{ path: 'skipLayers[0]', expected: 'the name of a tensor of the model' }],
  });
  expect(skip.message).toContain('transformer_blocks.0.attn1.to_q');
  const component = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, components: ['vae'] }));
  expect(component.code).toBe('AQ_INVALID_CONFIG');
});

test('the output of a job is refused as input: quantizing twice adds two errors', async () => {
  const folder = tempDir();
  const first = path.join(folder, 'first');
  await quantizeDiffusionModel({ modelPath: writeModel(folder), outputPath: first, minAccuracy: 0 });
  const error = await caught(() =>
    quantizeDiffusionModel({ modelPath: first, outputPath: path.join(folder, 'second'), minAccuracy: 0 }),
  );
  expect(error).toMatchObject({ code: 'AQ_QUANTIZATION_FAILED', details: { reason: 'already-quantized' } });
});
