/** Moments at which a process is killed: random, but the same in every run. */

/** How many moments; `AQ_TEST_LONG=1` for the nightly number. */
export const MOMENTS = process.env.AQ_TEST_LONG === '1' ? 200 : 12;

/** That many fractions in [0, 1), one in each of as many equal parts. */
export function moments(count: number, seed: number): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, (_, index) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (index + state / 2 ** 32) / count;
  });
}
