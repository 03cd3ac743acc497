/** Errors as objects: the catalogue behind them, what is enumerable, what is no error of ours, and safe names. */
import { describe, expect, test } from 'vitest';
import { createError } from '../src-ts/errors/create.js';
import { displayName, escapeText } from '../src-ts/errors/text.js';
import * as aq from '../src-ts/index.js';
import { sampleError, TEST_CALL } from './helpers/sample-error.js';

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
    const error = sampleError(code);
    expect(error.name).toBe(row.className);
    expect(error.message).toContain(`Hint: ${error.hint}`);
  });
  test('several actions become suggestions', () => {
    const error = createError(
      'AQ_OUT_OF_DISK',
      { sentence: 'Full.', actions: ['free space', 'go elsewhere'], details: {} as never },
      TEST_CALL,
    );
    expect(error.message).toBe('Full. Suggestions: (1) free space, (2) go elsewhere.');
    expect(error.hint).toBe('free space');
  });
  test.each(['AQ_NOPE', '__proto__', 5])('explainError(%s) refuses', (code) => {
    expect(() => aq.explainError(code as never)).toThrow(aq.ConfigurationError);
  });
});

test.each([null, undefined, 5, 'x', {}, new Error('x'), new DOMException('x', 'AbortError')])('%s is none', (value) => {
  expect(value instanceof aq.ArrowQuantError).toBe(false);
  expect(aq.isArrowQuantError(value)).toBe(false);
});
test('only code and details are enumerable', () => {
  expect(Object.keys(sampleError('AQ_IO')).sort()).toEqual(['code', 'details']);
});

test('names are escaped and cut in the middle', () => {
  expect(escapeText('a\u001b[31m\u202eb\u200b')).toBe('a\\u{1b}[31m\\u{202e}b\\u{200b}');
  expect(displayName('x'.repeat(1000))).toHaveLength(200);
  expect(displayName('\u0000'.repeat(1000))).toHaveLength(200);
});
