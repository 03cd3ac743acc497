/** Whole jobs through the addon. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import {
  ArrowQuantV2,
  inspect,
  inspectCalibration,
  type ProgressEvent,
  quantizeDiffusionModel,
  ValidationError,
  validateQuality,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import { bigModel, ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const DIGITS = path.join(ROOT, 'examples/digits-dit');

describe('digits-dit', () => {
  test('4 bits: a complete folder, a truthful result, and a second opinion on the quality', async () => {
    const folder = tempDir();
    const outputPath = path.join(folder, 'deep/er/out');
    const result = await quantizeDiffusionModel({ modelPath: DIGITS, outputPath, minAccuracy: 0 });
    expect(result).toMatchObject({
      quantizedPath: outputPath,
      modality: 'image',
      layout: 'sdnq',
      bitWidth: 4,
      groupSize: 64,
    });
    expect(result.layers.length).toBeGreaterThan(30);
    expect(result.cosineSimilarity).toBeGreaterThan(0.98);
    expect(result.modelSizeMb).toBeLessThan(result.originalSizeMb);
    expect(result.compressionRatio).toBeCloseTo(result.originalSizeMb / result.modelSizeMb, 6);
    expect(result.resolvedConfig).toMatchObject({ deploymentProfile: 'local', bitWidth: 4, minAccuracy: 0 });
    expect(existsSync(result.manifestPath)).toBe(true);
    const config = JSON.parse(readFileSync(path.join(outputPath, 'transformer/config.json'), 'utf8'));
    expect(config.quantization_config).toMatchObject({ quant_method: 'sdnq', group_size: 64 });
    expect(existsSync(path.join(outputPath, 'model_index.json'))).toBe(true);
    expect(listing(path.dirname(outputPath)).filter((name) => !name.startsWith('out'))).toEqual([]);

    const report = await validateQuality(DIGITS, outputPath, { minAccuracy: 0 });
    expect(report.passed).toBe(true);
    expect(report.layers).toHaveLength(result.layers.length);
    expect(report.cosineSimilarity).toBeCloseTo(result.cosineSimilarity, 9);
    for (const layer of result.layers) {
      const again = report.layers.find(({ name }) => name === layer.name);
      expect(again?.cosine).toBeCloseTo(layer.cosine, 9);
      expect(again?.sqnrDb).toBeCloseTo(layer.sqnrDb, 6);
    }
  });
  test('more bits, more similarity, more bytes; plain needs as many as before', async () => {
    const folder = tempDir();
    const quantizer = new ArrowQuantV2({ mode: 'diffusion' });
    const results = [];
    for (const bitWidth of [2, 4, 8] as const) {
      const outputPath = pathToFileURL(path.join(folder, `int${bitWidth}`));
      results.push(await quantizer.quantizeDiffusionModel(DIGITS, outputPath, { bitWidth, minAccuracy: 0 }));
    }
    const [two, four, eight] = results.map(({ cosineSimilarity }) => cosineSimilarity) as [number, number, number];
    expect(two).toBeLessThan(four);
    expect(four).toBeLessThan(eight);
    expect(results.map(({ modelSizeMb }) => modelSizeMb)).toEqual(
      [...results.map(({ modelSizeMb }) => modelSizeMb)].sort((a, b) => a - b),
    );
    const plain = await quantizeDiffusionModel({
      modelPath: DIGITS,
      outputPath: path.join(folder, 'plain'),
      layout: 'plain',
      minAccuracy: 0,
    });
    expect(plain.layout).toBe('plain');
  });
  test('inspect', async () => {
    const info = await inspect(DIGITS);
    expect(info).toMatchObject({ kind: 'pipeline', className: 'DiTPipeline', modality: 'image' });
    const denoiser = info.components.find((component) => component.denoiser);
    expect(denoiser).toMatchObject({
      name: 'transformer',
      className: 'DiTTransformer2DModel',
      parameters: 4_605_508,
      quantization: null,
    });
    expect(denoiser?.layers.filter(({ plan }) => plan === 'quantize').length).toBeGreaterThan(30);
  });
});

describe('inspectCalibration', () => {
  const CALIBRATION = path.join(DIGITS, 'calibration.safetensors');
  test('what a file holds of a model', async () => {
    const info = await inspectCalibration(CALIBRATION, { modelPath: DIGITS });
    expect(info).toMatchObject({ axis: 'timestep', missing: [], unknown: [], summarised: [] });
    expect(info.steps).toHaveLength(10);
    expect(info.unused).toEqual(['pos_embed.proj', 'proj_out_1', 'proj_out_2']);
    expect(info.computed.every((name) => name.includes('.norm1.'))).toBe(true);
    const known = info.layers.find(({ name }) => name === 'transformer_blocks.0.ff.net.2');
    expect(known).toMatchObject({ inFeatures: 768, steps: 10, rows: 80, leastRows: 8, fewRows: true, computed: false });
    expect(known?.rank).toBeGreaterThan(20);
    expect(known?.rank).toBeLessThanOrEqual(80);
    expect(info.warnings.map(({ code }) => code)).toEqual(['AQ_WARN_FEW_ROWS']);
    // Without time nothing is computed, and rows of one step are few.
    const untimed = await inspectCalibration(CALIBRATION, { modelPath: DIGITS, enableTimeAware: false });
    expect(untimed.computed).toEqual([]);
    expect(untimed.layers.filter(({ fewRows }) => fewRows).length).toBeGreaterThan(6);
  });
  test('without a model nothing is missing; skipped layers are not used', async () => {
    expect(await inspectCalibration(CALIBRATION)).toMatchObject({ missing: [], unknown: [], unused: [], computed: [] });
    const skipped = await inspectCalibration(CALIBRATION, { modelPath: DIGITS, skipLayers: ['*.ff.*'] });
    expect(skipped.unused).toContain('transformer_blocks.0.ff.net.2');
  });
  test('layers without rows, names of another model, wrong values', async () => {
    const folder = tempDir();
    const file = path.join(folder, 'c.jsonl');
    const line = (layer: string, data: unknown[]) =>
      `${JSON.stringify({ layer, timestep: 5, shape: [1, data.length], data })}\n`;
    const ones = Array.from({ length: 192 }, () => 1);
    writeFileSync(file, line('transformer_blocks.0.attn1.to_q', ones) + line('elsewhere', [1, 2]));
    const info = await inspectCalibration(file, { modelPath: DIGITS });
    expect(info.unknown).toEqual(['elsewhere']);
    expect(info.missing).toContain('transformer_blocks.0.attn1.to_k');
    expect(info.warnings.map(({ code }) => code)).toEqual([
      'AQ_WARN_FEW_ROWS',
      'AQ_WARN_WEIGHT_ONLY',
      'AQ_WARN_UNKNOWN_LAYERS',
    ]);
    writeFileSync(file, line('elsewhere', [1, 2]));
    const details = { reason: 'bad-calibration' };
    await expect(inspectCalibration(file, { modelPath: DIGITS })).rejects.toMatchObject({ details });
    expect(await inspectCalibration(file)).toMatchObject({ rows: 1 });
    writeFileSync(file, line('transformer_blocks.0.attn1.to_q', [1, 2]));
    await expect(inspectCalibration(file, { modelPath: DIGITS })).rejects.toMatchObject({ code: 'AQ_SHAPE_MISMATCH' });
    writeFileSync(file, line('transformer_blocks.0.attn1.to_q', ['x']));
    await expect(inspectCalibration(file)).rejects.toMatchObject({ code: 'AQ_SERDE' });
    await expect(inspectCalibration(path.join(folder, 'none.arrow'))).rejects.toMatchObject({
      code: 'AQ_INVALID_CONFIG',
    });
  });
});

describe('determinism', () => {
  test('1 thread, 2 threads, and a callback that throws: the same bytes', async () => {
    vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const folder = tempDir();
    const modelPath = writeModel(folder);
    const variants = [
      { numThreads: 1 },
      { numThreads: 2 },
      {
        onProgress: () => {
          throw new Error('mine');
        },
      },
      {
        onProgress: async () => {
          throw new Error('mine');
        },
      },
    ];
    const all = [];
    for (const [index, variant] of variants.entries()) {
      const outputPath = path.join(folder, `out${index}`);
      const result = await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0, ...variant });
      all.push(hashes(outputPath));
      if ('onProgress' in variant) expect(result.callbackErrors?.count).toBeGreaterThan(0);
    }
    expect(Object.keys(all[0] as object).length).toBeGreaterThan(1);
    for (const other of all.slice(1)) expect(other).toEqual(all[0]);
    vi.restoreAllMocks();
  });
});

describe('the gate', () => {
  test('a layer below the threshold is raised, and every attempt is told', async () => {
    const folder = tempDir();
    const outputPath = path.join(folder, 'out');
    const result = await quantizeDiffusionModel({
      modelPath: writeModel(folder),
      outputPath,
      bitWidth: 2,
      minAccuracy: 0.98,
    });
    const raised = result.layers.filter(({ outcome }) => outcome === 'raised');
    expect(raised.length).toBeGreaterThan(0);
    for (const { attempts, fallback, scheme, cosine } of raised) {
      expect(attempts.map(({ bitWidth }) => bitWidth)).toEqual([2, 4, 8].slice(0, attempts.length));
      expect(attempts[0]?.similarity).toBeLessThan(0.98);
      expect(fallback?.to).toBe(scheme.bits);
      expect(cosine).toBeGreaterThanOrEqual(0.98);
    }
    expect(result.warnings.map(({ code }) => code)).toContain('AQ_WARN_BITS_RAISED');
  });
  test.each([
    ['failFast', { bitWidth: 2, minAccuracy: 0.999, failFast: true }],
    ['an exhausted ladder', { bitWidth: 8, minAccuracy: 1 }],
  ] as const)('%s: ValidationError and nothing written', async (_, config) => {
    const folder = tempDir();
    const modelPath = writeModel(folder);
    const before = listing(folder);
    const error = await caught(() =>
      quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), config }),
    );
    expect(error).toBeInstanceOf(ValidationError);
    expect(error.details).toMatchObject({ threshold: config.minAccuracy, layerCount: 4, measure: 'weights' });
    expect((error as ValidationError).similarity).toBeLessThan(config.minAccuracy);
    expect(error.message).toMatch(/^Quality validation failed: cosine similarity \d\.\d{4,9} is below threshold/);
    expect(listing(folder)).toEqual(before);
  });
});

test('progress: from 0 to 1, one final event, figures that agree', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(30, 64));
  const events: ProgressEvent[] = [];
  const onProgress = (event: ProgressEvent) => void events.push(event);
  const result = await quantizeDiffusionModel({
    modelPath,
    outputPath: path.join(folder, 'out'),
    minAccuracy: 0,
    onProgress,
  });
  const count = events.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(events).toHaveLength(count);
  expect(events.filter(({ final }) => final)).toHaveLength(1);
  expect(events.at(-1)).toMatchObject({
    final: true,
    fraction: 1,
    layersDone: result.layers.length,
    layersTotal: result.layers.length,
  });
  expect(events[0]?.fraction).toBe(0);
  const fractions = events.map(({ fraction }) => fraction);
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  for (const { etaMs, layersDone, layersTotal, bytesDone, bytesTotal } of events) {
    expect(etaMs === null || etaMs >= 0).toBe(true);
    expect(layersDone).toBeLessThanOrEqual(layersTotal);
    expect(bytesDone).toBeLessThanOrEqual(bytesTotal);
  }
  expect(result.callbackErrors).toEqual({ count: 0, first: null });
});

test('the event loop stays free: a 10 ms timer keeps ticking', async () => {
  const folder = tempDir();
  const modelPath = bigModel(folder, 64);
  let last = performance.now();
  let widest = 0;
  let ticks = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    widest = Math.max(widest, now - last);
    last = now;
    ticks += 1;
  }, 10);
  const started = performance.now();
  await quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0 });
  const elapsed = performance.now() - started;
  clearInterval(timer);
  // A job this short would prove nothing.
  expect(elapsed).toBeGreaterThan(100);
  // The workers take every core, so single ticks come late; a blocked loop would show the job's whole length.
  expect(widest).toBeLessThan(Math.max(100, elapsed / 3));
  expect(ticks).toBeGreaterThan(elapsed / 40);
});
