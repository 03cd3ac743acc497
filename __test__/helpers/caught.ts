import { expect } from 'vitest';
import { type AnyArrowQuantError, isArrowQuantError } from '../../src-ts/index.js';

/** The error of this package that a call throws or rejects with; anything else fails the test. */
export async function caught(call: () => unknown): Promise<AnyArrowQuantError> {
  let result: unknown;
  try {
    result = await call();
  } catch (error) {
    if (!isArrowQuantError(error)) throw error;
    return error;
  }
  expect.fail(`expected an error, got ${JSON.stringify(result)}`);
}
