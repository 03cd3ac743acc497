/** The tables behind the contract tests of errors.test.ts. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ConfigIssue, ErrorCode } from '../../src-ts/index.js';
import * as bad from './bad-models.js';
import { ditTensors, writeModel } from './models.js';

/** A refused bit width and how the message shows it. */
export const BAD_BIT_WIDTHS: readonly (readonly [unknown, string])[] = [
  [0, '0'],
  [1, '1'],
  [3, '3'],
  [5, '5'],
  [6, '6'],
  [7, '7'],
  [9, '9'],
  [16, '16'],
  [-1, '-1'],
  [256, '256'],
  [Number.NaN, 'NaN'],
  [Infinity, 'Infinity'],
  [-Infinity, '-Infinity'],
  [4.5, '4.5'],
  ['4', '"4" (string)'],
  [4n, '4n (bigint)'],
  [null, 'null'],
  [true, 'true (boolean)'],
  [[], 'array of length 0'],
  [{}, 'object'],
];

export const WIDTHS = [2, 4, 8] as const;
export const GROUPS = [32, 64, 128, 256] as const;
export const MODALITIES = ['text', 'code', 'image', 'audio', 'video'] as const;

/** What each profile means. */
export const PROFILES = {
  edge: { bitWidth: 2, groupSize: 64, numTimeGroups: 5, enableSpatial: true, minAccuracy: 0.9, calibrationSamples: 32 },
  local: {
    bitWidth: 4,
    groupSize: 64,
    numTimeGroups: 10,
    enableSpatial: true,
    minAccuracy: 0.985,
    calibrationSamples: 128,
  },
  cloud: {
    bitWidth: 8,
    groupSize: 128,
    numTimeGroups: 20,
    enableSpatial: false,
    minAccuracy: 0.9995,
    calibrationSamples: 512,
  },
} as const;

/** What all profiles have in common. */
export const ALL_PROFILES = { enableTimeAware: true, method: 'auto', symmetric: false, failFast: false } as const;
export const PROFILE_NAMES = Object.keys(PROFILES) as readonly (keyof typeof PROFILES)[];

/** A model that is not there: what is missing, and the errno where a file was looked for. */
export const MISSING_MODELS: readonly (readonly [string, bad.Maker, object, string | undefined])[] = [
  ['an absent path', bad.absent, { what: 'model', referencedBy: null }, 'ENOENT'],
  ['a dangling link', bad.danglingLink, { what: 'model', referencedBy: null }, 'ENOENT'],
  ['an empty folder', bad.emptyFolder, { what: 'weights', referencedBy: null }, undefined],
  ['a missing shard', bad.withIndex({ [bad.FIRST]: 'two.safetensors' }), { what: 'shard' }, 'ENOENT'],
];

export interface NativeCase {
  readonly name: string;
  readonly make: bad.Maker;
  readonly code: ErrorCode;
  readonly className: 'ModelNotFoundError' | 'QuantizationError' | 'ValidationError';
  readonly details: object;
  /** The chain of causes, outermost first. */
  readonly causes: readonly { readonly message: RegExp; readonly code: string | null }[];
}

/** Errors that the native side finds while it works. */
export const NATIVE_CASES: readonly NativeCase[] = [
  {
    name: 'no model',
    make: bad.absent,
    code: 'AQ_MODEL_NOT_FOUND',
    className: 'ModelNotFoundError',
    details: { what: 'model', referencedBy: null },
    causes: [{ message: /no such file/i, code: 'ENOENT' }],
  },
  {
    name: 'a folder for a file',
    make: bad.metadataFolder,
    code: 'AQ_IO',
    className: 'QuantizationError',
    details: { op: 'read', errno: 'EISDIR', attempts: 1 },
    causes: [{ message: /directory/, code: 'EISDIR' }],
  },
  {
    name: 'wrong JSON',
    make: bad.withMetadata('{"modality": imag }'),
    code: 'AQ_SERDE',
    className: 'QuantizationError',
    details: { line: 1, column: 14 },
    causes: [{ message: /expected value/, code: null }],
  },
  {
    name: 'a NaN among the weights',
    make: bad.withValues(new Map([[3 * 64 + 5, Number.NaN]])),
    code: 'AQ_NON_FINITE_WEIGHTS',
    className: 'QuantizationError',
    details: { tensor: bad.FIRST, index: [3, 5], value: 'NaN', count: 1 },
    causes: [],
  },
  {
    name: 'a layer below the threshold',
    make: (folder) => writeModel(folder, ditTensors(2, 64)),
    code: 'AQ_VALIDATION_FAILED',
    className: 'ValidationError',
    details: { threshold: 1, measure: 'weights', timeGroup: null, layerCount: 2 },
    causes: [],
  },
];

export interface BadConfig {
  readonly name: string;
  readonly config: object;
  readonly code: ErrorCode;
  readonly issues: readonly Pick<ConfigIssue, 'code' | 'path' | 'expected' | 'received'>[];
}

/** Shared with the native side, which has the same rules. */
export const BAD_CONFIGS: readonly BadConfig[] = JSON.parse(
  readFileSync(path.join(import.meta.dirname, '../fixtures/config-corpus.json'), 'utf8'),
);
