/** The files of a model change while a job reads them: told, never believed, and never a crash. */
import { renameSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { MetadataError, type ProgressEvent, quantizeDiffusionModel } from '../src-ts/index.js';
import { WEIGHTS } from './helpers/bad-models.js';
import { writeCalibration } from './helpers/calibration.js';
import { caught } from './helpers/caught.js';
import { runProgram } from './helpers/child.js';
import { bigModel } from './helpers/models.js';
import { expectAsBefore, expectNextRun, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';

/** What happens to a file; a copy of it lies beside it. */
const CHANGES: readonly (readonly [string, (file: string) => void])[] = [
  ['truncated to nothing', (file) => truncateSync(file, 0)],
  ['truncated to a half', (file) => truncateSync(file, 3_000_000)],
  ['longer', (file) => truncateSync(file, 200_000_000)],
  [
    'replaced',
    (file) => {
      writeFileSync(`${file}.new`, 'other');
      renameSync(`${file}.new`, file);
    },
  ],
  ['written again', (file) => writeFileSync(file, Buffer.alloc(100_000))],
  ['touched', (file) => utimesSync(file, new Date(0), new Date(0))],
];

const big = (folder: string) => bigModel(folder, 24);

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test.each(CHANGES)('a shard is %s at work', async (_, change) => {
    const modelPath = big(tempDir());
    const place = await placeFor(modelPath, overwrite);
    let changed = false;
    const onProgress = ({ phase }: ProgressEvent) => {
      if (changed || phase !== 'quantize') return;
      changed = true;
      change(path.join(modelPath, WEIGHTS));
    };
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, numThreads: 1, overwrite };
    const error = await caught(() => quantizeDiffusionModel({ ...job, onProgress }));
    expect(changed).toBe(true);
    expect(error).toBeInstanceOf(MetadataError);
    expect(error).toMatchObject({ code: 'AQ_CORRUPT_MODEL', details: { defect: 'changed-while-reading' } });
    expect(error.message).toContain(WEIGHTS);
    expectAsBefore(place);
  });
});

test('calibration changes at work', async () => {
  const folder = tempDir();
  const modelPath = big(folder);
  const calibration = writeCalibration(folder, 24, 1024);
  const place = await placeFor(modelPath, false);
  const onProgress = ({ phase, layersDone }: ProgressEvent) => {
    if (phase === 'quantize' && layersDone > 0) truncateSync(calibration, 5000);
  };
  const job = { modelPath, calibration, outputPath: place.outputPath, minAccuracy: 0, numThreads: 1 };
  const error = await caught(() => quantizeDiffusionModel({ ...job, onProgress }));
  expect(error).toMatchObject({ code: 'AQ_CORRUPT_MODEL', details: { defect: 'changed-while-reading' } });
  expect(error.message).toContain(calibration);
  expectAsBefore(place);
});

test('in a process of its own: no signal ends it, and the next job there succeeds', async () => {
  const [modelPath, good] = [big(tempDir()), big(tempDir())];
  const place = await placeFor(modelPath, false);
  const script = `const { truncateSync } = await import('node:fs');
    const onProgress = ({ phase }) => { if (phase === 'quantize') truncateSync(data.file, 0); };
    const { modelPath, good, outputPath } = data;
    const error = await aq.quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0, onProgress }).catch((e) => e);
    console.log(error.code);
    await aq.quantizeDiffusionModel({ modelPath: good, outputPath, minAccuracy: 0 });`;
  const { outputPath } = place;
  const ended = await runProgram(script, { file: path.join(modelPath, WEIGHTS), modelPath, good, outputPath });
  expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'AQ_CORRUPT_MODEL\n', stderr: '' });
  await expectNextRun(place, await undisturbed({ modelPath: good, minAccuracy: 0 }), {
    modelPath: good,
    minAccuracy: 0,
  });
});

test('a changed source ends the resuming of a job too', async () => {
  const modelPath = bigModel(tempDir());
  const place = await placeFor(modelPath, false);
  const controller = new AbortController();
  const onProgress = ({ phase, layersDone }: ProgressEvent) => {
    if (phase === 'quantize' && layersDone > 0) controller.abort();
  };
  const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, numThreads: 1, resume: true } as const;
  await caught(() => quantizeDiffusionModel({ ...job, onProgress, signal: controller.signal }));
  rmSync(modelPath, { recursive: true });
  bigModel(path.dirname(modelPath), 24, 256);
  const error = await caught(() => quantizeDiffusionModel(job));
  expect(error).toMatchObject({ name: 'ConfigurationError', code: 'AQ_RESUME_MISMATCH' });
  expect(error.message).toContain(WEIGHTS);
  const options = { modelPath, minAccuracy: 0 } as const;
  await expectNextRun(place, await undisturbed(options), options);
});
