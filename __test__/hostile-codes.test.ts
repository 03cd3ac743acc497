/** Files of codes cut short or flipped bit by bit: each is opened, or refused with an error that says why, and nothing else. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type ArrowQuantError,
  type ErrorCode,
  inspect,
  type Layout,
  MetadataError,
  openQuantizedModel,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { outcomeOf } from './helpers/fault.js';
import { ACTS } from './helpers/hostile.js';
import { ditTensors, writeFlux, writeModel } from './helpers/models.js';
import { sample } from './helpers/sample.js';
import { tempDir } from './helpers/temp.js';
import { within } from './helpers/within.js';

const LONG = { timeout: 600_000 };
const CUTS = 50;
/** With `AQ_TEST_LONG=1`; 300 of them otherwise. */
const FLIPS = 6000;
const CODES: readonly ErrorCode[] = [
  'AQ_CORRUPT_MODEL',
  'AQ_METADATA',
  'AQ_UNSUPPORTED_FORMAT',
  'AQ_UNSUPPORTED_DTYPE',
];

const dit = (folder: string) => writeModel(folder, ditTensors(2, 64));

/** A folder that holds a model in a layout, and the one file of its weights. */
async function written(layout: Layout, make: (folder: string) => string): Promise<{ folder: string; file: string }> {
  const parent = tempDir();
  const folder = path.join(parent, 'out');
  await quantizeDiffusionModel({ modelPath: make(parent), outputPath: folder, layout, minAccuracy: 0 });
  const names = readdirSync(folder).filter((name) => /\.(?:parquet|safetensors)$/.test(name));
  expect(names).toHaveLength(1);
  return { folder, file: path.join(folder, names[0] ?? '') };
}

/** Every row of every layer. */
async function everything(folder: string): Promise<Map<string, Float32Array>> {
  const model = await openQuantizedModel(folder);
  try {
    const values = new Map<string, Float32Array>();
    for (const { name } of model.layers) values.set(name, await model.dequantize(name));
    return values;
  } finally {
    model.close();
  }
}

/** Numbers below a bound, always the same. */
function numbers(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** The places from `begin` to `end`. */
const region = (begin: number, end: number) => Array.from({ length: end - begin }, (_, i) => begin + i);

/** Where the header of a safetensors file ends. */
const headerEnd = (bytes: Buffer) => 8 + Number(bytes.readBigUInt64LE());

/** Where the footer of a Parquet file begins, before its length and the magic. */
const footerBegin = (bytes: Buffer) => bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8);

/** Where the JSON of ComfyUI's marks stands. */
function marks(bytes: Buffer): number[] {
  const start = headerEnd(bytes);
  const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(bytes.toString('utf8', 8, start));
  const found = Object.entries(header).filter(([name]) => name.endsWith('.comfy_quant'));
  return found.flatMap(([, { data_offsets }]) => region(start + data_offsets[0], start + data_offsets[1]));
}

interface Case {
  readonly layout: Layout;
  readonly make: (folder: string) => string;
  /** Which bytes are flipped. */
  readonly places: Readonly<Record<string, (good: Buffer) => number[]>>;
  /** Checksums: what is read without an error is what was written. */
  readonly sums: boolean;
}

const header = (good: Buffer) => region(0, headerEnd(good));
const CASES: readonly Case[] = [
  {
    layout: 'parquet',
    make: dit,
    places: { file: ({ length }) => region(0, length), footer: (good) => region(footerBegin(good), good.length) },
    sums: true,
  },
  { layout: 'comfyui', make: writeFlux, places: { header, marks }, sums: false },
  { layout: 'compressed-tensors', make: dit, places: { header }, sums: false },
];

describe.each(CASES)('$layout', ({ layout, make, places, sums }) => {
  test('cut at many places', LONG, async () => {
    const { folder, file } = await written(layout, make);
    const good = readFileSync(file);
    for (let i = 0; i < CUTS; i += 1) {
      const length = Math.floor((good.length * i) / CUTS);
      writeFileSync(file, good.subarray(0, length));
      const error = await within(5000, () => caught(() => everything(folder)));
      expect(error, `${length} bytes`).toBeInstanceOf(MetadataError);
      expect(error, `${length} bytes`).toMatchObject({ code: 'AQ_CORRUPT_MODEL' });
    }
    writeFileSync(file, good.subarray(0, good.length - 1));
    expect(await caught(() => everything(folder))).toMatchObject({ code: 'AQ_CORRUPT_MODEL' });
  });

  test.each(Object.entries(places))('bits of its %s, flipped', LONG, async (_, placesOf) => {
    const { folder, file } = await written(layout, make);
    const good = readFileSync(file);
    const wanted = await everything(folder);
    const [spots, number] = [placesOf(good), numbers(7)];
    const cases = Array.from({ length: FLIPS }, () => ({ at: spots[number(spots.length)] ?? 0, bit: number(8) }));
    const seen = { read: 0, refused: 0 };
    for (const { at, bit } of sample(cases, 300)) {
      const bytes = Buffer.from(good);
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at);
      writeFileSync(file, bytes);
      const context = `bit ${bit} of byte ${at}, in ${JSON.stringify(good.toString('latin1', at - 12, at + 12))}`;
      expectKnown((await within(5000, () => outcomeOf(() => inspect(folder)))).error, context);
      const { value, error } = await within(5000, () => outcomeOf(() => everything(folder)));
      expectKnown(error, context);
      seen[error === undefined ? 'read' : 'refused'] += 1;
      for (const [name, values] of sums ? (value ?? []) : [])
        expectSame(values, wanted.get(name), `${name}, ${context}`);
    }
    // A sample without either would prove little.
    expect(Math.min(seen.read, seen.refused), JSON.stringify(seen)).toBeGreaterThan(5);
  });
});

/** No error, or one that says what is wrong with the file. */
function expectKnown(error: ArrowQuantError | undefined, context: string): void {
  if (error === undefined) return;
  expect(CODES, `${context}: ${error.message}`).toContain(error.code);
  expect(error, context).toBeInstanceOf(MetadataError);
  expect(error.message, context).not.toMatch(ACTS);
}

/** Equal bytes, where the layer has the name that it had. */
function expectSame(values: Float32Array, wanted: Float32Array | undefined, context: string): void {
  if (wanted === undefined) return;
  const [a, b] = [values, wanted].map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  expect(a !== undefined && b !== undefined && a.equals(b), context).toBe(true);
}
