/**
 * Given options with where each came from. The precedence call > environment > file > profile is decided here, per
 * option; defaults of the profile are filled in only when values are asked for, so that a given value and a default
 * of the same value stay different things.
 */
import { displayName } from '../errors/text.js';
import { MIN_ACCURACY, PROFILES } from '../generated/profiles.js';
import type { IssueSink } from './issues.js';
import { isOptionName, OPTION_NAMES, OPTION_TABLE, type OptionName } from './option-table.js';
import type { BitWidth, DeploymentProfile, DiffusionQuantOptions, GgufType } from './options.js';
import { Place } from './place.js';
import { isArray, isPlainObject, readArray, readRecord } from './read-record.js';
import { suggestName } from './suggest.js';

/** Sources of given options, weakest first. */
const RANKS = { file: 0, env: 1, call: 2 } as const;
export type Source = keyof typeof RANKS;

export interface Entry {
  readonly value: unknown;
  readonly source: Source;
}
export type Entries = ReadonlyMap<OptionName, Entry>;

// Symbol.for: a configuration made by another copy of the package is one as well.
export const ENTRIES: unique symbol = Symbol.for('arrow-quant.config-entries') as never;

/** Where a member of an options object stands: `config` and the call itself do not show in paths. */
export function optionPlace(issues: IssueSink, source?: Place['source'], pathOf = (name: string) => name) {
  return (name: string) => new Place(issues, pathOf(name), source);
}

/** Checks values that were read, in table order. Unknown names are problems. */
export function checkOptions(
  values: ReadonlyMap<string, unknown>,
  source: Source,
  placeOf: (name: string) => Place,
  known: readonly string[] = OPTION_NAMES,
): Map<OptionName, Entry> {
  const entries = new Map<OptionName, Entry>();
  for (const name of OPTION_NAMES) {
    if (!known.includes(name) || !values.has(name)) continue;
    const row = OPTION_TABLE[name];
    const place = row.hint === undefined ? placeOf(name) : placeOf(name).withHint(row.hint);
    const value = row.check(values.get(name), place);
    if (value !== undefined) entries.set(name, { value, source });
  }
  for (const name of values.keys()) {
    if (!known.includes(name)) refuseUnknown(name, values.get(name), placeOf(name), known);
  }
  return entries;
}

/** Notes a name that is no option, with the nearest one that is. */
export function refuseUnknown(name: string, value: unknown, place: Place, known: readonly string[]): void {
  const nearest = suggestName(name, known);
  const shown = displayName(name);
  place.refuse('a known option', value, {
    message: `Unknown option "${shown}"${nearest === undefined ? '.' : `; did you mean "${nearest}"?`}`,
    hint: nearest === undefined ? `The options are ${known.join(', ')}.` : `Did you mean "${nearest}"?`,
  });
}

// More than any version has options.
const MAX_CARRIED = 1_000;
const CONFIG_EXPECTED = 'a profile name, a plain object or a DiffusionQuantConfig';

/** The entries of a configuration in any of its forms; every value is checked, whoever made the object. */
export function readConfig(input: unknown, issues: IssueSink): Map<OptionName, Entry> {
  const place = new Place(issues, 'config').withHint(
    "Pass 'edge', 'local' or 'cloud', or an object such as { bitWidth: 4 }.",
  );
  if (input === undefined) return new Map();
  if (typeof input === 'string') {
    if (!Object.hasOwn(PROFILES, input)) {
      place.refuse(CONFIG_EXPECTED, input);
      return new Map();
    }
    return new Map([['deploymentProfile', { value: input, source: 'call' }]]);
  }
  const carried = carriedEntries(input);
  if (carried !== undefined) return recheck(carried, place, issues);
  if (!isPlainObject(input)) {
    place.refuse(CONFIG_EXPECTED, input);
    return new Map();
  }
  const placeOf = optionPlace(issues);
  return checkOptions(readRecord(input, place, placeOf), 'call', placeOf);
}

/** Joins entries; the stronger source wins. The same source with two values is a problem. */
export function mergeEntries(parts: readonly Entries[], placeOf: (name: string) => Place): Map<OptionName, Entry> {
  const merged = new Map<OptionName, Entry>();
  for (const name of OPTION_NAMES) {
    for (const part of parts) {
      const entry = part.get(name);
      if (entry === undefined) continue;
      const other = merged.get(name);
      if (other === undefined || RANKS[entry.source] > RANKS[other.source]) {
        merged.set(name, entry);
      } else if (RANKS[entry.source] === RANKS[other.source] && !sameValue(entry.value, other.value)) {
        placeOf(name).refuse('to be given once', entry.value, {
          hint: `Give ${name} in config or beside it, not differently in both.`,
        });
      }
    }
  }
  return merged;
}

/** Options that exclude each other. */
export function checkTogether(entries: Entries, placeOf: (name: string) => Place): void {
  if (entries.get('resume')?.value === true && entries.get('overwrite')?.value === true) {
    placeOf('resume').refuse('not together with overwrite', true, {
      hint: 'resume goes on with an output that is not complete yet, overwrite replaces one that is.',
    });
  }
  const share = entries.get('partition');
  if (share !== undefined && Array.isArray(entries.get('layout')?.value)) {
    placeOf('partition').refuse('not together with several layouts', share.value, {
      hint: 'Run the shares for one layout, and export the joined model to the others.',
    });
  }
}

/** What a job needs beside other options; a configuration may leave it to the call. */
export function checkComplete(entries: Entries, placeOf: (name: string) => Place): void {
  if (entries.get('method')?.value === 'gptq' && entries.get('calibration') === undefined) {
    placeOf('method').refuse("'auto', 'rtn' or 'mse' without calibration", 'gptq', {
      hint: 'Give calibration a file with recorded inputs, or leave method out.',
    });
  }
}

/** Given values as a plain object in table order. */
export function givenValues(entries: Entries): Partial<Record<OptionName, unknown>> {
  const values: Partial<Record<OptionName, unknown>> = {};
  for (const name of OPTION_NAMES) {
    const entry = entries.get(name);
    if (entry !== undefined) values[name] = entry.value;
  }
  return values;
}

/** What an option has where neither the call nor the profile says anything. */
const FIXED_DEFAULTS = {
  overwrite: false,
  layout: 'auto',
  protectBlocks: 'auto',
  layerBitWidths: Object.freeze({}),
  skipLayers: Object.freeze([]),
  enableMixedPrecision: false,
  nonFinite: 'error',
  resume: false,
  maxMemoryLimitMb: 256,
  device: 'auto',
  deviceFallback: true,
  ioRetries: 4,
  stallTimeoutMs: 300_000,
  logLevel: 'off',
  numThreads: 0,
} as const satisfies DiffusionQuantOptions;

/** The width that a kind of GGUF file stands for. */
function widthOf(type: GgufType): BitWidth {
  if (type === 'Q8_0') return 8;
  return /^Q[23]/.test(type) ? 2 : 4;
}

/** All options with their values: given ones, then the profile's. */
export function resolveValues(entries: Entries): Partial<Record<OptionName, unknown>> {
  const given = givenValues(entries);
  const deploymentProfile = (given.deploymentProfile ?? 'local') as DeploymentProfile;
  const ofType = given.ggufType === undefined ? {} : { bitWidth: widthOf(given.ggufType as GgufType) };
  const resolved = { ...FIXED_DEFAULTS, ...PROFILES[deploymentProfile], ...ofType, ...given, deploymentProfile };
  const bitWidth = resolved.bitWidth as keyof typeof MIN_ACCURACY;
  return { ...resolved, minAccuracy: given.minAccuracy ?? MIN_ACCURACY[bitWidth] };
}

function carriedEntries(input: unknown): readonly unknown[] | undefined {
  if (typeof input !== 'object' || input === null) return undefined;
  try {
    const carried = (input as { readonly [ENTRIES]?: unknown })[ENTRIES];
    return isArray(carried) ? carried : undefined;
  } catch {
    return undefined;
  }
}

function recheck(carried: readonly unknown[], place: Place, issues: IssueSink): Map<OptionName, Entry> {
  const entries = new Map<OptionName, Entry>();
  const placeOf = optionPlace(issues);
  // Whoever knows the symbol can put anything there.
  const read = (list: readonly unknown[]) =>
    readArray(list, place, MAX_CARRIED, () => place.refuse(CONFIG_EXPECTED, list)) ?? [];
  for (const triple of read(carried)) {
    if (!isArray(triple)) continue;
    const [name, value, source] = read(triple);
    if (typeof name !== 'string' || !isOptionName(name)) continue;
    const from = typeof source === 'string' && Object.hasOwn(RANKS, source) ? (source as Source) : 'call';
    for (const [key, entry] of checkOptions(new Map([[name, value]]), from, placeOf)) entries.set(key, entry);
  }
  return entries;
}

/** Values that passed their check are strings, numbers, booleans, and frozen lists and records of those. */
function sameValue(a: unknown, b: unknown): boolean {
  return JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));
}

function canonical(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}
