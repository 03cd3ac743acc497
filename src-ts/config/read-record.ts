/**
 * Reads what a caller passed as a record, once and without trust: getters and proxy traps may throw or change their
 * answer, and keys such as `__proto__` (an own key after JSON.parse) must not reach an assignment.
 */
import { displayName } from '../errors/text.js';
import type { Place } from './place.js';

const REFUSED = new Set(['__proto__', 'constructor', 'prototype']);

/** Whether a value is an object made by `{}`, JSON.parse or Object.create(null). */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  try {
    const prototype: unknown = Object.getPrototypeOf(value);
    return prototype === null || prototype === Object.prototype;
  } catch {
    return false;
  }
}

/**
 * Reads all own enumerable string keys once.
 *
 * @param record - a plain object
 * @param place - where the record itself stands
 * @param placeOf - where a member of it stands
 * @returns key to value in own order, without members that are undefined (which means "not given")
 */
export function readRecord(record: object, place: Place, placeOf: (key: string) => Place): Map<string, unknown> {
  const values = new Map<string, unknown>();
  let keys: readonly (string | symbol)[];
  try {
    keys = Reflect.ownKeys(record);
  } catch (cause) {
    place.refuse('a readable property', record, { cause });
    return values;
  }
  for (const key of keys) {
    if (typeof key === 'symbol') {
      refuseKey(placeOf(String(key)), String(key));
      continue;
    }
    const member = placeOf(key);
    if (REFUSED.has(key)) {
      refuseKey(member, key);
      continue;
    }
    try {
      if (Object.getOwnPropertyDescriptor(record, key)?.enumerable !== true) continue;
      const value = (record as Readonly<Record<string, unknown>>)[key];
      if (value !== undefined) values.set(key, value);
    } catch (cause) {
      member.refuse('a readable property', undefined, { received: 'a property that throws', cause });
    }
  }
  return values;
}

/**
 * Reads an array once, its length as well: a proxy may throw, or give another length each time it is asked.
 *
 * @param limit - the most elements it may have
 * @param refuseLength - notes that it has more, or a length that is none
 * @returns the elements, or undefined after noting why not
 */
export function readArray(
  value: readonly unknown[],
  place: Place,
  limit: number,
  refuseLength: () => undefined,
): unknown[] | undefined {
  try {
    const { length } = value;
    if (!Number.isSafeInteger(length) || length < 0 || length > limit) return refuseLength();
    return Array.from({ length }, (_, index) => value[index]);
  } catch (cause) {
    return place.refuse('a readable property', undefined, { received: 'an array that throws', cause });
  }
}

/** Array.isArray, which throws on a revoked proxy. */
export function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

function refuseKey(member: Place, key: string): void {
  member.refuse('a known option', undefined, {
    received: 'a refused name',
    message: `Refused option name "${displayName(key)}".`,
    hint: 'Remove this key; it can change the prototypes of objects.',
  });
}
