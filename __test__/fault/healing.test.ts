/** What heals, how far, and what it says of itself; and what does not heal. */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { AbortError, errorMetrics, QuantizationError, quantizeDiffusionModel } from '../../src-ts/index.js';
import { faultCounts, setFaults } from '../helpers/fault.js';
import { faultBench } from '../helpers/fault-bench.js';

describe('transient storage', () => {
  test('three failures in a row heal, with delays in their bands', async () => {
    const bench = await faultBench({ numThreads: 1 });
    const before = errorMetrics().retries.reduce((sum, { count }) => sum + count, 0);
    const { value } = await bench.run('EAGAIN@read:1..3');
    expect(value?.retries.map(({ op, errno, attempt }) => [op, errno, attempt])).toEqual([
      ['read', 'EAGAIN', 1],
      ['read', 'EAGAIN', 2],
      ['read', 'EAGAIN', 3],
    ]);
    for (const [index, { delayMs }] of (value?.retries ?? []).entries()) {
      const base = 50 * 2 ** index;
      expect(delayMs).toBeGreaterThanOrEqual(0.85 * base);
      expect(delayMs).toBeLessThanOrEqual(1.15 * base);
    }
    expect(value?.warnings).toContainEqual(expect.objectContaining({ code: 'AQ_WARN_RETRIED', details: { count: 3 } }));
    expect(errorMetrics().retries.reduce((sum, { count }) => sum + count, 0)).toBe(before + 3);
    bench.expectOutput();
  });
  test('a failure that never ends is told after five attempts, as worth repeating', async () => {
    const bench = await faultBench();
    const { error } = await bench.run('ESTALE@read:1+');
    expect(error).toMatchObject({ code: 'AQ_IO', kind: 'transient', retryable: true, retryAfterMs: 5000 });
    expect(error?.details).toMatchObject({ op: 'read', errno: 'ESTALE', attempts: 5 });
    expect(error?.context).toMatchObject({ attempt: 5, file: expect.stringContaining('safetensors') });
    expect(error?.hint).toBe('The storage did not answer; try again later.');
    expect((error?.report as { retries: unknown[] } | undefined)?.retries).toHaveLength(4);
    bench.expectClean();
  });
  test.each([0, 2])('ioRetries: %d', async (ioRetries) => {
    const bench = await faultBench();
    const { error } = await bench.run('EAGAIN@read:1+', { ioRetries });
    expect(error?.details).toMatchObject({ attempts: 1 + ioRetries });
    bench.expectClean();
  });
  test('an abort ends the wait at once', async () => {
    const bench = await faultBench({ ioRetries: 10 });
    const controller = new AbortController();
    const running = bench.run('EAGAIN@read:1+', { signal: controller.signal });
    await sleep(300); // in the fourth wait, of 400 ms, or close to it
    const aborted = performance.now();
    controller.abort('enough');
    const { error } = await running;
    expect(performance.now() - aborted).toBeLessThan(100);
    expect(error).toBeInstanceOf(AbortError);
    expect(error?.cause).toBe('enough');
    bench.expectClean();
  });
  test('renames at the end are tried eight times, and then the old output stays', async () => {
    const fresh = await faultBench();
    const { value } = await fresh.run('EBUSY@rename:1..2');
    expect(value?.retries).toHaveLength(2);
    fresh.expectOutput();
    const bench = await faultBench();
    const { error } = await bench.run('EBUSY@rename:1+');
    expect(error?.details).toMatchObject({ op: 'rename', errno: 'EBUSY', attempts: 8 });
    bench.expectClean();
  }, 60_000);
  test('short writes and reads are continued', async () => {
    const bench = await faultBench();
    const { value } = await bench.run('short@write:1+,short@read:1+');
    expect(value?.retries).toEqual([]);
    bench.expectOutput();
  });
  test.each(['EDQUOT@write:2', 'ENOSPC@write:3', 'EFBIG@write:1'])('%s', async (plan) => {
    const bench = await faultBench();
    const { error } = await bench.run(plan);
    const [errno] = plan.split('@');
    expect(error).toMatchObject({ code: 'AQ_OUT_OF_DISK', retryable: false, details: { errno, available: null } });
    expect(error?.message).toMatch(new RegExp(`^The disk of .* filled up while writing \\(${errno}\\)\\.`));
    bench.expectClean();
  });
  test('what cannot be removed is left, named, and swept by the next job', async () => {
    const bench = await faultBench();
    const { error } = await bench.run('EIO@write:3,EACCES@unlink:1..3');
    expect(error?.code).toBe('AQ_IO');
    const report = error?.report as { warnings: { code: string; details: { path: string } }[] } | undefined;
    const left = report?.warnings.find(({ code }) => code === 'AQ_WARN_LEFTOVER');
    expect(left?.details.path).toContain('.out.aq-partial');
    const { value } = await bench.run('');
    expect(value?.warnings.map(({ code }) => code)).toContain('AQ_WARN_STALE_STAGING');
    bench.expectOutput();
  });
});

describe('memory', () => {
  test('refusals make the job go on with less, and change no byte', async () => {
    const bench = await faultBench();
    const { value } = await bench.run('alloc@chunk:1..3');
    expect(value?.degradations.map(({ what, from, to }) => [what, from, to])).toEqual([
      ['memory', '2 block(s) of 4.0 MiB', '1 block(s) of 4.0 MiB'],
      ['memory', '1 block(s) of 4.0 MiB', '1 block(s) of 2.0 MiB'],
      ['memory', '1 block(s) of 2.0 MiB', '1 block(s) of 1.0 MiB'],
    ]);
    expect(value?.warnings).toContainEqual(
      expect.objectContaining({ code: 'AQ_WARN_DEGRADED_MEMORY', details: { count: 3 } }),
    );
    bench.expectOutput();
  });
  test('refused at one row: an error', async () => {
    const bench = await faultBench();
    const { error } = await bench.run('alloc@chunk:1+');
    expect(error).toMatchObject({ code: 'AQ_OUT_OF_MEMORY', kind: 'transient', retryable: true });
    expect(error?.details).toMatchObject({ pool: 'host', cause: 'refused' });
    expect(error?.suggestions).toEqual(['close other programs', 'lower maxMemoryLimitMb']);
    expect((error?.report as { degradations: unknown[] } | undefined)?.degradations).toHaveLength(4);
    bench.expectClean();
  });
});

describe('clocks', () => {
  test('a stall is noticed while every worker hangs; the job is given up and tidies up later', async () => {
    const bench = await faultBench();
    const { error } = await bench.run('sleep=600@read:3+', { stallTimeoutMs: 1000, numThreads: 1 });
    expect(error).toMatchObject({
      code: 'AQ_TIMEOUT',
      retryable: true,
      hint: 'Check the storage, or raise stallTimeoutMs.',
    });
    // The fault build counts a tenth.
    expect(error?.details).toMatchObject({ clock: 'stall', limitMs: 100, abandoned: true });
    expect(error?.message).toContain('No progress in phase');
    await vi.waitFor(() => bench.expectClean(), { timeout: 5000, interval: 50 });
  });
  test('timeoutMs', async () => {
    const bench = await faultBench();
    const { error } = await bench.run('sleep=30@write:1+', { timeoutMs: 60 });
    expect(error).toMatchObject({ code: 'AQ_TIMEOUT', details: { clock: 'total', limitMs: 60, abandoned: false } });
    bench.expectClean();
  });
  test('an aborted job whose worker hangs is given up', async () => {
    const bench = await faultBench();
    const controller = new AbortController();
    const running = bench.run('sleep=800@write:2', { signal: controller.signal, numThreads: 1 });
    await sleep(150);
    controller.abort(new Error('mine'));
    const { error } = await running;
    expect(error).toBeInstanceOf(AbortError);
    expect(error?.details).toMatchObject({ abandoned: true });
    await vi.waitFor(() => bench.expectClean(), { timeout: 5000, interval: 50 });
  });
});

describe('panics', () => {
  test.each([
    ['panic@layer:1', 'quantize'],
    ['panic@layer:2', 'quantize'],
    ['panic@chunk:1', 'quantize'],
    ['panic@commit:1', 'commit'],
    ['panic@callback:1', 'config'],
    ['panic@read:1', 'open'],
    ['panic@rename:1', 'commit'],
  ])('%s', async (plan, phase) => {
    const bench = await faultBench();
    const { error } = await bench.run(plan, { onProgress: () => undefined });
    expect(error).toBeInstanceOf(QuantizationError);
    expect(error).toMatchObject({ code: 'AQ_INTERNAL', kind: 'system', severity: 'critical', retryable: false });
    expect(error?.details).toMatchObject({ panic: true, location: expect.stringMatching(/^crates\/.+\.rs:\d+$/) });
    expect(error?.message).toContain('report it with the output of `arrow-quant doctor --json`');
    expect(error?.context.phase).toBe(phase);
    bench.expectClean();
    // The process lives on, and the next job works.
    expect((await bench.run('')).error).toBeUndefined();
    bench.expectOutput();
  });
});

test('an internal error wins over others, and those are in the report', async () => {
  const bench = await faultBench({ numThreads: 1 });
  const { error } = await bench.run('panic@layer:2');
  expect(error?.code).toBe('AQ_INTERNAL');
  // Work that had begun beside it was finished.
  expect((error?.report as { layers: unknown[] } | undefined)?.layers.length).toBeGreaterThan(0);
});

test('a failed job carries what it had done, and the failures that were not told', async () => {
  const bench = await faultBench({ numThreads: 1 });
  setFaults('');
  await quantizeDiffusionModel({
    modelPath: bench.modelPath,
    outputPath: bench.outputPath,
    numThreads: 1,
    minAccuracy: 0,
  });
  const writes = faultCounts().write ?? 0;
  rmSync(bench.outputPath, { recursive: true });
  const { error } = await bench.run(`EIO@write:${Math.floor(writes * 0.6)}+`);
  const report = error?.report as { layers: { name: string }[]; failures: unknown[]; resolvedConfig: object };
  expect(report.layers.length).toBeGreaterThan(0);
  expect(report.resolvedConfig).toMatchObject({ bitWidth: 4, numThreads: 1 });
  bench.expectClean();
  await expect(
    quantizeDiffusionModel({ modelPath: bench.modelPath, outputPath: bench.outputPath }),
  ).resolves.toBeDefined();
});
