/** Jobs beside and after each other: one output has one job, failures leak nothing, and the first bad layer is told. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  type ArrowQuantError,
  isArrowQuantError,
  type ProgressEvent,
  type QuantizeDiffusionModelOptions,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { program } from './helpers/child.js';
import { openBelow } from './helpers/fault.js';
import { bigModel, ditTensors, gaussian, writeModel } from './helpers/models.js';
import { expectNextRun, isNew, placeFor, undisturbed } from './helpers/output-states.js';
import { f32 } from './helpers/safetensors.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

const isLong = process.env.AQ_TEST_LONG === '1';

describe('two jobs, one output', () => {
  test('in one process: the second is refused, whichever way it comes, and the first does not notice', async () => {
    const modelPath = bigModel(tempDir());
    const job = { modelPath, minAccuracy: 0 } as const;
    const wanted = await undisturbed(job);
    const place = await placeFor(modelPath, true);
    const others: Promise<ArrowQuantError>[] = [];
    const onProgress = ({ phase }: ProgressEvent) => {
      if (phase !== 'quantize' || others.length > 0) return;
      const detour = path.join(place.folder, 'x', '..', 'out');
      for (const [outputPath, more] of [
        [place.outputPath, { overwrite: true }],
        [detour, { overwrite: true }],
      ] as const) {
        others.push(caught(() => quantizeDiffusionModel({ ...job, ...more, outputPath })));
      }
    };
    await quantizeDiffusionModel({ ...job, outputPath: place.outputPath, overwrite: true, onProgress });
    expect(others).toHaveLength(2);
    for (const error of await Promise.all(others)) {
      expect(error).toMatchObject({ code: 'AQ_OUTPUT_BUSY', details: { path: place.outputPath, pid: process.pid } });
    }
    expect(isNew(place, wanted)).toBe(true);
    await expectNextRun(place, wanted, job);
  });

  test('started together: exactly one wins', async () => {
    const modelPath = bigModel(tempDir());
    const job = { modelPath, minAccuracy: 0, numThreads: 1 } as const;
    const wanted = await undisturbed(job);
    const place = await placeFor(modelPath, false);
    const runs = Array.from({ length: 6 }, () => quantizeDiffusionModel({ ...job, outputPath: place.outputPath }));
    const outcomes = await Promise.allSettled(runs);
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    expect(refused.map(({ code }) => code)).toEqual(Array(5).fill('AQ_OUTPUT_BUSY'));
    expect(isNew(place, wanted)).toBe(true);
    await expectNextRun(place, wanted, job);
  });

  test('in two processes: the second is told the pid of the first', async () => {
    const modelPath = bigModel(tempDir());
    const job = { modelPath, minAccuracy: 0, numThreads: 1 } as const;
    const place = await placeFor(modelPath, false);
    const script = `let met = false;
      const onProgress = ({ phase }) => {
        if (!met && phase === 'quantize') console.log('quantize');
        met ||= phase === 'quantize';
      };
      await aq.quantizeDiffusionModel({ ...data, onProgress });`;
    const first = program(script, { ...job, outputPath: place.outputPath });
    await first.said('quantize');
    const error = await caught(() => quantizeDiffusionModel({ ...job, outputPath: place.outputPath }));
    expect(error).toMatchObject({ code: 'AQ_OUTPUT_BUSY', details: { pid: first.child.pid } });
    expect(error.message).toContain(`${first.child.pid}`);
    expect(await first.ended).toMatchObject({ code: 0, stderr: '' });
    const wanted = await undisturbed(job);
    expect(isNew(place, wanted)).toBe(true);
    await expectNextRun(place, wanted, job);
  });
});

describe('jobs that fail leak nothing', () => {
  const JOBS = isLong ? 200 : 30;
  const count = (folder: string) => (existsSync(folder) ? readdirSync(folder).length : 0);
  /** What the process holds at the least within a moment: a thread that has done its work is gone only then. */
  const leastHeld = async (folder: string) => {
    const samples: { descriptors: number; threads: number }[] = [];
    for (let n = 0; n < 15; n += 1) {
      await sleep(20);
      samples.push({ descriptors: count('/proc/self/fd'), threads: count('/proc/self/task') });
    }
    return {
      open: openBelow(folder) ?? [],
      descriptors: Math.min(...samples.map(({ descriptors }) => descriptors)),
      threads: Math.min(...samples.map(({ threads }) => threads)),
    };
  };
  const nan = () => f32([64, 64], gaussian(64 * 64).fill(Number.NaN, 7, 8));

  test(`${JOBS} times`, { timeout: 600_000 }, async () => {
    const folder = tempDir();
    const good = writeModel(folder, ditTensors(8, 128));
    const bad = writeModel(folder, { ...ditTensors(2, 64), 'transformer_blocks.1.attn1.to_q.weight': nan() }, 'bad');
    const before = listing(folder);
    const fail = async (n: number) => {
      const controller = new AbortController();
      const outputPath = path.join(folder, 'deep', 'out');
      const ways: [string, Partial<QuantizeDiffusionModelOptions>][] = [
        ['AQ_NON_FINITE_WEIGHTS', { modelPath: bad }],
        ['AQ_VALIDATION_FAILED', { bitWidth: 8, minAccuracy: 1 }],
        ['AQ_TIMEOUT', { modelPath: good, timeoutMs: 1, numThreads: 1 }],
        ['AQ_MODEL_NOT_FOUND', { modelPath: path.join(folder, 'absent') }],
        ['AQ_ABORTED', { signal: controller.signal, onProgress: () => controller.abort() }],
      ];
      const [code, options] = ways[n % ways.length] ?? ['', {}];
      const error = await caught(() =>
        quantizeDiffusionModel({ modelPath: good, minAccuracy: 0, outputPath, ...options }),
      );
      expect(error.code).toBe(code);
      expect(listing(folder)).toEqual(before);
    };
    // What is made once and kept, of the addon and of V8, is there after some jobs.
    for (let n = 0; n < 10; n += 1) await fail(n);
    const first = await leastHeld(folder);
    const memory = process.memoryUsage().rss;
    for (let n = 0; n < JOBS; n += 1) await fail(n);
    const last = await leastHeld(folder);
    expect(last.open).toEqual([]);
    expect(last.descriptors).toBeLessThanOrEqual(first.descriptors);
    expect(last.threads).toBeLessThanOrEqual(first.threads);
    const grown = (process.memoryUsage().rss - memory) / 2 ** 20;
    expect(grown).toBeLessThan(48);
  });
});

describe('many failing workers', () => {
  const RUNS = isLong ? 200 : 20;
  const LAYERS = 40;
  const first = 'transformer_blocks.0.attn1.to_q';
  /** The first layer is the largest by far, and its flaw is at its end: the others fail before it. */
  const layers = (make: (width: number) => Float32Array) => {
    const tensor = (width: number) => f32([width, width], make(width));
    const [large, small] = [tensor(512), tensor(64)];
    return Object.fromEntries(
      Array.from({ length: LAYERS }, (_, n) => [`transformer_blocks.${n}.attn1.to_q.weight`, n === 0 ? large : small]),
    );
  };
  const weights = (width: number) => gaussian(width * width);
  const withNaN = (width: number) => weights(width).fill(Number.NaN, -2, -1);

  test.each<[string, (width: number) => Float32Array, Partial<QuantizeDiffusionModelOptions>, object]>([
    [
      'below the gate, failFast',
      weights,
      { bitWidth: 8, minAccuracy: 1, failFast: true },
      { code: 'AQ_VALIDATION_FAILED', details: { layer: first, bitWidth: 8, threshold: 1 } },
    ],
    [
      'NaN in every layer',
      withNaN,
      {},
      { code: 'AQ_NON_FINITE_WEIGHTS', details: { index: [511, 510], value: 'NaN' } },
    ],
  ])('%s: always the first layer of the plan', { timeout: 600_000 }, async (_, make, options, wanted) => {
    const folder = tempDir();
    const modelPath = writeModel(folder, layers(make));
    const before = listing(folder);
    for (let run = 0; run < RUNS; run += 1) {
      const call = quantizeDiffusionModel({
        modelPath,
        outputPath: path.join(folder, 'out'),
        minAccuracy: 0,
        numThreads: 16,
        ...options,
        signal: AbortSignal.timeout(10_000), // a hang would end as AQ_ABORTED
      });
      const error = await call.catch((e: unknown) => e);
      if (!isArrowQuantError(error)) throw error;
      expect(error).toMatchObject(wanted);
      expect(error.message).toContain(first);
      expect(listing(folder)).toEqual(before);
    }
  });

  test('below the gate, without failFast: every layer is counted, and the worst is told', async () => {
    const modelPath = writeModel(tempDir(), layers(weights));
    const outputPath = path.join(tempDir(), 'out');
    const options = { modelPath, outputPath, bitWidth: 2, minAccuracy: 1, numThreads: 16 } as const;
    const error = await caught(() => quantizeDiffusionModel(options));
    expect(error).toMatchObject({
      code: 'AQ_VALIDATION_FAILED',
      details: { failedCount: LAYERS, layerCount: LAYERS, threshold: 1 },
    });
    const failed = isArrowQuantError(error, 'AQ_VALIDATION_FAILED') ? error.details.failed : [];
    expect(new Set(failed.map(({ layer }) => layer)).size).toBe(LAYERS);
    const ends = failed.map(({ layer, attempts }) => ({
      layer,
      similarity: attempts.at(-1)?.similarity ?? Number.NaN,
    }));
    const worst = Math.min(...ends.map(({ similarity }) => similarity));
    // Of equal ones the first of the plan.
    expect(error.details).toMatchObject(ends.find(({ similarity }) => similarity === worst) ?? {});
  });
});
