/** What the file system refuses: permissions, a read-only mount, a disk that fills up, a file that may not grow. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { errorFromJSON, type QuantizeDiffusionModelOptions } from '../src-ts/index.js';
import { WEIGHTS, withFile } from './helpers/bad-models.js';
import { writeCalibration } from './helpers/calibration.js';
import { runProgram } from './helpers/child.js';
import { bigModel, ditTensors, writeModel } from './helpers/models.js';
import { expectAsBefore, isNew, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { hashes } from './helpers/tree.js';

/** Windows knows no such modes; there these tests are counted as skipped. */
const modes = process.platform !== 'win32';
/** A private mount namespace needs Linux, and root or unprivileged user namespaces. */
const mounts = spawnSync('unshare', ['-rm', 'true']).status === 0;

/** Runs a job and writes its error as JSON. Root may do anything, so a root gives that up, once all is loaded. */
const JOB = `await aq.diagnose();
  if (data.unprivileged && process.geteuid() === 0) process.seteuid(65534);
  console.log(JSON.stringify(await aq.quantizeDiffusionModel(data.job).then(() => null, (error) => error)));`;

async function failure(job: object, prefix: readonly string[] = [], unprivileged = false) {
  const { code, stdout, stderr } = await runProgram(JOB, { job, unprivileged }, { prefix });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trim() === 'null' ? undefined : errorFromJSON(stdout);
}

describe.skipIf(!modes)('as a user without privileges', () => {
  /** A folder that anybody may enter, with a model in it and a place to write to. */
  function open() {
    const folder = tempDir();
    const parent = path.join(folder, 'writable');
    mkdirSync(parent);
    for (const [name, mode] of [
      [folder, 0o755],
      [parent, 0o777],
    ] as const)
      chmodSync(name, mode);
    return { folder, parent, outputPath: path.join(parent, 'out') };
  }

  test('all that it needs is what the modes say', async () => {
    const { folder, outputPath } = open();
    const modelPath = writeModel(folder, ditTensors(2, 64));
    expect(await failure({ modelPath, outputPath, minAccuracy: 0 }, [], true)).toBeUndefined();
    expect(hashes(outputPath)).toEqual(await undisturbed({ modelPath, minAccuracy: 0 }));
  });

  test.each([
    ['weights', (model: string) => path.join(model, WEIGHTS)],
    ['config.json', (model: string) => path.join(model, 'config.json')],
    ['metadata.json', (model: string) => path.join(model, 'metadata.json')],
    ['a file that is only carried over', (model: string) => path.join(model, 'README.md')],
    ['the model folder', (model: string) => model],
  ])('input of mode 000: %s', async (name, locked) => {
    const { folder, parent, outputPath } = open();
    const file = name === 'metadata.json' ? name : 'README.md';
    const modelPath = withFile(file, '{"modality":"image"}')(folder);
    const [before, target] = [hashes(modelPath), locked(modelPath)];
    chmodSync(target, 0);
    const error = await failure({ modelPath, outputPath, minAccuracy: 0 }, [], true);
    expect(error).toMatchObject({ name: 'QuantizationError', code: 'AQ_IO', kind: 'user', retryable: false });
    expect(error?.details).toMatchObject({ errno: 'EACCES', attempts: 1, path: expect.stringContaining(target) });
    expect(error?.message).toContain(target);
    expect(error?.cause).toMatchObject({ code: 'EACCES' });
    expect(readdirSync(parent)).toEqual([]);
    chmodSync(target, 0o755);
    expect(hashes(modelPath)).toEqual(before);
  });

  test('calibration of mode 000', async () => {
    const { folder, parent, outputPath } = open();
    const modelPath = writeModel(folder, ditTensors(2, 64));
    const calibration = writeCalibration(folder, 2, 64);
    chmodSync(calibration, 0);
    const error = await failure({ modelPath, outputPath, calibration, minAccuracy: 0 }, [], true);
    expect(error).toMatchObject({ code: 'AQ_IO', details: { errno: 'EACCES', attempts: 1, path: calibration } });
    expect(readdirSync(parent)).toEqual([]);
  });

  test.each([false, true])('output parent of mode 555, overwrite: %s', async (overwrite) => {
    const { folder } = open();
    const modelPath = writeModel(folder, ditTensors(2, 64));
    const place = await placeFor(modelPath, overwrite);
    chmodSync(place.folder, 0o555);
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, overwrite };
    const error = await failure(job, [], true);
    expect(error).toMatchObject({ code: 'AQ_IO', details: { errno: 'EACCES', attempts: 1 } });
    expect(error?.message).toContain(place.folder);
    expectAsBefore(place);
    const deep = await failure({ ...job, outputPath: path.join(place.folder, 'a/b/out') }, [], true);
    expect(deep).toMatchObject({ code: 'AQ_IO', details: { errno: 'EACCES', path: path.join(place.folder, 'a') } });
    expectAsBefore(place);
  });
});

describe.skipIf(!mounts)('on a mount of its own', () => {
  const mounted = (mount: string, folder: string) => ['unshare', '-rm', 'sh', '-c', `${mount} && exec "$@"`, folder];
  const READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"';

  test.each([false, true])('output on a read-only one, overwrite: %s', async (overwrite) => {
    const modelPath = writeModel(tempDir(), ditTensors(2, 64));
    const place = await placeFor(modelPath, overwrite);
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, overwrite };
    const error = await failure(job, mounted(READ_ONLY, place.folder));
    expect(error).toMatchObject({ code: 'AQ_IO', retryable: false, details: { errno: 'EROFS', attempts: 1 } });
    expect(error?.message).toContain(place.folder);
    expectAsBefore(place);
  });

  test('the model on a read-only one: nothing is written there', async () => {
    const modelPath = writeModel(tempDir(), ditTensors(2, 64));
    const place = await placeFor(modelPath, false);
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0 };
    expect(await failure(job, mounted(READ_ONLY, path.dirname(modelPath)))).toBeUndefined();
    expect(isNew(place, await undisturbed({ modelPath, minAccuracy: 0 }))).toBe(true);
  });

  /** The disk is filled in the first event of phase quantize; what is on it before and after is seen only in there. */
  const FILLED = `const { createHash } = await import('node:crypto');
    const fs = await import('node:fs');
    const path = await import('node:path');
    const { disk, job, old } = data;
    const filler = path.join(disk, 'filler');
    const state = () => fs.readdirSync(disk, { recursive: true, withFileTypes: true })
      .map((entry) => [path.join(entry.parentPath, entry.name), entry.isFile()])
      .filter(([name]) => name !== filler)
      .map(([name, isFile]) => [name, isFile ? createHash('sha256').update(fs.readFileSync(name)).digest('hex') : ''])
      .sort();
    if (old) await aq.quantizeDiffusionModel({ ...job, overwrite: false });
    const before = state();
    let filled = 0;
    const onProgress = ({ phase }) => {
      if (filled > 0 || phase !== 'quantize') return;
      try {
        for (const piece = Buffer.alloc(1 << 18); ; filled += 1) fs.appendFileSync(filler, piece);
      } catch (error) {
        if (error.code !== 'ENOSPC') throw error;
      }
    };
    const error = await aq.quantizeDiffusionModel({ ...job, onProgress }).catch((e) => e);
    const after = state();
    fs.rmSync(filler);
    await aq.quantizeDiffusionModel(job);
    console.log(JSON.stringify({ filled, error, before, after, names: fs.readdirSync(disk) }));`;

  test.each([false, true])('it fills up while the job writes, overwrite: %s', async (overwrite) => {
    const modelPath = bigModel(tempDir(), 24, 512);
    const disk = path.join(tempDir(), 'disk');
    mkdirSync(disk);
    const outputPath = path.join(disk, 'out');
    const job = { modelPath, outputPath, bitWidth: 8, minAccuracy: 0, numThreads: 1, overwrite };
    const prefix = mounted('mount -t tmpfs -o size=24m none "$0"', disk);
    const { stdout, stderr } = await runProgram(FILLED, { disk, job, old: overwrite }, { prefix });
    expect(stderr).toBe('');
    const { filled, error: json, before, after, names } = JSON.parse(stdout);
    expect(filled).toBeGreaterThan(0);
    const error = errorFromJSON(json);
    expect(error).toMatchObject({ name: 'QuantizationError', code: 'AQ_OUT_OF_DISK', retryable: false });
    expect(error.details).toMatchObject({ errno: 'ENOSPC', available: null });
    expect(error.message).toMatch(/^The disk of .* filled up while writing \(ENOSPC\)\./);
    expect(before.length > 0).toBe(overwrite);
    expect(after).toEqual(before);
    // With space again the same call succeeds.
    expect(names).toEqual(['out']);
  });
});

test.skipIf(!modes).each([false, true])('a file that may not grow any more, overwrite: %s', async (overwrite) => {
  const modelPath = writeModel(tempDir(), ditTensors(2, 512));
  const place = await placeFor(modelPath, overwrite);
  const job: QuantizeDiffusionModelOptions = {
    modelPath,
    outputPath: place.outputPath,
    bitWidth: 8,
    minAccuracy: 0,
    overwrite,
  };
  const limited = ['sh', '-c', 'ulimit -f 100; exec "$@"', 'sh'];
  const error = await failure(job, limited);
  expect(error).toMatchObject({ name: 'QuantizationError', code: 'AQ_OUT_OF_DISK', retryable: false });
  expect(error?.details).toMatchObject({ errno: 'EFBIG', available: null });
  expectAsBefore(place);
});
