/** The process or the thread ends while a job runs: what it had staged is gone, or the next job removes it. */
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import {
  errorFromJSON,
  isArrowQuantError,
  ModelNotFoundError,
  quantizeDiffusionModel,
  ValidationError,
} from '../src-ts/index.js';
import { ENTRY, runProgram } from './helpers/child.js';
import { bigModel, ditTensors, writeModel } from './helpers/models.js';
import { expectAsBefore, expectNextRun, isNew, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';

/** Once the module is done (Node has a listener of its own until then), a job; in its first event of phase quantize something
 * happens, outside the callback, so that it escapes. */
const atQuantize = (act: string) => `setImmediate(() => {
  const before = process.listenerCount('exit');
  let met = false;
  const onProgress = ({ phase }) => {
    if (met || phase !== 'quantize') return;
    met = true;
    setImmediate(() => {
      console.log('acting ' + (process.listenerCount('exit') - before));
      ${act}
    });
  };
  aq.quantizeDiffusionModel({ ...data, onProgress }).then(() => console.log('done'), (e) => console.log(e.code));
});`;

const WAYS = [
  ['process.exit()', 'process.exit(7)', 7, ''],
  ['an uncaught exception', "throw new Error('mine')", 1, 'Error: mine'],
  ['an unhandled rejection', "Promise.reject(new Error('mine'))", 1, 'Error: mine'],
] as const;

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test.each(WAYS)('%s leaves what was there', async (_, act, code, told) => {
    const modelPath = bigModel(tempDir());
    const place = await placeFor(modelPath, overwrite);
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, numThreads: 1, overwrite };
    const ended = await runProgram(atQuantize(act), job);
    expect(ended).toMatchObject({ code, signal: null, stdout: 'acting 1\n', stderr: expect.stringContaining(told) });
    expect(ended.afterOutput).toBeLessThan(2000);
    expectAsBefore(place);
  });

  test('SIGTERM to a program that handles no signal is as kill -9: the next job tidies up', async () => {
    const modelPath = bigModel(tempDir());
    const job = { modelPath, minAccuracy: 0 } as const;
    const wanted = await undisturbed(job);
    const place = await placeFor(modelPath, overwrite);
    const script = atQuantize("process.kill(process.pid, 'SIGTERM')");
    const ended = await runProgram(script, { ...job, outputPath: place.outputPath, numThreads: 1, overwrite });
    expect(ended).toMatchObject({ code: null, signal: 'SIGTERM' });
    expect(isNew(place, wanted)).toBe(false);
    const { warnings } = await expectNextRun(place, wanted, job);
    expect(warnings.map(({ code }) => code)).toContain('AQ_WARN_STALE_STAGING');
  });
});

test('a running job keeps the process alive, and nothing does afterwards', async () => {
  const modelPath = writeModel(tempDir());
  const place = await placeFor(modelPath, false);
  const script = `setImmediate(() => {
    const before = process.listenerCount('exit');
    aq.quantizeDiffusionModel(data).then(() => console.log(process.listenerCount('exit') - before));
  });`;
  const ended = await runProgram(script, { modelPath, outputPath: place.outputPath, minAccuracy: 0 });
  expect(ended).toMatchObject({ code: 0, stdout: '0\n', stderr: '' });
  expect(isNew(place, await undisturbed({ modelPath, minAccuracy: 0 }))).toBe(true);
});

describe('worker_threads', () => {
  const worker = (script: string, job: object) =>
    new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.entry).then(async (aq) => { ${script} });`,
      { eval: true, workerData: { entry: ENTRY, job } },
    );
  const message = (from: Worker) =>
    new Promise<unknown>((resolve, reject) => from.once('message', resolve).once('error', reject));

  const UNTIL_QUANTIZE = `let met = false;
    const onProgress = ({ phase }) => {
      if (met || phase !== 'quantize') return;
      met = true;
      parentPort.postMessage('quantize');
      ACT
    };
    aq.quantizeDiffusionModel({ ...workerData.job, onProgress }).then(() => parentPort.postMessage('done'));`;

  test.each([
    ['terminate()', '', (w: Worker) => w.terminate()],
    ['process.exit() in it', 'setImmediate(() => process.exit(3))', (w: Worker) => new Promise((r) => w.on('exit', r))],
  ] as const)(
    '%s is clean within 2 s, and the main thread can run the next job',
    async (_, act, end) => {
      const modelPath = bigModel(tempDir());
      const place = await placeFor(modelPath, true);
      const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0, numThreads: 1, overwrite: true };
      const running = worker(UNTIL_QUANTIZE.replace('ACT', act), job);
      const seen: unknown[] = [];
      running.on('message', (said) => seen.push(said));
      expect(await message(running)).toBe('quantize');
      const since = performance.now();
      await end(running);
      expect(performance.now() - since).toBeLessThan(2000);
      expect(seen).toEqual(['quantize']);
      expectAsBefore(place);
      const small = { modelPath: writeModel(tempDir()), minAccuracy: 0 } as const;
      const next = await placeFor(small.modelPath, false);
      await expectNextRun(next, await undisturbed(small), small);
      await expectNextRun(place, await undisturbed(job), job);
    },
    120_000,
  );

  test('the main thread and a worker run jobs at once; ending the worker ends only its own', async () => {
    const modelPath = bigModel(tempDir());
    const [mine, theirs] = [await placeFor(modelPath, false), await placeFor(modelPath, false)];
    const job = { modelPath, minAccuracy: 0, numThreads: 1 } as const;
    const running = worker(UNTIL_QUANTIZE.replace('ACT', ''), { ...job, outputPath: theirs.outputPath });
    const started = message(running);
    const outcome = quantizeDiffusionModel({ ...job, outputPath: mine.outputPath });
    await started;
    await running.terminate();
    expectAsBefore(theirs);
    await outcome;
    expect(isNew(mine, await undisturbed(job))).toBe(true);
  });

  test("an error crosses by the 'error' event and by toJSON()", async () => {
    const modelPath = writeModel(tempDir(), ditTensors(2, 64));
    const { outputPath } = await placeFor(modelPath, false);
    const job = { modelPath, outputPath, bitWidth: 8, minAccuracy: 1 };
    const thrown = worker('setImmediate(() => aq.quantizeDiffusionModel(workerData.job));', job);
    const event = await new Promise<unknown>((resolve) => thrown.once('error', resolve));
    expect(isArrowQuantError(event)).toBe(false); // it has lost its class on the way
    const revived = errorFromJSON(event);
    expect(revived).toBeInstanceOf(ValidationError);
    expect(revived).toMatchObject({ code: 'AQ_VALIDATION_FAILED', details: { threshold: 1 } });
    expect(revived.message).toBe((event as Error).message);

    const send = `parentPort.postMessage((await aq.inspect('/nowhere/model').catch((e) => e)).toJSON());`;
    const json = errorFromJSON(await message(worker(send, {})));
    expect(json).toBeInstanceOf(ModelNotFoundError);
    expect(json).toMatchObject({ code: 'AQ_MODEL_NOT_FOUND', cause: { code: 'ENOENT' } });
  });
});
