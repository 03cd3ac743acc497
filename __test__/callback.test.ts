/** Progress callbacks that misbehave, with real jobs: the job does not care, and says what happened. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  AbortError,
  type ProgressCallback,
  type ProgressEvent,
  QuantizationError,
  type QuantizationResult,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { program, runProgram } from './helpers/child.js';
import { bigModel, ditTensors, writeModel } from './helpers/models.js';
import { expectNextRun, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { hashes } from './helpers/tree.js';

/** Takes the warnings of the process for the length of the test. */
function warnings() {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  onTestFinished(() => warned.mockRestore());
  return () => warned.mock.calls.map(([text, options]) => [String(text), options]);
}
const WARNING = { type: 'ArrowQuantWarning', code: 'AQ_WARN_CALLBACK' };

/** Runs a job and checks what holds for every callback. */
async function observed(act: (event: ProgressEvent, seen: number) => unknown, modelPath = bigModel(tempDir())) {
  const outputPath = path.join(tempDir(), 'out');
  const events: ProgressEvent[] = [];
  const onProgress: ProgressCallback = (event) => {
    events.push(event);
    return act(event, events.length);
  };
  let settled = false;
  const job = { modelPath, minAccuracy: 0 } as const;
  const call = quantizeDiffusionModel({ ...job, outputPath, onProgress }).finally(() => {
    settled = true;
    expect(events.at(-1)?.final).toBe(true); // sent before it settles
  });
  const result = await call;
  expect(settled).toBe(true);
  const { length } = events;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(events, 'no event after settling').toHaveLength(length);
  expect(events.filter(({ final }) => final)).toHaveLength(1);
  expect(events.at(-1)).toMatchObject({ final: true, fraction: 1 });
  const fractions = events.map(({ fraction }) => fraction);
  expect(fractions[0]).toBe(0);
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  expect(hashes(outputPath)).toEqual(await undisturbed(job));
  return { result, events };
}

const told = ({ warnings: list }: QuantizationResult) => list.filter(({ code }) => code === 'AQ_WARN_CALLBACK');

describe('a callback that', () => {
  const mine = (): never => {
    throw new RangeError('mine');
  };
  test.each<[string, (event: ProgressEvent) => unknown]>([
    ['throws', mine],
    ['rejects', async () => mine()],
    [
      'returns a thenable that rejects',
      () => Object.fromEntries([['then', (_: unknown, reject: (e: Error) => void) => reject(new RangeError('mine'))]]),
    ],
    [
      'throws what is no error',
      () => {
        throw Object.assign(Object.create(null), { name: 'RangeError', message: 'mine' });
      },
    ],
  ])('%s: counted exactly, warned about once', async (name, act) => {
    const warned = warnings();
    const { result, events } = await observed(act);
    const { callbackErrors } = result;
    expect(callbackErrors?.count, name).toBe(events.length);
    if (name !== 'throws what is no error')
      expect(callbackErrors?.first).toEqual({ name: 'RangeError', message: 'mine' });
    expect(told(result)).toMatchObject([{ details: { count: events.length } }]);
    expect(warned().map(([, options]) => options)).toEqual([WARNING]);
  });
  test('throws in the final event only', async () => {
    const warned = warnings();
    const { result } = await observed(({ final }) => (final ? mine() : undefined));
    expect(result.callbackErrors).toEqual({ count: 1, first: { name: 'RangeError', message: 'mine' } });
    expect(told(result)).toHaveLength(1);
    expect(warned()).toEqual([[expect.stringContaining('RangeError: mine'), WARNING]]);
  });
  test('fails now and then: the count is exact', async () => {
    warnings();
    let failures = 0;
    const { result } = await observed((_, seen) => {
      if (seen % 2 === 0) return undefined;
      failures += 1;
      return mine();
    });
    expect(failures).toBeGreaterThan(1);
    expect(result.callbackErrors?.count).toBe(failures);
  });
  test('returns a promise that never settles: nobody waits for it', async () => {
    const warned = warnings();
    const { result } = await observed(() => new Promise(() => undefined));
    expect(result.callbackErrors).toEqual({ count: 0, first: null });
    expect([told(result), warned()]).toEqual([[], []]);
  });
  test('rejects after the job has settled: nobody is told, and nothing is unhandled', async () => {
    const warned = warnings();
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    onTestFinished(() => void process.off('unhandledRejection', unhandled));
    const { result } = await observed(async ({ final }) => {
      if (!final) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
      mine();
    });
    expect(result.callbackErrors).toEqual({ count: 0, first: null });
    expect(warned()).toEqual([]);
    expect(unhandled).not.toHaveBeenCalled();
  });
  test('blocks for a second: the job waits with its events, not with its work', async () => {
    let blocked = false;
    const { result, events } = await observed(({ phase }) => {
      if (blocked || phase !== 'quantize') return;
      blocked = true;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
    });
    expect(blocked).toBe(true);
    expect(result.callbackErrors?.count).toBe(0);
    // Newer data replaced older while nobody listened.
    expect(events.filter(({ phase }) => phase === 'quantize').length).toBeLessThan(4);
  });
  test('starts another job, which has events of its own', async () => {
    const small = writeModel(tempDir(), ditTensors(2, 64));
    const inner = path.join(tempDir(), 'inner');
    const innerEvents: ProgressEvent[] = [];
    let other: Promise<QuantizationResult> | undefined;
    const { result } = await observed(({ phase }) => {
      if (phase !== 'quantize') return;
      other ??= quantizeDiffusionModel({
        modelPath: small,
        outputPath: inner,
        minAccuracy: 0,
        onProgress: (event) => innerEvents.push(event),
      });
    });
    expect((await other)?.quantizedPath).toBe(inner);
    expect(hashes(inner)).toEqual(await undisturbed({ modelPath: small, minAccuracy: 0 }));
    expect(innerEvents.filter(({ final }) => final)).toHaveLength(1);
    expect(result.callbackErrors?.count).toBe(0);
  });
  test('starts the same job again, to the same output: that one is refused, this one goes on', async () => {
    const modelPath = bigModel(tempDir());
    const place = await placeFor(modelPath, false);
    const job = { modelPath, outputPath: place.outputPath, minAccuracy: 0 } as const;
    let other: Promise<unknown> | undefined;
    const onProgress = ({ phase }: ProgressEvent) => {
      if (phase === 'quantize') other ??= quantizeDiffusionModel(job).catch((e: unknown) => e);
    };
    await quantizeDiffusionModel({ ...job, onProgress });
    expect(await other).toBeInstanceOf(QuantizationError);
    expect(await other).toMatchObject({ code: 'AQ_OUTPUT_BUSY', details: { pid: process.pid } });
    expect(hashes(place.outputPath)).toEqual(await undisturbed({ modelPath, minAccuracy: 0 }));
  });
  test('aborts the job and throws as well: the abort is the outcome, the throw is counted', async () => {
    const warned = warnings();
    const modelPath = bigModel(tempDir());
    const place = await placeFor(modelPath, false);
    const controller = new AbortController();
    const events: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent) => {
      events.push(event);
      if (event.phase === 'quantize') controller.abort('mine');
      mine();
    };
    const job = { modelPath, minAccuracy: 0 } as const;
    const { signal } = controller;
    const error = await quantizeDiffusionModel({ ...job, outputPath: place.outputPath, onProgress, signal }).catch(
      (e) => e,
    );
    expect(error).toBeInstanceOf(AbortError);
    expect(error).toMatchObject({ cause: 'mine', report: { callbackErrors: { count: events.length } } });
    const [last, ...earlier] = [...events].reverse();
    expect(last).toMatchObject({ final: true, phase: 'quantize', fraction: earlier[0]?.fraction });
    expect(last?.fraction).toBeLessThan(1);
    expect(warned()).toHaveLength(1);
    await expectNextRun(place, await undisturbed(job), job);
  });
});

test('the warning goes to stderr once, and the process ends well', async () => {
  const { outputPath } = await placeFor('', false);
  const script = `const onProgress = () => { throw new TypeError('mine'); };
    const { callbackErrors } = await aq.quantizeDiffusionModel({ ...data, onProgress });
    console.log(JSON.stringify(callbackErrors.first));`;
  const ended = await runProgram(script, { modelPath: writeModel(tempDir()), outputPath, minAccuracy: 0 });
  expect(ended).toMatchObject({ code: 0, stdout: '{"name":"TypeError","message":"mine"}\n' });
  expect(ended.stderr.match(/AQ_WARN_CALLBACK/g)).toHaveLength(1);
});

test('a callback that never returns to the event loop cannot keep the job from its end', async () => {
  const place = await placeFor('', false);
  const script = `aq.quantizeDiffusionModel({ ...data, onProgress: ({ phase }) => {
    if (phase === 'quantize') { console.log('blocked'); for (;;); }
  } });`;
  const job = { modelPath: bigModel(tempDir()), outputPath: place.outputPath, minAccuracy: 0 };
  const { child, said, ended } = program(script, job);
  await said('blocked');
  await vi.waitFor(() => expect(existsSync(place.outputPath)).toBe(true), { timeout: 10_000, interval: 20 });
  child.kill('SIGKILL');
  await ended;
  // The page comes after the job, from a thread that never gets to it here.
  const { 'arrow-quant/report.html': page, ...whole } = await undisturbed({ modelPath: job.modelPath, minAccuracy: 0 });
  expect(page).toBeDefined();
  expect(hashes(place.outputPath)).toEqual(whole);
});
