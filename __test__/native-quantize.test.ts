/** Tensors in memory through the addon. */
import { describe, expect, test } from 'vitest';
import { type QuantizedTensor, quantize, version } from '../src-ts/index.js';
import { loadNative } from '../src-ts/native.js';
import { caught } from './helpers/caught.js';
import { gaussian } from './helpers/models.js';

/** Decodes as the documentation says: codes packed lowest bits first, groups along the row. */
function decode(tensor: QuantizedTensor): Float32Array {
  const { codes, scales, zeros, bitWidth, storedGroupSize, symmetric, shape } = tensor;
  const row = shape.slice(1).reduce((a, b) => a * b, 1);
  const perByte = 8 / bitWidth;
  return Float32Array.from({ length: (shape[0] as number) * row }, (_, index) => {
    const byte = codes[Math.floor(index / perByte)] as number;
    const code = (byte >> ((index % perByte) * bitWidth)) & (2 ** bitWidth - 1);
    const group = Math.floor(index / row) * (row / storedGroupSize) + Math.floor((index % row) / storedGroupSize);
    const scale = scales[group] as number;
    return symmetric ? (code - 2 ** (bitWidth - 1)) * scale : code * scale + (zeros?.[group] as number);
  });
}

const cosine = (a: Float32Array, b: Float32Array) => {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    const [x, y] = [a[i] as number, b[i] as number];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / Math.sqrt(aa * bb);
};

describe('codes, scales and zeros decode to what the report says', () => {
  for (const bitWidth of [2, 4, 8] as const) {
    for (const symmetric of [false, true]) {
      test(`${bitWidth} bits, ${symmetric ? 'symmetric' : 'asymmetric'}`, async () => {
        const data = gaussian(32 * 128, bitWidth);
        const { layers } = await quantize({ w: { data, shape: [32, 128] } }, { bitWidth, symmetric, groupSize: 64 });
        const tensor = layers[0] as QuantizedTensor;
        expect(tensor).toMatchObject({
          name: 'w',
          shape: [32, 128],
          bitWidth,
          groupSize: 64,
          storedGroupSize: 64,
          symmetric,
        });
        expect(tensor.codes).toHaveLength((32 * 128 * bitWidth) / 8);
        expect(tensor.scales).toHaveLength(64);
        expect(tensor.zeros?.length).toBe(symmetric ? undefined : 64);
        expect(cosine(decode(tensor), data)).toBeCloseTo(tensor.cosine, 6);
        expect(tensor.cosine).toBeGreaterThan({ 2: 0.85, 4: 0.99, 8: 0.9999 }[bitWidth]);
      });
    }
  }
});

test('groups are those of a row, as in the order of scales: [out, groups(, taps)]', async () => {
  const conv = { data: gaussian(8 * 64 * 9), shape: [8, 64, 3, 3] };
  const { layers } = await quantize({ a: { data: gaussian(32 * 128), shape: [32, 128] }, conv }, { groupSize: 32 });
  expect(layers.map(({ groups }) => groups)).toEqual([4, 2]);
});

test('the data are copied at once: changing them afterwards changes nothing', async () => {
  const data = gaussian(64 * 64);
  const [expected] = (await quantize({ w: { data: data.slice(), shape: [64, 64] } })).layers;
  const promise = quantize({ w: { data, shape: [64, 64] } });
  await new Promise((resolve) => setImmediate(resolve));
  data.fill(9);
  expect((await promise).layers[0]?.codes).toEqual(expected?.codes);
});

test('failures: NaN, shapes, and the good ones kept', async () => {
  const bad = gaussian(64);
  bad[5] = Number.NaN;
  const error = await caught(() => quantize({ w: { data: bad, shape: [1, 64] } }));
  expect(error).toMatchObject({ code: 'AQ_NON_FINITE_WEIGHTS', details: { index: [0, 5], value: 'NaN', count: 1 } });
  const good = gaussian(64);
  const weights = { a: good, b: bad, c: { data: good, shape: [2, 2] } };
  const { layers, failures } = await quantize(weights, { continueOnError: true });
  expect(layers.map(({ name }) => name)).toEqual(['a']);
  expect(failures.map(({ layer, error: { code } }) => [layer, code])).toEqual([
    ['b', 'AQ_NON_FINITE_WEIGHTS'],
    ['c', 'AQ_SHAPE_MISMATCH'],
  ]);
});

test('convolutions and single rows', async () => {
  const { layers } = await quantize(
    { conv: { data: gaussian(8 * 64 * 9), shape: [8, 64, 3, 3] }, row: gaussian(64) },
    { groupSize: 32 },
  );
  expect(layers.map(({ scales }) => scales.length)).toEqual([8 * 2 * 9, 2]);
});

test('the addon is of the version of the package, and names itself', async () => {
  const native = await loadNative({ operation: 'test', startedAt: 0, callSite: undefined });
  expect(native.version()).toBe(version);
  expect(JSON.parse(native.systemInfo())).toMatchObject({
    ok: true,
    value: { version, simd: expect.any(String), threads: expect.any(Number) },
  });
});
