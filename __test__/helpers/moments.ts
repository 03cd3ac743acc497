/** Moments at which a process is killed: random, but the same in every run. */

export const isLong = process.env.AQ_TEST_LONG === '1';

/** How many moments; `AQ_TEST_LONG=1` for the nightly number. */
export const MOMENTS = isLong ? 200 : 12;

/** A line of figures, in the long form. */
export function tell(line: string): void {
  if (isLong) process.stdout.write(`${line}\n`);
}

/** The next of some numbers in [0, 1). */
export type Random = () => number;

export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** That many fractions in [0, 1), one in each of as many equal parts. */
export function moments(count: number, seed: number): number[] {
  const random = randomFrom(seed);
  return Array.from({ length: count }, (_, index) => (index + random()) / count);
}
