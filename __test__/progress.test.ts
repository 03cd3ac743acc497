/** The guard around the user's progress callback, with a stand-in for the addon. */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { AbortError, type ProgressEvent, quantizeDiffusionModel } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative, success } from './helpers/stub-native.js';

let stub = new StubNative();
vi.mock('../src-ts/native.js', () => ({ loadNative: async () => stub }));
// What the stand-in makes is no output that a page could be about.
vi.mock('../src-ts/with-report.js', () => ({ withReport: async (result: object) => result }));
beforeEach(() => {
  stub = new StubNative();
});

const modelPath = '/models/a';
const outputPath = '/models/b';
const event = { phase: 'quantize', fraction: 0.5, layersDone: 1, layersTotal: 2, layer: 'x', etaMs: null };

/** An object whose `then` is what `get` returns; a literal one would be taken for a mistake. */
const thenable = (get: () => unknown) => Object.defineProperty({}, 'then', { get });

describe('progress', () => {
  const warnings = () => {
    const spy = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => spy.mockRestore());
    return spy;
  };
  const collect = async (behave: StubNative['behave']) => {
    const events: ProgressEvent[] = [];
    stub.behave = behave;
    const settled = await quantizeDiffusionModel({
      modelPath,
      outputPath,
      onProgress: (e) => void events.push(e),
    }).catch((e) => e);
    return { events, settled };
  };

  test('one final event on success, with fraction 1; later events are dropped', async () => {
    let late: () => void = () => undefined;
    const { events } = await collect((job) => {
      job.emit(event);
      late = () => job.emit({ ...event, fraction: 0.9 });
      return success();
    });
    late();
    expect(events.map(({ final, fraction }) => [final, fraction])).toEqual([
      [false, 0.5],
      [true, 1],
    ]);
    expect(events.at(-1)).toMatchObject({ phase: 'quantize', layersDone: 2, etaMs: 0 });
  });
  test('one final event on failure, with the last fraction and phase', async () => {
    const { events, settled } = await collect((job) => {
      job.emit(event);
      return failure('AQ_IO', 'QuantizationError');
    });
    expect(settled.code).toBe('AQ_IO');
    expect(events.map(({ final, fraction, phase }) => [final, fraction, phase])).toEqual([
      [false, 0.5, 'quantize'],
      [true, 0.5, 'quantize'],
    ]);
  });
  test('fraction never falls, malformed events are dropped, a native final is not final', async () => {
    const { events } = await collect((job) => {
      job.emit({ ...event, fraction: 0.7, final: true });
      job.emit({ ...event, fraction: 0.2 });
      job.emit({ ...event, fraction: 7 });
      job.emit('nonsense');
      job.emit('null');
      job.emit({});
      return success();
    });
    expect(events.map(({ fraction }) => fraction)).toEqual([0.7, 0.7, 1, 1]);
    expect(events.filter(({ final }) => final)).toHaveLength(1);
  });
  test('a throwing callback is called on, counted, and warned about once', async () => {
    const warned = warnings();
    stub.behave = (job) => {
      job.emit(event);
      job.emit(event);
      return success({ warnings: [] });
    };
    let calls = 0;
    const result = await quantizeDiffusionModel({
      modelPath,
      outputPath,
      onProgress: () => {
        calls += 1;
        throw new TypeError(`no ${calls}`);
      },
    });
    expect(calls).toBe(3);
    expect(result.callbackErrors).toEqual({ count: 3, first: { name: 'TypeError', message: 'no 1' } });
    expect(result.warnings).toMatchObject([{ code: 'AQ_WARN_CALLBACK' }]);
    expect(warned).toHaveBeenCalledTimes(1);
    expect(warned.mock.calls[0]?.[1]).toEqual({ type: 'ArrowQuantWarning', code: 'AQ_WARN_CALLBACK' });
  });
  test.each([
    ['async functions', async () => Promise.reject(new Error('later'))],
    ['thenables', () => thenable(() => (_: unknown, reject: (e: Error) => void) => reject(new Error('later')))],
    [
      'a then that throws',
      () =>
        thenable(() => {
          throw new Error('later');
        }),
    ],
  ])('rejections of %s are counted exactly', async (_, onProgress) => {
    warnings();
    stub.behave = (job) => {
      job.emit(event);
      return success();
    };
    const result = await quantizeDiffusionModel({ modelPath, outputPath, onProgress });
    expect(result.callbackErrors).toEqual({ count: 2, first: { name: 'Error', message: 'later' } });
  });
  test('a promise that never settles is not waited for; hostile throws are counted', async () => {
    warnings();
    await quantizeDiffusionModel({ modelPath, outputPath, onProgress: () => new Promise(() => undefined) });
    const result = await quantizeDiffusionModel({
      modelPath,
      outputPath,
      onProgress: () => {
        throw null;
      },
    });
    expect(result.callbackErrors?.count).toBe(1);
  });
  test('on failure the count is in error.report', async () => {
    warnings();
    stub.behave = () => failure('AQ_IO', 'QuantizationError', { report: { layers: [] } });
    const call = () =>
      quantizeDiffusionModel({
        modelPath,
        outputPath,
        onProgress: () => {
          throw new Error('x');
        },
      });
    expect((await caught(call)).report).toMatchObject({ layers: [], callbackErrors: { count: 1 } });
  });
  test("runs in the caller's async context and may abort the job", async () => {
    const storage = new AsyncLocalStorage<string>();
    const elsewhere = AsyncResource.bind((work: () => void) => work());
    const controller = new AbortController();
    const seen: (string | undefined)[] = [];
    stub.behave = (job) => {
      elsewhere(() => job.emit(event));
      return job.cancelled ? failure('AQ_ABORTED', 'AbortError') : success();
    };
    const onProgress = () => {
      seen.push(storage.getStore());
      controller.abort();
    };
    const call = () => quantizeDiffusionModel({ modelPath, outputPath, onProgress, signal: controller.signal });
    expect(await caught(() => storage.run('mine', call))).toBeInstanceOf(AbortError);
    expect(seen).toEqual(['mine', 'mine']);
  });
  test('no event without a job', async () => {
    const onProgress = vi.fn();
    await caught(() => quantizeDiffusionModel({ modelPath, outputPath: modelPath, onProgress }));
    expect(onProgress).not.toHaveBeenCalled();
  });
});
