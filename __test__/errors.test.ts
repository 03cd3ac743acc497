import { Worker } from 'node:worker_threads';
import { describe, expect, test, vi } from 'vitest';
import { createError, instantiate } from '../src-ts/errors/create.js';
import { displayName, escapeText } from '../src-ts/errors/text.js';
import { internalError, unwrapOutcome } from '../src-ts/errors/throw-native.js';
import * as aq from '../src-ts/index.js';
import { loadNative } from '../src-ts/native.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative, success } from './helpers/stub-native.js';

const call = { operation: 'test', startedAt: performance.now(), callSite: undefined };
const CLASSES = {
  QuantizationError: aq.QuantizationError,
  ConfigurationError: aq.ConfigurationError,
  ValidationError: aq.ValidationError,
  ModelNotFoundError: aq.ModelNotFoundError,
  MetadataError: aq.MetadataError,
  ShapeMismatchError: aq.ShapeMismatchError,
  AbortError: aq.AbortError,
} as const;

/** One error of a code, as the addon would describe it. */
function sample(code: aq.ErrorCode): aq.ArrowQuantError {
  const actions: [string, ...string[]] = [aq.explainError(code).hint];
  const details = { issues: [{ path: 'x' }], path: '/x', similarity: 0.5, threshold: 0.9, expected: [1], actual: [2] };
  return createError(code, { sentence: 'It failed.', actions, details: details as never }, call);
}

describe('catalogue', () => {
  test('thirty codes, sorted, frozen', () => {
    expect(aq.ERROR_CODES).toHaveLength(30);
    expect([...aq.ERROR_CODES].sort()).toEqual(aq.ERROR_CODES);
    expect(Object.isFrozen(aq.ERROR_CODES)).toBe(true);
  });
  test.each([...aq.ERROR_CODES])('%s', (code) => {
    const row = aq.explainError(code);
    expect(row.title.length).toBeLessThanOrEqual(32);
    expect(row.hint).not.toBe('');
    expect(row.retryable).toBe(row.kind === 'transient');
    const error = sample(code);
    expect(error.name).toBe(row.className);
    expect(error.message).toContain(`Hint: ${error.hint}`);
  });
  test('several actions become suggestions', () => {
    const error = createError(
      'AQ_OUT_OF_DISK',
      { sentence: 'Full.', actions: ['free space', 'go elsewhere'], details: {} as never },
      call,
    );
    expect(error.message).toBe('Full. Suggestions: (1) free space, (2) go elsewhere.');
    expect(error.hint).toBe('free space');
  });
  test.each(['AQ_NOPE', '__proto__', 5])('explainError(%s) refuses', (code) => {
    expect(() => aq.explainError(code as never)).toThrow(aq.ConfigurationError);
  });
});

describe('exception inheritance', () => {
  const errors = aq.ERROR_CODES.map(sample);
  test.each(Object.entries(CLASSES))('%s', (name, Class) => {
    const own = errors.filter((error) => error.name === name);
    expect(own.length).toBeGreaterThan(0);
    for (const error of own) {
      expect(error).toBeInstanceOf(Class);
      expect(error).toBeInstanceOf(aq.ArrowQuantError);
      expect(error).toBeInstanceOf(Error);
      expect(Object.getPrototypeOf(error)).toBe(Class.prototype);
      for (const [other, Sibling] of Object.entries(CLASSES)) expect(error instanceof Sibling).toBe(other === name);
    }
  });
  test('a second copy of the package recognises the errors of the first, both ways', async () => {
    vi.resetModules();
    const copy = await import('../src-ts/index.js');
    expect(copy.ConfigurationError).not.toBe(aq.ConfigurationError);
    const error = await caught(() => new aq.DiffusionQuantConfig({ bitWidth: 3 as never }));
    expect(error).toBeInstanceOf(copy.ConfigurationError);
    expect(error).toBeInstanceOf(copy.ArrowQuantError);
    expect(error).not.toBeInstanceOf(copy.MetadataError);
    expect(copy.isArrowQuantError(error, 'AQ_INVALID_BIT_WIDTH')).toBe(true);
    expect(new copy.DiffusionQuantConfig(new aq.DiffusionQuantConfig({ bitWidth: 8 })).bitWidth).toBe(8);
  });
  test("a user's subclass keeps ordinary semantics", () => {
    class Mine extends aq.QuantizationError {}
    class Other extends aq.QuantizationError {}
    const mine = new Mine(sample('AQ_IO').toJSON() as never);
    expect(mine).toBeInstanceOf(Mine);
    expect(mine).toBeInstanceOf(aq.QuantizationError);
    expect(mine).not.toBeInstanceOf(Other);
    expect(sample('AQ_IO')).not.toBeInstanceOf(Mine);
  });
  test.each([null, undefined, 5, 'x', {}, new Error('x'), new DOMException('x', 'AbortError')])(
    '%s is none',
    (value) => {
      expect(value instanceof aq.ArrowQuantError).toBe(false);
      expect(aq.isArrowQuantError(value)).toBe(false);
    },
  );
  test('only code and details are enumerable', () => {
    expect(Object.keys(sample('AQ_IO')).sort()).toEqual(['code', 'details']);
  });
});

describe('JSON', () => {
  test.each([...aq.ERROR_CODES])('%s is revived as it was', (code) => {
    const error = sample(code);
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
    expect(internalError('x', call, { cause: first }).toJSON().causes).toHaveLength(8);
    last.cause = first;
    first.cause = first;
    expect(internalError('x', call, { cause: first }).toJSON().causes).toHaveLength(1);
  });
  test('an unknown code revives as the base class', () => {
    const revived = aq.errorFromJSON({ ...sample('AQ_IO').toJSON(), code: 'AQ_FROM_THE_FUTURE' });
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

describe('outcomes of the addon', () => {
  const unwrap = (outcome: unknown, signal?: AbortSignal) => () =>
    unwrapOutcome(typeof outcome === 'string' ? outcome : JSON.stringify(outcome), call, signal);

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
    expect(instantiate({ ...sample('AQ_NATIVE_LOAD').toJSON() }).constructor).toBe(aq.ArrowQuantError);
  });
});

describe('loading the addon', () => {
  test('missing, incomplete and of another version', async () => {
    const missing = await caught(() =>
      loadNative(call, () => Promise.reject(new Error('Cannot find it', { cause: new Error('no such file') }))),
    );
    expect(missing).toMatchObject({
      code: 'AQ_NATIVE_LOAD',
      details: { platform: process.platform, tried: ['no such file'] },
    });
    expect(missing.suggestions.length).toBeGreaterThan(1);
    expect(await caught(() => loadNative(call, async () => ({})))).toMatchObject({ code: 'AQ_NATIVE_LOAD' });
    const old = Object.assign(new StubNative(), { version: () => '0.0.1' });
    expect((await caught(() => loadNative(call, async () => old))).message).toContain('0.0.1');
  });
});

test('names are escaped and cut in the middle', () => {
  expect(escapeText('a\u001b[31m\u202eb\u200b')).toBe('a\\u{1b}[31m\\u{202e}b\\u{200b}');
  expect(displayName('x'.repeat(1000))).toHaveLength(200);
  expect(displayName('\u0000'.repeat(1000))).toHaveLength(200);
});
