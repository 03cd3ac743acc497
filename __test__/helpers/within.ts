import { expect } from 'vitest';

/** What a call gives, which must not take longer. */
export async function within<T>(milliseconds: number, call: () => Promise<T>): Promise<T> {
  const since = performance.now();
  const value = await call();
  expect(performance.now() - since).toBeLessThan(milliseconds);
  return value;
}
