/** In-memory quantization up to the addon, with a stand-in for it. */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import {
  ArrowQuantV2,
  ConfigurationError,
  DiffusionQuantConfig,
  quantize,
  ShapeMismatchError,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative } from './helpers/stub-native.js';

let stub = new StubNative();
vi.mock('../src-ts/native.js', () => ({ loadNative: async () => stub }));
beforeEach(() => {
  stub = new StubNative();
});
const row = new Float32Array(4);

test('sorted names, shapes, and given options only', async () => {
  const result = await quantize({ b: row, a: { data: new Float32Array(6), shape: [2, 3] } }, { bitWidth: 8 });
  expect(stub.tensors).toEqual([
    { name: 'a', shape: [2, 3], config: { deploymentProfile: 'local', bitWidth: 8 } },
    { name: 'b', shape: [1, 4], config: { deploymentProfile: 'local', bitWidth: 8 } },
  ]);
  expect(result).toMatchObject({ layers: [{ name: 'a' }, { name: 'b' }], failures: [] });
});
test('a profile and a configuration; what means nothing in memory is left out', async () => {
  await quantize({ a: row }, 'edge');
  await new ArrowQuantV2().quantize({ a: row }, new DiffusionQuantConfig({ symmetric: true, numTimeGroups: 5 }));
  expect(stub.tensors.map(({ config }) => config)).toEqual([
    { deploymentProfile: 'edge' },
    { deploymentProfile: 'local', symmetric: true },
  ]);
});
test('a shared buffer and an empty tensor pass', async () => {
  await quantize({ a: new Float32Array(new SharedArrayBuffer(16)), b: { data: new Float32Array(0), shape: [0, 4] } });
  expect(stub.tensors).toHaveLength(2);
});

describe('refused', () => {
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  test.each([
    ['nothing', undefined, 'weights'],
    ['an empty record', {}, 'weights'],
    ['an array', [row], 'weights'],
    ['a Map', new Map([['a', row]]), 'weights'],
    ['Float64Array', { a: new Float64Array(4) }, 'weights["a"]'],
    ['a plain array', { a: [1, 2] }, 'weights["a"]'],
    ['null', { a: null }, 'weights["a"]'],
    ['a detached buffer', { a: detached }, 'weights["a"]'],
    ['data of a wrong type', { a: { data: [1], shape: [1] } }, 'weights["a"].data'],
    ['no data', { a: { shape: [1] } }, 'weights["a"].data'],
    ['no shape', { a: { data: row } }, 'weights["a"].shape'],
    ['a fraction in a shape', { a: { data: row, shape: [1.5, 2] } }, 'weights["a"].shape'],
    ['a negative extent', { a: { data: row, shape: [-1, -4] } }, 'weights["a"].shape'],
    ['a key too many', { a: { data: row, shape: [1, 4], dtype: 'f32' } }, 'weights["a"].dtype'],
    ['__proto__', JSON.parse('{"__proto__":{}}'), 'weights["__proto__"]'],
  ])('%s', async (_, weights, where) => {
    const error = (await caught(() => quantize(weights as never))) as ConfigurationError;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.issues[0]?.path).toBe(where);
    expect(stub.tensors).toHaveLength(0);
  });
  test('a shape that does not fit', async () => {
    const error = await caught(() => quantize({ w: { data: new Float32Array(5), shape: [2, 3] } }));
    expect(error).toBeInstanceOf(ShapeMismatchError);
    expect(error.details).toEqual({ subject: 'buffer', name: 'w', expected: [2, 3], actual: [5] });
  });
  test.each([
    [{ bitWidth: 3 }, 'AQ_INVALID_BIT_WIDTH'],
    [{ numTimeGroups: 5 }, 'AQ_INVALID_CONFIG'],
    [{ continueOnError: 1 }, 'AQ_INVALID_CONFIG'],
    [5, 'AQ_INVALID_CONFIG'],
  ])('options %j', async (options, code) => {
    expect((await caught(() => quantize({ a: row }, options as never))).code).toBe(code);
  });
});

describe('failures of single tensors', () => {
  const weights = { d: row, c: { data: row, shape: [3, 3] }, b: new Float64Array(1) as never, a: row };
  beforeEach(() => {
    stub.tensor = (name) =>
      name === 'd'
        ? { outcome: JSON.stringify(failure('AQ_NON_FINITE_WEIGHTS', 'QuantizationError')) }
        : {
            outcome: JSON.stringify({ ok: true, value: { name } }),
            codes: new Uint8Array(1),
            scales: new Float32Array(1),
          };
  });
  test('continueOnError keeps the good ones', async () => {
    const { layers, failures } = await quantize(weights, { continueOnError: true });
    expect(layers.map(({ name }) => name)).toEqual(['a']);
    expect(failures.map(({ layer, error }) => [layer, error.code])).toEqual([
      ['b', 'AQ_INVALID_CONFIG'],
      ['c', 'AQ_SHAPE_MISMATCH'],
      ['d', 'AQ_NON_FINITE_WEIGHTS'],
    ]);
  });
  test('without it the first in sorted order rejects', async () => {
    expect((await caught(() => quantize(weights))).code).toBe('AQ_INVALID_CONFIG');
  });
  test('an abort is never a failure of a tensor', async () => {
    const signal = AbortSignal.abort('x');
    expect((await caught(() => quantize(weights, { continueOnError: true, signal }))).code).toBe('AQ_ABORTED');
  });
});
