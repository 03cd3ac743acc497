/** Events and counters around a job, with a stand-in for the addon. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { publish } from '../src-ts/events.js';
import {
  ConfigurationError,
  DiffusionQuantConfig,
  type ErrorMetrics,
  errorMetrics,
  instrument,
  quantize,
  quantizeDiffusionModel,
  quantizeMany,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure, StubNative, success, withNotices } from './helpers/stub-native.js';

let stub = new StubNative();
vi.mock('../src-ts/native.js', () => ({ loadNative: async () => stub }));
beforeEach(() => {
  stub = new StubNative();
});

const NAMES = [
  'job.start',
  'job.end',
  'job.error',
  'retry',
  'degrade',
  'breaker',
  'fallback',
  'warning',
  'callback-error',
];
const paths = { modelPath: '/models/a', outputPath: '/models/b' };
const fallback = (from: number, to: number) => ({
  event: 'fallback',
  layer: 'mid.to_q',
  from,
  to,
  similarity: 0.5,
  threshold: 0.9,
});
const retry = { event: 'retry', op: 'read', path: '/m', errno: 'EAGAIN', attempt: 1, delayMs: 51.5 };
const degrade = { event: 'degrade', what: 'memory', from: '2', to: '1', reason: 'refused' };
const breaker = { event: 'breaker', device: 'cuda:0', from: 'closed', to: 'open', openMs: 60_000 };
const warning = { code: 'AQ_WARN_BITS_RAISED', message: 'raised', details: { layers: 1 } };
const report = {
  warnings: [warning],
  resolvedConfig: { minAccuracy: 0.9 },
};

function listen(): [name: string, event: Record<string, unknown>][] {
  const events: [string, Record<string, unknown>][] = [];
  for (const name of NAMES) {
    const listener = (event: unknown) => void events.push([name, event as Record<string, unknown>]);
    subscribe(`arrow-quant:${name}`, listener);
    onTestFinished(() => void unsubscribe(`arrow-quant:${name}`, listener));
  }
  return events;
}

function withResolvers() {
  let reject: (reason: Error) => void = () => undefined;
  const promise = new Promise((_, refuse) => {
    reject = refuse;
  });
  return { promise, reject };
}

function quietWarnings(): void {
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  onTestFinished(() => spy.mockRestore());
}

describe('events', () => {
  test('a job that succeeds', async () => {
    const events = listen();
    stub.behave = () => withNotices(success(report), fallback(2, 4));
    await quantizeDiffusionModel(paths);
    const jobId = stub.jobs[0]?.request.jobId;
    const common = { jobId, timestamp: expect.stringMatching(/^\d{4}-.*Z$/) };
    const operation = 'quantizeDiffusionModel';
    expect(events).toEqual([
      ['job.start', { ...common, operation, ...paths }],
      ['fallback', { ...common, layer: 'mid.to_q', from: 2, to: 4, similarity: 0.5, threshold: 0.9 }],
      ['warning', { ...common, ...warning }],
      ['job.end', { ...common, operation, elapsedMs: expect.any(Number), report }],
    ]);
  });
  test('a job that fails: its error, and what its partial report tells', async () => {
    const events = listen();
    stub.behave = () =>
      withNotices(failure('AQ_IO', 'QuantizationError', { report: { warnings: 'x' } }), fallback(4, 8));
    const error = await caught(() => quantizeDiffusionModel(paths));
    expect(events.map(([name]) => name)).toEqual(['job.start', 'fallback', 'job.error']);
    expect(events[1]?.[1]).toMatchObject({ from: 4, to: 8, similarity: 0.5, threshold: 0.9 });
    expect(events[2]?.[1].error).toBe(error);
  });
  test('notices come live, once, and those that did not come live with the outcome', async () => {
    const events = listen();
    stub.behave = (job) => {
      job.emit({ seq: 1, ...retry });
      job.emit({ phase: 'quantize', fraction: 0.5 });
      expect(events.at(-1)).toMatchObject(['retry', { op: 'read', errno: 'EAGAIN', attempt: 1, delayMs: 51.5 }]);
      return withNotices(success(), retry, degrade, breaker);
    };
    await quantizeDiffusionModel({ ...paths, onProgress: () => undefined });
    expect(events.map(([name]) => name)).toEqual(['job.start', 'retry', 'degrade', 'breaker', 'job.end']);
    expect(events[1]?.[1]).not.toHaveProperty('seq');
    const { jobId } = stub.jobs[0]?.request ?? {};
    expect(events.every(([, event]) => event.jobId === jobId)).toBe(true);
  });
  test('failures of the callback, also after the job settled', async () => {
    quietWarnings();
    const events = listen();
    let later: (reason: Error) => void = () => undefined;
    const onProgress = vi
      .fn()
      .mockImplementationOnce(() => {
        throw new TypeError('now');
      })
      .mockImplementationOnce(() => {
        const { promise, reject } = withResolvers();
        later = reject;
        return promise;
      });
    stub.behave = (job) => {
      job.emit({ phase: 'quantize', fraction: 0.5 });
      return success();
    };
    const { callbackErrors } = await quantizeDiffusionModel({ ...paths, onProgress });
    later(new Error('late'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(callbackErrors?.count).toBe(1);
    const failures = events.filter(([name]) => name === 'callback-error').map(([, event]) => event);
    expect(failures).toMatchObject([
      { name: 'TypeError', message: 'now', late: false },
      { name: 'Error', message: 'late', late: true },
    ]);
    expect(events.at(-2)?.[0]).toBe('job.end');
  });
  test('a refused call has no job and no event', async () => {
    const events = listen();
    await caught(() => quantizeDiffusionModel({ ...paths, bitWidth: 3 as never }));
    expect(events).toEqual([]);
  });
  test('a payload is built only for a subscriber', () => {
    const payload = vi.fn(() => warning);
    publish('warning', null, payload);
    expect(payload).not.toHaveBeenCalled();
    listen();
    publish('warning', null, payload);
    expect(payload).toHaveBeenCalledTimes(1);
  });
});

describe('errorMetrics', () => {
  const rowOf = (rows: ErrorMetrics['errors'], wanted: string, phase: string) =>
    rows.find((row) => row.code === wanted && row.phase === phase)?.count ?? 0;

  test('counts outcomes, errors, fallbacks and callback errors', async () => {
    quietWarnings();
    const before = errorMetrics();
    stub.behave = () => withNotices(success(report), fallback(2, 4), retry, degrade, breaker);
    const onProgress = () => Promise.reject(new Error('x'));
    await quantizeDiffusionModel({ ...paths, onProgress });
    stub.behave = () => failure('AQ_IO', 'QuantizationError');
    await quantizeMany([{ ...paths }, { ...paths }]);
    await caught(() => quantizeDiffusionModel(paths));
    stub.behave = () => failure('AQ_ABORTED', 'AbortError');
    await caught(() => quantizeDiffusionModel(paths));
    await caught(() => quantizeDiffusionModel({ ...paths, bitWidth: 3 as never }));
    await caught(() => new DiffusionQuantConfig({ bitWidth: 3 as never }));
    const after = errorMetrics();
    expect(after.jobs).toEqual({
      succeeded: before.jobs.succeeded + 1,
      failed: before.jobs.failed + 3,
      aborted: before.jobs.aborted + 1,
    });
    const grown = (code: string, phase: string) => rowOf(after.errors, code, phase) - rowOf(before.errors, code, phase);
    expect(grown('AQ_IO', 'quantize')).toBe(3);
    expect(grown('AQ_ABORTED', 'quantize')).toBe(1);
    expect(grown('AQ_INVALID_BIT_WIDTH', 'config')).toBe(1);
    expect(after.fallbacks.find(({ from, to }) => from === 2 && to === 4)?.count).toBeGreaterThan(0);
    expect(after.callbackErrors).toBe(before.callbackErrors + 1);
    expect(after.retries).toEqual([{ op: 'read', errno: 'EAGAIN', count: (before.retries[0]?.count ?? 0) + 1 }]);
    expect(after.degradations).toEqual([{ what: 'memory', count: (before.degradations[0]?.count ?? 0) + 1 }]);
    expect(after.breakers).toEqual([{ device: 'cuda:0', state: 'open' }]);
  });
  test('single tensors count once each, also where they are collected', async () => {
    stub.tensor = () => ({ outcome: JSON.stringify(failure('AQ_NON_FINITE_WEIGHTS', 'QuantizationError')) });
    const count = () => rowOf(errorMetrics().errors, 'AQ_NON_FINITE_WEIGHTS', 'quantize');
    const before = count();
    const weights = { a: new Float32Array(1), b: new Float32Array(1) };
    await quantize(weights, { continueOnError: true });
    expect(count()).toBe(before + 2);
    await caught(() => quantize(weights));
    expect(count()).toBe(before + 3);
  });
  test('times fall into buckets; a phase from elsewhere is no label', async () => {
    stub.behave = () => failure('AQ_SERDE', 'QuantizationError', { context: { phase: '/secret/path' } });
    await caught(() => quantizeDiffusionModel(paths));
    const { timeToFailureMs, errors } = errorMetrics();
    const row = timeToFailureMs.find(({ code }) => code === 'AQ_SERDE');
    expect(row).toMatchObject({ count: 1, sum: expect.any(Number) });
    expect(row?.buckets.at(-1)).toEqual({ le: '+Inf', count: 1 });
    const counts = row?.buckets.map(({ count }) => count) ?? [];
    expect([...counts].sort((a, b) => a - b)).toEqual(counts);
    expect(rowOf(errors, 'AQ_SERDE', 'unknown')).toBe(1);
    expect(JSON.stringify(errorMetrics())).not.toContain('/');
  });
});

describe('instrument', () => {
  type Observe = (value: number, labels?: object) => void;
  function meter() {
    const callbacks = new Map<string, (result: { observe: Observe }) => void>();
    const createObservableCounter = (name: string) => ({
      addCallback: (callback: (result: { observe: Observe }) => void) => {
        expect(callbacks.has(name)).toBe(false);
        callbacks.set(name, callback);
      },
    });
    const read = (name: string) => {
      const rows: [number, object | undefined][] = [];
      callbacks.get(name)?.({ observe: (value, labels) => void rows.push([value, labels]) });
      return rows;
    };
    return { callbacks, createObservableCounter, createObservableGauge: createObservableCounter, read };
  }

  test('registers each observable once and reads the counters when asked', async () => {
    const mine = meter();
    instrument(mine);
    instrument(mine);
    expect([...mine.callbacks.keys()]).toEqual([
      'arrow_quant.jobs',
      'arrow_quant.errors',
      'arrow_quant.retries',
      'arrow_quant.degradations',
      'arrow_quant.breaker',
      'arrow_quant.fallbacks',
      'arrow_quant.callback_errors',
      'arrow_quant.time_to_failure.bucket',
      'arrow_quant.time_to_failure.count',
      'arrow_quant.time_to_failure.sum',
    ]);
    stub.behave = () => failure('AQ_OUTPUT_BUSY', 'QuantizationError');
    await caught(() => quantizeDiffusionModel(paths));
    expect(mine.read('arrow_quant.jobs')).toContainEqual([errorMetrics().jobs.failed, { outcome: 'failed' }]);
    expect(mine.read('arrow_quant.errors')).toContainEqual([1, { code: 'AQ_OUTPUT_BUSY', phase: 'quantize' }]);
    expect(mine.read('arrow_quant.breaker')).toEqual([[2, { device: 'cuda:0' }]]);
    expect(mine.read('arrow_quant.callback_errors')).toEqual([[errorMetrics().callbackErrors, {}]]);
    expect(mine.read('arrow_quant.time_to_failure.bucket')).toContainEqual([1, { code: 'AQ_OUTPUT_BUSY', le: '+Inf' }]);
    expect(mine.read('arrow_quant.time_to_failure.count')).toContainEqual([1, { code: 'AQ_OUTPUT_BUSY' }]);
  });
  test.each([[undefined], [null], [5], [{}], [{ createObservableCounter: 1 }]])('%j is no meter', (value) => {
    expect(() => instrument(value as never)).toThrow(ConfigurationError);
  });
});
