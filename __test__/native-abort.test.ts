/** Aborting jobs of the addon: promptly, with the caller's reason, and without leaving anything behind. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import {
  AbortError,
  type Phase,
  type ProgressEvent,
  quantizeDiffusionModel,
  validateQuality,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

test('an aborted signal touches nothing', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder);
  const before = listing(folder);
  const signal = AbortSignal.abort('no');
  const error = await caught(() => quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), signal }));
  expect(error).toMatchObject({ name: 'AbortError', cause: 'no', details: { phase: 'config' } });
  expect(listing(folder)).toEqual(before);
});

test('in the middle: within a second, with the very reason, nothing left', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(24, 1024));
  const before = listing(folder);
  const controller = new AbortController();
  const reason = new Error('changed my mind');
  let abortedAt = 0;
  const onProgress = ({ phase, layersDone }: ProgressEvent) => {
    if (phase !== 'quantize' || layersDone === 0 || abortedAt > 0) return;
    abortedAt = performance.now();
    controller.abort(reason);
  };
  const { signal } = controller;
  const error = await caught(() =>
    quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0, onProgress, signal }),
  );
  expect(performance.now() - abortedAt).toBeLessThan(1000);
  expect(error).toBeInstanceOf(AbortError);
  expect(error.cause).toBe(reason);
  expect(listing(folder)).toEqual(before);
});

test.each(['open', 'plan', 'quantize', 'validate', 'commit'] as const)(
  'in phase %s, over an existing output',
  async (phase: Phase) => {
    const folder = tempDir();
    const modelPath = writeModel(folder);
    const outputPath = path.join(folder, 'out');
    await quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 8, minAccuracy: 0 });
    const [before, old] = [listing(folder), hashes(outputPath)];
    const controller = new AbortController();
    const seen = new Set<string>();
    const onProgress = (event: ProgressEvent) => {
      seen.add(event.phase);
      if (event.phase === phase) controller.abort(phase);
    };
    const { signal } = controller;
    const call = () =>
      quantizeDiffusionModel({
        modelPath,
        outputPath,
        bitWidth: 2,
        minAccuracy: 0,
        overwrite: true,
        onProgress,
        signal,
      });
    const error = await call().then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(listing(folder)).toEqual(before);
    if (error === undefined) {
      // Too late, or the phase was over before its event was delivered: the new output is complete.
      expect(hashes(outputPath)).not.toEqual(old);
      expect((await validateQuality(modelPath, outputPath, { minAccuracy: 0 })).passed).toBe(true);
    } else {
      expect(error).toBeInstanceOf(AbortError);
      expect((error as AbortError).cause).toBe(phase);
      expect(hashes(outputPath)).toEqual(old);
    }
  },
);

test('an existing output is refused, replaced with overwrite, and kept when the new job fails', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder);
  const outputPath = path.join(folder, 'out');
  await quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 8, minAccuracy: 0 });
  const [before, old] = [listing(folder), hashes(outputPath)];
  const refused = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 }));
  expect(refused).toMatchObject({
    name: 'ConfigurationError',
    code: 'AQ_OUTPUT_EXISTS',
    details: { path: outputPath },
  });
  expect(refused.message).toContain(outputPath);
  await caught(() => quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 8, minAccuracy: 1, overwrite: true }));
  expect(hashes(outputPath)).toEqual(old);
  await quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 2, minAccuracy: 0, overwrite: true });
  expect(hashes(outputPath)).not.toEqual(old);
  expect(listing(folder)).toEqual(before);
});

test('the source is never changed', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder);
  writeFileSync(path.join(modelPath, 'README.md'), 'mine');
  const before = hashes(modelPath);
  const outputPath = path.join(folder, 'out');
  await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 });
  writeFileSync(path.join(outputPath, 'README.md'), 'edited in the output');
  expect(hashes(modelPath)).toEqual(before);
  expect(readFileSync(path.join(modelPath, 'README.md'), 'utf8')).toBe('mine');
});
