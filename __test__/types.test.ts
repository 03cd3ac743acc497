/**
 * Types as callers see them. `expectTypeOf` is judged by the compiler (`tsc --noEmit` covers this folder); what also
 * exists at run time is compared there.
 */
import { describe, expect, expectTypeOf, test } from 'vitest';
import type { ERROR_CATALOG } from '../src-ts/generated/error-catalog.js';
import * as aq from '../src-ts/index.js';
import { sampleError } from './helpers/sample-error.js';

/** Compiles only with every code and no other. */
const EVERY_CODE: Readonly<Record<aq.ErrorCode, keyof aq.ErrorDetails>> = {
  AQ_ABORTED: 'AQ_ABORTED',
  AQ_ARROW: 'AQ_ARROW',
  AQ_CORRUPT_MODEL: 'AQ_CORRUPT_MODEL',
  AQ_DEVICE_FAILED: 'AQ_DEVICE_FAILED',
  AQ_DEVICE_UNAVAILABLE: 'AQ_DEVICE_UNAVAILABLE',
  AQ_INTERNAL: 'AQ_INTERNAL',
  AQ_INVALID_ACCURACY: 'AQ_INVALID_ACCURACY',
  AQ_INVALID_BIT_WIDTH: 'AQ_INVALID_BIT_WIDTH',
  AQ_INVALID_CONFIG: 'AQ_INVALID_CONFIG',
  AQ_INVALID_GROUP_SIZE: 'AQ_INVALID_GROUP_SIZE',
  AQ_INVALID_TIME_GROUPS: 'AQ_INVALID_TIME_GROUPS',
  AQ_IO: 'AQ_IO',
  AQ_METADATA: 'AQ_METADATA',
  AQ_MODEL_NOT_FOUND: 'AQ_MODEL_NOT_FOUND',
  AQ_NATIVE_LOAD: 'AQ_NATIVE_LOAD',
  AQ_NON_FINITE_WEIGHTS: 'AQ_NON_FINITE_WEIGHTS',
  AQ_OUTPUT_BUSY: 'AQ_OUTPUT_BUSY',
  AQ_OUTPUT_EXISTS: 'AQ_OUTPUT_EXISTS',
  AQ_OUT_OF_DISK: 'AQ_OUT_OF_DISK',
  AQ_OUT_OF_MEMORY: 'AQ_OUT_OF_MEMORY',
  AQ_PARQUET: 'AQ_PARQUET',
  AQ_QUANTIZATION_FAILED: 'AQ_QUANTIZATION_FAILED',
  AQ_RESUME_MISMATCH: 'AQ_RESUME_MISMATCH',
  AQ_SERDE: 'AQ_SERDE',
  AQ_SHAPE_MISMATCH: 'AQ_SHAPE_MISMATCH',
  AQ_TIMEOUT: 'AQ_TIMEOUT',
  AQ_UNKNOWN_MODALITY: 'AQ_UNKNOWN_MODALITY',
  AQ_UNSUPPORTED_DTYPE: 'AQ_UNSUPPORTED_DTYPE',
  AQ_UNSUPPORTED_FORMAT: 'AQ_UNSUPPORTED_FORMAT',
  AQ_VALIDATION_FAILED: 'AQ_VALIDATION_FAILED',
};

/** The codes whose catalogue row names a class. */
type CodesOf<Name> = {
  [C in keyof typeof ERROR_CATALOG]: (typeof ERROR_CATALOG)[C]['className'] extends Name ? C : never;
}[keyof typeof ERROR_CATALOG];

describe('codes', () => {
  test('the type, the list and the catalogue are the same set', () => {
    expect(Object.keys(EVERY_CODE).sort()).toEqual(aq.ERROR_CODES);
    expectTypeOf<aq.ErrorCode>().toEqualTypeOf<(typeof aq.ERROR_CODES)[number]>();
    expectTypeOf<aq.ErrorCode>().toEqualTypeOf<keyof aq.ErrorDetails>();
    expectTypeOf<aq.ErrorCode>().toEqualTypeOf<keyof typeof ERROR_CATALOG>();
    expectTypeOf(aq.explainError).parameter(0).toEqualTypeOf<aq.ErrorCode>();
  });
  test('the union of each class is what the catalogue says', () => {
    expectTypeOf<aq.ConfigurationErrorCode>().toEqualTypeOf<CodesOf<'ConfigurationError'>>();
    expectTypeOf<aq.MetadataErrorCode>().toEqualTypeOf<CodesOf<'MetadataError'>>();
    expectTypeOf<aq.QuantizationErrorCode>().toEqualTypeOf<CodesOf<'QuantizationError'>>();
    expectTypeOf<aq.ValidationError['code']>().toEqualTypeOf<CodesOf<'ValidationError'>>();
    expectTypeOf<aq.ModelNotFoundError['code']>().toEqualTypeOf<CodesOf<'ModelNotFoundError'>>();
    expectTypeOf<aq.ShapeMismatchError['code']>().toEqualTypeOf<CodesOf<'ShapeMismatchError'>>();
    expectTypeOf<aq.AbortError['code']>().toEqualTypeOf<CodesOf<'AbortError'>>();
    expectTypeOf<aq.AnyArrowQuantError['code']>().toEqualTypeOf<aq.ErrorCode>();
  });
  test('names are literal, so that they can be branched on', () => {
    expectTypeOf<aq.QuantizationError['name']>().toEqualTypeOf<'QuantizationError'>();
    expectTypeOf<aq.ConfigurationError['name']>().toEqualTypeOf<'ConfigurationError'>();
    expectTypeOf<aq.ValidationError['name']>().toEqualTypeOf<'ValidationError'>();
    expectTypeOf<aq.ModelNotFoundError['name']>().toEqualTypeOf<'ModelNotFoundError'>();
    expectTypeOf<aq.MetadataError['name']>().toEqualTypeOf<'MetadataError'>();
    expectTypeOf<aq.ShapeMismatchError['name']>().toEqualTypeOf<'ShapeMismatchError'>();
    expectTypeOf<aq.AbortError['name']>().toEqualTypeOf<'AbortError'>();
  });
});

describe('narrowing', () => {
  const caught: unknown = sampleError('AQ_IO');

  test('isArrowQuantError with a code narrows the details', () => {
    if (!aq.isArrowQuantError(caught, 'AQ_IO')) return expect.fail('it is one');
    expect(caught.details).toMatchObject({ path: '/x' });
    expectTypeOf(caught.code).toEqualTypeOf<'AQ_IO'>();
    expectTypeOf(caught.details.errno).toEqualTypeOf<string>();
    expectTypeOf(caught.details.attempts).toEqualTypeOf<number>();
    expectTypeOf(caught.details).not.toHaveProperty('issues');
  });
  test('isArrowQuantError without a code narrows to the union', () => {
    if (!aq.isArrowQuantError(caught)) return expect.fail('it is one');
    expect(caught.code).toBe('AQ_IO');
    expectTypeOf(caught).toEqualTypeOf<aq.AnyArrowQuantError>();
    expectTypeOf(caught.retryAfterMs).toEqualTypeOf<number | undefined>();
  });
  test('another code is refused', () => {
    expect(aq.isArrowQuantError(caught, 'AQ_SERDE')).toBe(false);
    // @ts-expect-error: no such code
    expect(aq.isArrowQuantError(caught, 'AQ_NOPE')).toBe(false);
  });
  test('a switch over the code narrows the details', () => {
    const error = caught as aq.AnyArrowQuantError;
    switch (error.code) {
      case 'AQ_INVALID_CONFIG':
        expectTypeOf(error.details.issues).toEqualTypeOf<readonly aq.ConfigIssue[]>();
        return expect.fail('another code');
      case 'AQ_VALIDATION_FAILED':
        expectTypeOf(error.details.bitWidth).toEqualTypeOf<2 | 4 | 8>();
        expectTypeOf(error.details.failed).toEqualTypeOf<readonly aq.FailedLayer[]>();
        return expect.fail('another code');
      case 'AQ_MODEL_NOT_FOUND':
        expectTypeOf(error.details.what).toEqualTypeOf<'model' | 'weights' | 'shard' | 'share'>();
        return expect.fail('another code');
      case 'AQ_IO':
        expectTypeOf(error.details.op).toEqualTypeOf<string>();
        return expect(error.details.path).toBe('/x');
      default:
        expectTypeOf(error.code).not.toExtend<'AQ_IO' | 'AQ_INVALID_CONFIG'>();
        return expect.fail('another code');
    }
  });
  test('instanceof narrows to what the class adds', async () => {
    const error: unknown = await new Promise((resolve) => resolve(sampleError('AQ_INVALID_CONFIG')));
    if (!(error instanceof aq.ConfigurationError)) return expect.fail('it is one');
    expect(error.issues).toEqual([{ path: 'x' }]);
    expectTypeOf(error.issues).toEqualTypeOf<readonly aq.ConfigIssue[]>();
    expectTypeOf<aq.ValidationError['similarity']>().toEqualTypeOf<number>();
    expectTypeOf<aq.ModelNotFoundError['path']>().toEqualTypeOf<string>();
    expectTypeOf<aq.ShapeMismatchError['expected']>().toEqualTypeOf<readonly number[]>();
  });
  test('outcomes of a list narrow by ok', () => {
    expectTypeOf<Extract<aq.JobOutcome, { ok: false }>['error']>().toEqualTypeOf<aq.AnyArrowQuantError>();
    expectTypeOf<Extract<aq.JobOutcome, { ok: true }>['report']>().toEqualTypeOf<aq.QuantizationResult>();
  });
});
