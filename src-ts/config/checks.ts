/** Checks of single values. Each returns the value to use, or undefined after noting why it is refused. */
import type { ConfigurationErrorCode } from '../errors/details.js';
import type { Place } from './place.js';
import { isArray, isPlainObject, readArray, readRecord } from './read-record.js';

type OptionCode = Exclude<ConfigurationErrorCode, 'AQ_OUTPUT_EXISTS' | 'AQ_RESUME_MISMATCH'>;

/** Checks one value at one place. */
export type Check<T> = (value: unknown, place: Place) => T | undefined;

const MAX_NAMES = 10_000;
const MAX_NAME_LENGTH = 1_000;

/** One of a few strings; exact and case-sensitive. */
export function oneOf<const T extends string>(values: readonly T[], expected: string): Check<T> {
  return (value, place) => values.find((known) => known === value) ?? place.refuse(expected, value);
}

/** One of a few texts, or a list of different ones of them without the first. */
export function oneOrSeveral<const T extends string>(
  values: readonly [T, ...T[]],
  expected: string,
): Check<T | readonly T[]> {
  return (value, place) => {
    if (!isArray(value)) return values.find((known) => known === value) ?? place.refuse(expected, value);
    const elements = readArray(value, place, values.length, () => place.refuse(expected, value));
    if (elements === undefined) return undefined;
    const [, ...named] = values;
    const good = named.filter((known) => elements.includes(known));
    if (good.length === 0 || good.length !== elements.length) return place.refuse(expected, value);
    return Object.freeze(elements as T[]);
  };
}

/** One of a few numbers. `wrongHint` may know better advice for a refused value. */
export function oneOfNumbers<const T extends number>(
  values: readonly T[],
  expected: string,
  code: OptionCode,
  hintFor?: (value: unknown) => string | undefined,
): Check<T> {
  return (value, place) => {
    const found = values.find((known) => known === value);
    if (found !== undefined) return found;
    const hint = hintFor?.(value);
    return place.refuse(expected, value, hint === undefined ? { code } : { code, hint });
  };
}

/** A safe integer within bounds. */
export function integer(
  min: number,
  max: number,
  expected: string,
  code: OptionCode = 'AQ_INVALID_CONFIG',
): Check<number> {
  return (value, place) => {
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) {
      return (value as number) + 0; // -0 becomes 0
    }
    return place.refuse(expected, value, { code });
  };
}

/** A number from 0 to 1. */
export function fraction(expected: string, code: OptionCode): Check<number> {
  return (value, place) =>
    typeof value === 'number' && value >= 0 && value <= 1 ? value + 0 : place.refuse(expected, value, { code });
}

/** A finite number above 0. */
export function positive(expected: string): Check<number> {
  return (value, place) =>
    typeof value === 'number' && value > 0 && Number.isFinite(value) ? value : place.refuse(expected, value);
}

export const boolean: Check<boolean> = (value, place) =>
  typeof value === 'boolean' ? value : place.refuse('true or false', value);

const MOST_DEVICES = 2 ** 16;

/** `auto`, `cpu`, `cuda`, or `cuda:` and a number. */
export const device: Check<string> = (value, place) => {
  const number = typeof value === 'string' ? /^cuda:(\d{1,5})$/.exec(value)?.[1] : undefined;
  const known = value === 'auto' || value === 'cpu' || value === 'cuda' || Number(number) < MOST_DEVICES;
  return known ? (value as string) : place.refuse("'auto', 'cpu', 'cuda' or 'cuda:N'", value);
};

export const MOST_SHARES = 65_536;

/** Which of how many shares: `2/8`. */
export const share: Check<string> = (value, place) => {
  const [, number, count] = (typeof value === 'string' && /^([1-9]\d{0,4})\/([1-9]\d{0,4})$/.exec(value)) || [];
  const good = Number(number) <= Number(count) && Number(count) <= MOST_SHARES;
  return good ? (value as string) : place.refuse("a share such as '2/8'", value);
};

/** An array of names; a wrong element is named by its index. */
export function names(expected: string): Check<readonly string[]> {
  return (value, place) => {
    if (!isArray(value)) return place.refuse(expected, value);
    const elements = readArray(value, place, MAX_NAMES, () =>
      place.refuse(expected, value, { hint: `At most ${MAX_NAMES} names are taken.` }),
    );
    if (elements === undefined) return undefined;
    const good: string[] = [];
    for (const [index, element] of elements.entries()) {
      if (isName(element)) good.push(element);
      else place.child(index).refuse(expected, element);
    }
    return good.length === elements.length ? Object.freeze(good) : undefined;
  };
}

/** A record of name or glob to width. */
export const layerBitWidths: Check<Readonly<Record<string, 2 | 4 | 8 | 16>>> = (value, place) => {
  const expected = 'a record of tensor names or globs to bit widths';
  if (!isPlainObject(value)) return place.refuse(expected, value);
  const good: Record<string, 2 | 4 | 8 | 16> = Object.create(null);
  let count = 0;
  let wrong = false;
  for (const [name, width] of readRecord(value, place, (key) => place.child(key))) {
    count += 1;
    if (!isName(name) || count > MAX_NAMES) {
      place.child(name).refuse('the name of a tensor or a glob', name);
      wrong = true;
    } else if (width === 2 || width === 4 || width === 8 || width === 16) {
      good[name] = width;
    } else {
      place.child(name).refuse('2, 4, 8, or 16', width, { code: 'AQ_INVALID_BIT_WIDTH', hint: LAYER_HINT });
      wrong = true;
    }
  }
  return wrong ? undefined : Object.freeze(good);
};

const LAYER_HINT = 'Give each layer 2, 4 or 8 bits, or 16 to keep it as it is.';

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_NAME_LENGTH && isCleanText(value);
}

/** Without NUL and without half a surrogate pair: what a file name or a tensor name can be. */
export function isCleanText(value: string): boolean {
  return !value.includes('\0') && !/\p{Cs}/u.test(value);
}
