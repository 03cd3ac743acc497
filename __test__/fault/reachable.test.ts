/** Every row of the error table is reached for real: class, code, base, hint, and the values it speaks of. */
import { expect, test } from 'vitest';
import * as aq from '../../src-ts/index.js';
import { caught } from '../helpers/caught.js';
import { setFaults } from '../helpers/fault.js';
import { faultBench } from '../helpers/fault-bench.js';
import { PROVOCATIONS, type Provocation } from '../helpers/provocations.js';
import { RUN_PROVOCATIONS } from '../helpers/run-provocations.js';
import { tempDir } from '../helpers/temp.js';

const byFault = (
  code: aq.ErrorCode,
  plan: string,
  options: Partial<aq.QuantizeDiffusionModelOptions> = {},
): Provocation => ({
  code,
  name: plan,
  run: async () => {
    const bench = await faultBench();
    const { error, value } = await bench.run(plan, options);
    if (error !== undefined) throw error;
    return value;
  },
});

const FAULTS: readonly Provocation[] = [
  byFault('AQ_IO', 'ESTALE@read:1+'),
  byFault('AQ_INTERNAL', 'panic@layer:2'),
  byFault('AQ_INTERNAL', 'panic@callback:1', { onProgress: () => undefined }),
  byFault('AQ_OUT_OF_DISK', 'ENOSPC@write:3'),
  byFault('AQ_OUT_OF_MEMORY', 'alloc@chunk:1+'),
  byFault('AQ_TIMEOUT', 'sleep=400@read:3+', { stallTimeoutMs: 1000, numThreads: 1 }),
  byFault('AQ_DEVICE_FAILED', 'cuda=LAUNCH@launch:1+', { device: 'cuda', deviceFallback: false }),
  byFault('AQ_OUT_OF_MEMORY', 'cuda=OOM@launch:1+', { device: 'cuda:0', deviceFallback: false }),
];
const ALL = [...PROVOCATIONS, ...RUN_PROVOCATIONS, ...FAULTS];

const CLASSES: Readonly<Record<string, typeof aq.ArrowQuantError>> = {
  AbortError: aq.AbortError as never,
  ArrowQuantError: aq.ArrowQuantError,
  ConfigurationError: aq.ConfigurationError as never,
  MetadataError: aq.MetadataError as never,
  ModelNotFoundError: aq.ModelNotFoundError as never,
  QuantizationError: aq.QuantizationError as never,
  ShapeMismatchError: aq.ShapeMismatchError as never,
  ValidationError: aq.ValidationError as never,
};

/** What the message must hold of the details, for codes that have more than a path. */
const VALUES: Partial<Record<aq.ErrorCode, readonly string[]>> = {
  AQ_VALIDATION_FAILED: ['layer', 'bitWidth', 'failedCount', 'layerCount'],
  AQ_SHAPE_MISMATCH: ['name'],
  AQ_IO: ['op', 'errno', 'attempts'],
  AQ_SERDE: ['line', 'column'],
  AQ_CORRUPT_MODEL: ['defect'],
  AQ_UNSUPPORTED_DTYPE: ['tensor', 'dtype'],
  AQ_UNSUPPORTED_FORMAT: ['detected'],
  AQ_NON_FINITE_WEIGHTS: ['tensor', 'count', 'value'],
  AQ_TIMEOUT: ['limitMs', 'phase'],
  AQ_DEVICE_UNAVAILABLE: ['device', 'reason'],
  AQ_DEVICE_FAILED: ['device', 'op', 'status'],
  AQ_OUTPUT_BUSY: ['pid'],
  AQ_ABORTED: ['phase'],
};

/** Their sentences speak of a tensor, or of two. */
const WITHOUT_PATH = new Set<aq.ErrorCode>(['AQ_NON_FINITE_WEIGHTS', 'AQ_QUANTIZATION_FAILED']);

test('no code is missing', () => {
  const reached = new Set(ALL.map(({ code }) => code));
  expect(aq.ERROR_CODES.filter((code) => !reached.has(code))).toEqual([]);
});

test.each(ALL.map(({ code, name, run }) => [code, name, run] as const))('%s, %s', async (code, _, run) => {
  setFaults('');
  const folder = tempDir();
  const error = await caught(() => run(folder));
  const row = aq.explainError(code);
  expect(error.code).toBe(code);
  expect(error).toBeInstanceOf(aq.ArrowQuantError);
  expect(error.name).toBe(row.className);
  expect(error).toBeInstanceOf(CLASSES[row.className]);
  expect(error).toMatchObject({ title: row.title, category: row.category, severity: row.severity });
  expect(error.retryable).toBe(error.kind === 'transient');
  expect(error.hint).not.toBe('');
  expect(error.suggestions[0]).toBe(error.hint);
  expect(error.message).toContain(error.suggestions.length > 1 ? 'Suggestions: (1) ' : `Hint: ${error.hint}`);
  const details = error.details as unknown as Readonly<Record<string, unknown>>;
  for (const key of VALUES[code] ?? []) expect(error.message, key).toContain(String(details[key]));
  const short = typeof details.path === 'string' && details.path.length < 150 ? details.path : '';
  if (!WITHOUT_PATH.has(code)) expect(error.message).toContain(short);
  const { context } = error;
  expect(context.timestamp).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
  expect(context.elapsedMs).toBeGreaterThanOrEqual(0);
  expect(error.toJSON()).toEqual(aq.errorFromJSON(JSON.parse(JSON.stringify(error))).toJSON());
});
