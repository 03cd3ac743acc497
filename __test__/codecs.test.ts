/** Calibration files of other writers, cut short or for another model: typed errors, and nothing written. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, quantizeDiffusionModel } from '../src-ts/index.js';
import { CALIBRATION } from './helpers/calibration.js';
import { ROOT } from './helpers/cli.js';
import { outcomeOf } from './helpers/fault.js';
import { gaussian, writeModel } from './helpers/models.js';
import { encode, f32 } from './helpers/safetensors.js';
import { sample } from './helpers/sample.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const FILES = path.join(ROOT, 'testdata/calibration');

const LONG = { timeout: 600_000 };

/** A model with the two layers of those files, and jobs with calibration of any bytes. */
function bench(extension: string, ff = 12) {
  const folder = tempDir();
  const modelPath = writeModel(folder, {
    'blocks.0.to_q.weight': f32([16, 8], gaussian(16 * 8, 1)),
    'blocks.1.ff.weight': f32([8, ff], gaussian(8 * ff, 2)),
  });
  const calibration = path.join(folder, `calibration.${extension}`);
  writeFileSync(calibration, '');
  const outputPath = path.join(folder, 'out');
  const before = listing(folder);
  return async (bytes: Uint8Array) => {
    writeFileSync(calibration, bytes);
    // With mse calibration only judges, so that a changed value changes no byte.
    const options = { modelPath, outputPath, calibration, method: 'mse', minAccuracy: 0, numThreads: 1 } as const;
    const outcome = await outcomeOf(() => quantizeDiffusionModel(options));
    const made = outcome.error === undefined ? hashes(outputPath) : {};
    rmSync(outputPath, { recursive: true, force: true });
    expect(listing(folder)).toEqual(before);
    return { ...outcome, made };
  };
}

/** Tables over time tell of the inputs themselves. */
const withoutTables = (made: object | undefined) =>
  Object.fromEntries(Object.entries(made ?? {}).filter(([name]) => !name.startsWith('arrow-quant/')));

describe.each([
  ['arrow', 'AQ_ARROW'],
  ['parquet', 'AQ_PARQUET'],
] as const)('%s', (extension, code) => {
  const good = readFileSync(path.join(FILES, `pyarrow.${extension}`));

  test('whole it is read', async () => {
    const { value } = await bench(extension)(good);
    expect(value?.layers.map(({ timeGroups }) => timeGroups?.length ?? 0).every((count) => count > 0)).toBe(true);
  });
  test('cut at every byte', LONG, async () => {
    const run = bench(extension);
    const allowed: readonly ErrorCode[] = [code, 'AQ_QUANTIZATION_FAILED', 'AQ_SHAPE_MISMATCH'];
    const seen = new Set<ErrorCode>();
    const lengths = Array.from({ length: good.length }, (_, length) => length);
    for (const length of sample(lengths, 300)) {
      const { error } = await run(good.subarray(0, length));
      expect(error, `${length} bytes`).toBeDefined();
      expect(allowed, `${length} bytes: ${error?.message}`).toContain(error?.code);
      if (error !== undefined) seen.add(error.code);
    }
    expect(seen).toContain(code);
  });
  test('every byte flipped: the same weights, for calibration only judges, or a typed error', LONG, async () => {
    const run = bench(extension);
    const { made } = await run(good);
    const wanted = withoutTables(made);
    const allowed: readonly ErrorCode[] = [code, 'AQ_QUANTIZATION_FAILED', 'AQ_SHAPE_MISMATCH'];
    const seen = { same: 0, failed: 0 };
    const cases = Array.from({ length: good.length }, (_, at) =>
      [0, 0xff, (good[at] ?? 0) ^ 1].map((to) => ({ at, to })),
    );
    for (const { at, to } of sample(cases.flat(), 150)) {
      const bytes = Buffer.from(good);
      bytes[at] = to;
      const { error, made } = await run(bytes);
      const context = `byte ${at} is ${to}`;
      if (error !== undefined) expect(allowed, `${context}: ${error.message}`).toContain(error.code);
      else expect(withoutTables(made), context).toEqual(wanted);
      seen[error === undefined ? 'same' : 'failed'] += 1;
    }
    expect(Math.min(seen.same, seen.failed)).toBeGreaterThan(10);
  });
  test('of a model with other widths', async () => {
    const { error } = await bench(extension, 16)(good);
    expect(error).toMatchObject({ name: 'ShapeMismatchError', code: 'AQ_SHAPE_MISMATCH' });
    expect(error?.message).toContain('blocks.1.ff');
  });
});

test('what is written in the other form than the name says', async () => {
  const parquet = readFileSync(path.join(FILES, 'pyarrow.parquet'));
  const { error } = await bench('arrow')(parquet);
  expect(error?.code).toBe('AQ_ARROW');
  expect((await bench('parquet')(readFileSync(path.join(FILES, 'pyarrow.arrow')))).error?.code).toBe('AQ_PARQUET');
});

test.each([
  ['no step', 'blocks.0.to_q', f32([3, 8], gaussian(24))],
  ['a step that is no number', 'blocks.0.to_q@x', f32([3, 8], gaussian(24))],
  ['one row without rows', 'blocks.0.to_q@5', f32([24], gaussian(24))],
  ['NaN', 'blocks.0.to_q@5', f32([3, 8], gaussian(24).fill(Number.NaN, 3, 4))],
])('a record of a valid file is bad: %s', async (_, name, tensor) => {
  const { error } = await bench('safetensors')(encode({ [name]: tensor }, CALIBRATION));
  expect(error).toMatchObject({ name: 'QuantizationError', code: 'AQ_QUANTIZATION_FAILED' });
});
