/** Errors that cross threads and processes. */
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { internalError } from '../src-ts/errors/throw-native.js';
import * as aq from '../src-ts/index.js';
import { sampleError, TEST_CALL } from './helpers/sample-error.js';

describe('JSON', () => {
  test.each([...aq.ERROR_CODES])('%s is revived as it was', (code) => {
    const error = sampleError(code);
    const revived = aq.errorFromJSON(JSON.parse(JSON.stringify(error)));
    expect(revived.constructor).toBe(error.constructor);
    expect(JSON.stringify(revived)).toBe(JSON.stringify(error));
  });
  test('causes are flattened, at most 8, and a cycle ends', () => {
    const first = new Error('0');
    let last = first;
    for (let i = 1; i < 12; i += 1) {
      const next = new Error(`${i}`);
      last.cause = next;
      last = next;
    }
    expect(internalError('x', TEST_CALL, { cause: first }).toJSON().causes).toHaveLength(8);
    last.cause = first;
    first.cause = first;
    expect(internalError('x', TEST_CALL, { cause: first }).toJSON().causes).toHaveLength(1);
  });
  test('a function as a cause is not asked for its text', () => {
    const cause = Object.assign(() => 1, {
      toString() {
        throw new Error('mine');
      },
    });
    const { causes } = internalError('x', TEST_CALL, { cause }).toJSON();
    expect(causes).toEqual([{ name: 'function', message: '', code: null }]);
  });
  test('an unknown code revives as the base class', () => {
    const revived = aq.errorFromJSON({ ...sampleError('AQ_IO').toJSON(), code: 'AQ_FROM_THE_FUTURE' });
    expect(revived.constructor).toBe(aq.ArrowQuantError);
    expect(revived.code).toBe('AQ_FROM_THE_FUTURE');
  });
  test.each([null, 5, '{', {}, new Error('x'), { code: 'ENOENT', message: 'x' }])('%s is refused', (value) => {
    expect(() => aq.errorFromJSON(value)).toThrow(aq.ConfigurationError);
  });
  test("what a worker's error event delivers is revived", async () => {
    const url = new URL('../dist/index.js', import.meta.url).href;
    const worker = new Worker(
      `import(${JSON.stringify(url)}).then(({ DiffusionQuantConfig }) => { setImmediate(() => new DiffusionQuantConfig({ bitWidth: 3 })); });`,
      { eval: true },
    );
    const delivered = await new Promise<unknown>((resolve) => worker.once('error', resolve));
    expect(delivered).not.toBeInstanceOf(aq.ArrowQuantError);
    const revived = aq.errorFromJSON(delivered);
    expect(revived).toBeInstanceOf(aq.ConfigurationError);
    expect(revived.code).toBe('AQ_INVALID_BIT_WIDTH');
    expect(revived.hint).toContain('Set bitWidth');
  });
});
