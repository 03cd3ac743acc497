/** What one call is given besides its configuration: callback, signal, and the options object itself. */
import type { ProgressCallback } from '../progress.js';
import { checkOptions, type Entry, optionPlace, refuseUnknown } from './entries.js';
import type { IssueSink } from './issues.js';
import type { OptionName } from './option-table.js';
import { Place } from './place.js';
import { isPlainObject, readRecord } from './read-record.js';

/** Callback and signal, checked. */
export interface CallHooks {
  readonly onProgress: ProgressCallback | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface CallOptions extends CallHooks {
  readonly entries: Map<OptionName, Entry>;
  /** Members of the call that are no options of the table, still unchecked. */
  readonly rest: ReadonlyMap<string, unknown>;
}

/**
 * Reads the options object of a public function.
 *
 * @param input - what the caller passed; undefined is an empty object
 * @param options - the options of the table this function takes
 * @param members - its other members; `onProgress` and `signal`, where named, are checked here
 */
export function readCallOptions(
  input: unknown,
  options: readonly OptionName[],
  members: readonly string[],
  issues: IssueSink,
): CallOptions {
  const placeOf = optionPlace(issues);
  const place = new Place(issues, 'options', 'option', 'Pass an object such as { bitWidth: 4 }.');
  const values = input === undefined ? new Map<string, unknown>() : readObject(input, place, placeOf);
  const rest = new Map<string, unknown>();
  for (const name of members) {
    if (values.has(name)) rest.set(name, values.get(name));
    values.delete(name);
  }
  const known = new Set<string>(options);
  const unknown = [...values].filter(([name]) => !known.has(name));
  for (const [name] of unknown) values.delete(name);
  const entries = checkOptions(values, 'call', placeOf, options);
  for (const [name, value] of unknown) refuseUnknown(name, value, placeOf(name), [...options, ...members]);
  return { entries, rest, ...readHooks(rest.get('onProgress'), rest.get('signal'), issues) };
}

/** Checks a callback and a signal. Signals are duck-typed, so that polyfills pass. */
function readHooks(onProgress: unknown, signal: unknown, issues: IssueSink): CallHooks {
  const callback = new Place(issues, 'onProgress', 'option', 'Pass a function that takes an event, or leave it out.');
  const abort = new Place(issues, 'signal', 'option', 'Pass the signal of an AbortController, or leave it out.');
  const isCallback = onProgress === undefined || typeof onProgress === 'function';
  if (!isCallback) callback.refuse('a function', onProgress);
  const isSignal = signal === undefined || isAbortSignal(signal);
  if (!isSignal) abort.refuse('an AbortSignal', signal);
  return {
    onProgress: isCallback ? (onProgress as ProgressCallback | undefined) : undefined,
    signal: isSignal ? signal : undefined,
  };
}

function readObject(input: unknown, place: Place, placeOf: (name: string) => Place): Map<string, unknown> {
  if (isPlainObject(input)) return readRecord(input, place, placeOf);
  place.refuse('a plain object', input);
  return new Map();
}

function isAbortSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null) return false;
  try {
    const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
    return (
      typeof aborted === 'boolean' &&
      'reason' in value &&
      typeof addEventListener === 'function' &&
      typeof removeEventListener === 'function'
    );
  } catch {
    return false;
  }
}
