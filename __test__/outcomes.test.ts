/** What the addon answers, and what becomes of it; and an addon that is not there or not the right one. */
import { describe, expect, test } from 'vitest';
import { instantiate } from '../src-ts/errors/create.js';
import { unwrapOutcome } from '../src-ts/errors/throw-native.js';
import * as aq from '../src-ts/index.js';
import { loadNative } from '../src-ts/native.js';
import { caught } from './helpers/caught.js';
import { sampleError, TEST_CALL } from './helpers/sample-error.js';
import { failure, StubNative, success } from './helpers/stub-native.js';

describe('outcomes of the addon', () => {
  const unwrap = (outcome: unknown, signal?: AbortSignal) => () =>
    unwrapOutcome(typeof outcome === 'string' ? outcome : JSON.stringify(outcome), TEST_CALL, signal);

  test('a value is a value', () => {
    expect(unwrap(success({ a: 1 }))()).toEqual({ a: 1 });
  });
  test.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['neither', '{}'],
    ['no value', '{"ok":true}'],
    ['no error', '{"ok":false}'],
    ['an unknown code', failure('AQ_NEW', 'QuantizationError')],
    ['a class that disagrees', failure('AQ_IO', 'MetadataError')],
    ['details missing', failure('AQ_IO', 'QuantizationError', { details: null })],
  ])('malformed: %s', async (_, outcome) => {
    expect(await caught(unwrap(outcome))).toMatchObject({ code: 'AQ_INTERNAL', name: 'QuantizationError' });
  });
  test('class, report and chain of causes', async () => {
    const causes = [
      { name: 'Error', message: 'outer', code: 'ENOENT' },
      { name: 'ParseError', message: 'inner', code: null },
    ];
    const details = { op: 'open', path: '/m', errno: 'ENOENT', attempts: 1 };
    const error = await caught(
      unwrap(failure('AQ_IO', 'QuantizationError', { causes, details, report: { layers: [] } })),
    );
    expect(error).toBeInstanceOf(aq.QuantizationError);
    expect(error.report).toEqual({ layers: [] });
    expect(error.cause).toMatchObject({ message: 'outer', code: 'ENOENT', syscall: 'open', path: '/m' });
    expect((error.cause as { errno: number }).errno).toBeLessThan(0);
    expect((error.cause as Error).cause).toMatchObject({ name: 'ParseError', message: 'inner' });
  });
  test('an abort carries the very reason', async () => {
    const reason = { mine: true };
    const error = await caught(unwrap(failure('AQ_ABORTED', 'AbortError'), AbortSignal.abort(reason)));
    expect(error).toBeInstanceOf(aq.AbortError);
    expect(error.cause).toBe(reason);
  });
  test('the base class takes a code from elsewhere without a class', () => {
    expect(instantiate({ ...sampleError('AQ_NATIVE_LOAD').toJSON() }).constructor).toBe(aq.ArrowQuantError);
  });
});

describe('loading the addon', () => {
  test('missing, incomplete and of another version', async () => {
    const missing = await caught(() =>
      loadNative(TEST_CALL, () => Promise.reject(new Error('Cannot find it', { cause: new Error('no such file') }))),
    );
    expect(missing).toMatchObject({
      code: 'AQ_NATIVE_LOAD',
      details: { platform: process.platform, tried: ['no such file'] },
    });
    expect(missing.suggestions.length).toBeGreaterThan(1);
    expect(await caught(() => loadNative(TEST_CALL, async () => ({})))).toMatchObject({ code: 'AQ_NATIVE_LOAD' });
    const old = Object.assign(new StubNative(), { version: () => '0.0.1' });
    expect((await caught(() => loadNative(TEST_CALL, async () => old))).message).toContain('0.0.1');
  });
});
