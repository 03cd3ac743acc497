import { createError } from '../../src-ts/errors/create.js';
import { type ArrowQuantError, type ErrorCode, explainError } from '../../src-ts/index.js';

/** What an error made in a test says about its call. */
export const TEST_CALL = { operation: 'test', startedAt: performance.now(), callSite: undefined };

/** One error of a code, as the facade makes it; with the hint of the catalogue where no actions are given. */
export function sampleError(code: ErrorCode, actions?: readonly [string, ...string[]]): ArrowQuantError {
  const details = { issues: [{ path: 'x' }], path: '/x', similarity: 0.5, threshold: 0.9, expected: [1], actual: [2] };
  const texts = { sentence: 'It failed.', actions: actions ?? ([explainError(code).hint] as const) };
  return createError(code, { ...texts, details: details as never }, TEST_CALL);
}
