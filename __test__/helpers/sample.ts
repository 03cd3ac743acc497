/** Many cases: all of them in the long form, a fixed spread of them otherwise. */

/** About `count` of the cases, always the same, with the first and the last. */
export function sample<T>(cases: readonly T[], count: number): readonly T[] {
  if (process.env.AQ_TEST_LONG === '1' || cases.length <= count) return cases;
  // A step that shares no factor with most lengths of records, so that every kind of byte is met.
  const step = Math.max(1, Math.floor(cases.length / count)) | 1;
  return cases.filter((_, index) => index % step === 0 || index === cases.length - 1);
}
