/** An abort in every phase of every kind of job, and the signals that it comes from. */
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import {
  AbortError,
  type Phase,
  type ProgressEvent,
  type QuantizationResult,
  type QuantizeDiffusionModelOptions,
  quantizeDiffusionModel,
  validateQuality,
} from '../src-ts/index.js';
import { writeCalibration } from './helpers/calibration.js';
import { caught } from './helpers/caught.js';
import { openBelow } from './helpers/fault.js';
import { bigModel, ditTensors, writeModel } from './helpers/models.js';
import { expectAsBefore, expectNextRun, isNew, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const KINDS = ['fresh', 'overwrite', 'resume'] as const;
const PHASES = ['open', 'plan', 'calibrate', 'quantize', 'commit'] as const;

/**
 * A job that is aborted in a phase: by its first event, or where newer events replaced that one, by the next; in
 * quantize by the first that tells of finished layers.
 */
async function abortedIn(phase: (typeof PHASES)[number], reason: object, options: QuantizeDiffusionModelOptions) {
  const controller = new AbortController();
  const events: ProgressEvent[] = [];
  let abortedAt: Phase | undefined;
  const onProgress = (event: ProgressEvent) => {
    events.push(event);
    const early = PHASES.indexOf(event.phase as typeof phase) < PHASES.indexOf(phase);
    if (abortedAt !== undefined || early || (event.phase === 'quantize' && event.layersDone === 0)) return;
    abortedAt = event.phase;
    controller.abort(reason);
  };
  const { signal } = controller;
  const call: Promise<QuantizationResult> = quantizeDiffusionModel({ ...options, onProgress, signal });
  const error = await call.then(
    () => undefined,
    (e: unknown) => e,
  );
  const { length } = events;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(events).toHaveLength(length);
  expect(events.map(({ final }) => final)).toEqual([...Array(length - 1).fill(false), true]);
  expect(abortedAt).toBeDefined();
  return { error, abortedAt };
}

describe.each(KINDS)('%s', (kind) => {
  test.each(PHASES)('in phase %s', async (phase) => {
    const [source, blocks, width] = [tempDir(), 24, 512];
    const modelPath = bigModel(source, blocks, width);
    const calibration = writeCalibration(source, blocks, width);
    const job = { modelPath, calibration, minAccuracy: 0, numThreads: 1 } as const;
    const wanted = await undisturbed(job);
    const place = await placeFor(modelPath, kind === 'overwrite');
    const how = { overwrite: kind === 'overwrite', resume: kind === 'resume' };
    const reason = { phase };
    const { error, abortedAt } = await abortedIn(phase, reason, { ...job, ...how, outputPath: place.outputPath });
    expect(openBelow(place.folder) ?? []).toEqual([]);
    if (error === undefined) {
      // The rest of a commit takes a moment: an event from there may come too late, and then the job succeeds.
      expect(abortedAt).toBe('commit');
      expect(isNew(place, wanted)).toBe(true);
      expect(listing(place.folder).filter((name) => name.includes('aq-partial'))).toEqual([]);
      return;
    }
    expect(error).toBeInstanceOf(AbortError);
    expect((error as AbortError).cause).toBe(reason);
    if (kind !== 'resume') {
      expect((error as AbortError).details).toMatchObject({ staged: 'nothing', abandoned: false });
      expectAsBefore(place);
      return;
    }
    const left = listing(place.folder).filter((name) => !name.startsWith('.out.aq-partial'));
    expect(left).toEqual([]);
    // What an event of an early phase reaches may have begun to write already.
    const kept = listing(place.folder).length > 0;
    if (abortedAt === 'quantize' || abortedAt === 'commit') expect(kept).toBe(true);
    expect((error as AbortError).details).toMatchObject({ staged: kept ? 'journal' : 'nothing' });
    const { warnings } = await expectNextRun(place, wanted, { ...job, resume: true });
    expect(warnings.some(({ code }) => code === 'AQ_WARN_RESUMED')).toBe(kept);
  });
});

test('in phase validate: of the two models nothing is changed', async () => {
  const folder = tempDir();
  const modelPath = bigModel(folder);
  const outputPath = path.join(folder, 'out');
  await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 });
  const before = hashes(folder);
  const controller = new AbortController();
  const onProgress = ({ phase }: ProgressEvent) => {
    if (phase === 'validate') controller.abort('enough');
  };
  const error = await caught(() => validateQuality(modelPath, outputPath, { onProgress, signal: controller.signal }));
  expect(error).toBeInstanceOf(AbortError);
  expect(error).toMatchObject({ cause: 'enough', details: { phase: 'validate' } });
  expect(hashes(folder)).toEqual(before);
});

describe('the signal', () => {
  /** A signal that counts who listens to it. */
  function counted() {
    const controller = new AbortController();
    const { signal } = controller;
    const listening = new Set<unknown>();
    const add = vi.spyOn(signal, 'addEventListener');
    const remove = vi.spyOn(signal, 'removeEventListener');
    const left = () => {
      for (const [, listener] of add.mock.calls) listening.add(listener);
      for (const [, listener] of remove.mock.calls) listening.delete(listener);
      return listening.size;
    };
    return { controller, signal, add, left };
  }
  const small = () => {
    const modelPath = writeModel(tempDir(), ditTensors(2, 64));
    return { modelPath, outputPath: path.join(tempDir(), 'out'), minAccuracy: 0 };
  };

  test('aborted before the call: nothing is touched and nobody listens', async () => {
    const { controller, signal, add } = counted();
    const reason = new Error('mine');
    controller.abort(reason);
    const onProgress = vi.fn();
    const job = { modelPath: '/nowhere/model', outputPath: path.join(tempDir(), 'deep/out') };
    const error = await caught(() => quantizeDiffusionModel({ ...job, signal, onProgress }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error.cause).toBe(reason);
    expect(error.details).toEqual({ phase: 'config', staged: 'nothing', abandoned: false });
    expect(add).not.toHaveBeenCalled();
    expect(listing(path.dirname(path.dirname(job.outputPath)))).toEqual([]);
  });
  test('aborted in the same tick as the call', async () => {
    const { controller, signal, left } = counted();
    const job = small();
    const running = caught(() => quantizeDiffusionModel({ ...job, signal }));
    controller.abort('at once');
    expect(await running).toMatchObject({ name: 'AbortError', cause: 'at once' });
    expect(left()).toBe(0);
    expect(listing(path.dirname(job.outputPath))).toEqual([]);
  });
  test('two aborts: the first reason counts', async () => {
    const { controller, signal, left } = counted();
    const job = { ...small(), modelPath: bigModel(tempDir()) };
    const onProgress = ({ phase }: ProgressEvent) => {
      if (phase !== 'quantize') return;
      controller.abort('first');
      controller.abort('second');
    };
    const error = await caught(() => quantizeDiffusionModel({ ...job, signal, onProgress }));
    expect(error).toMatchObject({ name: 'AbortError', cause: 'first' });
    expect(left()).toBe(0);
    expect(listing(path.dirname(job.outputPath))).toEqual([]);
  });
  test('after settling an abort does nothing, and nobody listens any more', async () => {
    const { controller, signal, add, left } = counted();
    const job = small();
    const result = await quantizeDiffusionModel({ ...job, signal });
    expect(add).toHaveBeenCalledTimes(1);
    expect(left()).toBe(0);
    const [names, files] = [listing(job.outputPath), hashes(job.outputPath)];
    controller.abort('too late');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([listing(job.outputPath), hashes(job.outputPath)]).toEqual([names, files]);
    expect(result.quantizedPath).toBe(job.outputPath);
    const failed = counted();
    const error = await caught(() =>
      quantizeDiffusionModel({ ...small(), bitWidth: 8, minAccuracy: 1, signal: failed.signal }),
    );
    expect(error.code).toBe('AQ_VALIDATION_FAILED');
    expect(failed.left()).toBe(0);
    failed.controller.abort('too late');
    expect(error.cause).toBeUndefined();
  });
  test('one signal for many jobs ends all of them and keeps no listener', async () => {
    const { controller, signal, left } = counted();
    const modelPath = bigModel(tempDir());
    const folder = tempDir();
    const jobs = Array.from({ length: 8 }, (_, n) =>
      caught(() =>
        quantizeDiffusionModel({
          modelPath,
          outputPath: path.join(folder, `${n}`),
          minAccuracy: 0,
          signal,
          numThreads: 1,
        }),
      ),
    );
    setTimeout(() => controller.abort('all'), 20);
    for (const error of await Promise.all(jobs)) expect(error).toMatchObject({ name: 'AbortError', cause: 'all' });
    expect(left()).toBe(0);
    expect(listing(folder)).toEqual([]);
  });
});
