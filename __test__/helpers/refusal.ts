/** What a refused option must look like, whoever wrote it. */
import { expect } from 'vitest';
import { ConfigurationError, errorFromJSON } from '../../src-ts/index.js';
import { ACTS } from './hostile.js';

/** Only a ConfigurationError that is fit to be shown; anything else thrown fails the test. */
export function expectRefusal(error: unknown): void {
  expect(error).toBeInstanceOf(ConfigurationError);
  const { message, issues, hint } = error as ConfigurationError;
  expect(message.length).toBeLessThanOrEqual(2000);
  expect(message).not.toMatch(ACTS);
  expect(message).toContain(`Hint: ${hint}`);
  expect(issues.length).toBeGreaterThan(0);
  expect(issues.length).toBeLessThanOrEqual(50);
  for (const issue of issues) expect(Object.values(issue).join()).not.toMatch(ACTS);
  const json = JSON.stringify(error);
  expect(JSON.stringify(errorFromJSON(json))).toBe(json);
}
