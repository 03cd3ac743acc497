/** A device that fails: fewer rows, one repeat, then the CPU, a breaker that remembers, and the same bytes whatever happened. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { diagnose, errorMetrics, QuantizationError } from '../../src-ts/index.js';
import { faultBench } from '../helpers/fault-bench.js';
import { ditTensors } from '../helpers/models.js';

function listen(name: 'degrade' | 'breaker'): Record<string, unknown>[] {
  const events: Record<string, unknown>[] = [];
  const listener = (event: unknown) => void events.push(event as Record<string, unknown>);
  subscribe(`arrow-quant:${name}`, listener);
  onTestFinished(() => void unsubscribe(`arrow-quant:${name}`, listener));
  return events;
}

const device = { device: 'cuda', numThreads: 1 } as const;
const breaker = async () => (await diagnose()).devices[0]?.breaker;

/** The breaker is one for the process: after a test that opened it a job that works closes it. */
afterEach(async () => {
  if ((await breaker()) === 'latched') return;
  await sleep(70);
  await (await faultBench()).run('', device);
  expect(await breaker()).toBe('closed');
});

test('auto takes the device that is there, and says why; the bytes are those of the CPU', async () => {
  const bench = await faultBench();
  const { value } = await bench.run('', { device: 'auto' });
  expect(value?.backend).toMatchObject({ device: 'cuda:0', reason: 'a simulated device: a device is there' });
  expect(value?.degradations).toEqual([]);
  bench.expectOutput();
  expect((await bench.run('', { device: 'cpu', overwrite: true })).value?.backend).toMatchObject({ device: 'cpu' });
});

test('out of memory: half the rows, and again', async () => {
  const degraded = listen('degrade');
  const bench = await faultBench();
  const { value } = await bench.run('cuda=OOM@launch:1..2', device);
  const steps = [
    ['device', '1/1 block', '1/2 block'],
    ['device', '1/2 block', '1/4 block'],
  ];
  expect(value?.degradations.map(({ what, from, to }) => [what, from, to])).toEqual(steps);
  expect(degraded.map(({ what, from, to }) => [what, from, to])).toEqual(steps);
  expect(value?.degradations[0]?.reason).toBe('CUDA_ERROR_OUT_OF_MEMORY');
  expect(value?.warnings.map(({ code }) => code)).toContain('AQ_WARN_DEGRADED_DEVICE');
  bench.expectOutput();
});

test('a launch that fails once is repeated, unseen', async () => {
  const bench = await faultBench();
  const { value } = await bench.run('cuda=LAUNCH@launch:1', device);
  expect(value?.degradations).toEqual([]);
  bench.expectOutput();
});

test('a launch that fails twice: that block on the CPU, told once', async () => {
  const bench = await faultBench();
  const { value } = await bench.run('cuda=LAUNCH@launch:1..2,cuda=LAUNCH@launch:4..5', device);
  expect(value?.degradations).toEqual([
    { what: 'device', from: 'cuda:0', to: 'cpu', reason: 'CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES' },
  ]);
  bench.expectOutput();
});

test('five failures in a row open the breaker, a trial closes it', async () => {
  const changes = listen('breaker');
  const bench = await faultBench({}, ditTensors(8, 64));
  const { value } = await bench.run('cuda=LAUNCH@launch:1..10', device);
  expect(value).toBeDefined();
  bench.expectOutput();
  expect(changes.map(({ device, from, to }) => [device, from, to])).toEqual([['cuda:0', 'closed', 'open']]);
  expect(changes[0]?.openMs).toBe(60); // milliseconds for seconds in the fault build
  expect(errorMetrics().breakers).toEqual([{ device: 'cuda:0', state: 'open' }]);
  await sleep(70);
  await bench.run('', { ...device, overwrite: true });
  expect(changes.slice(1).map(({ from, to }) => [from, to])).toEqual([
    ['open', 'half-open'],
    ['half-open', 'closed'],
  ]);
});

test('without fallback: typed errors that say when to try again', async () => {
  const bench = await faultBench();
  const strict = { ...device, deviceFallback: false };
  const launch = await bench.run('cuda=LAUNCH@launch:1+', strict);
  expect(launch.error).toBeInstanceOf(QuantizationError);
  expect(launch.error).toMatchObject({
    code: 'AQ_DEVICE_FAILED',
    kind: 'transient',
    retryable: true,
    hint: 'Set deviceFallback: true to finish on the CPU.',
    details: { device: 'cuda:0', op: 'launch', status: 'CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES', sticky: false },
    context: { device: 'cuda:0' },
  });
  bench.expectClean();
  const memory = await bench.run('cuda=OOM@launch:1+', strict);
  expect(memory.error).toMatchObject({ code: 'AQ_OUT_OF_MEMORY', details: { pool: 'device', cause: 'refused' } });
  for (let i = 0; i < 3; i += 1) await bench.run('cuda=LAUNCH@launch:1+', strict);
  const open = await bench.run('', strict);
  expect(open.error?.message).toContain('its circuit breaker is open');
  expect(open.error?.retryAfterMs).toBeGreaterThan(0);
  expect(open.error?.retryAfterMs).toBeLessThanOrEqual(60);
  bench.expectClean();
});

test('a device that is not there', async () => {
  const bench = await faultBench();
  const { error } = await bench.run('', { device: 'cuda:7' });
  expect(error).toMatchObject({ code: 'AQ_DEVICE_UNAVAILABLE', details: { device: 'cuda:7' } });
  expect(error?.message).toContain('this machine has 1 device(s)');
  bench.expectClean();
});

// Last: it lasts until the process ends.
test('a dead context latches the breaker; jobs go on without the device', async () => {
  const bench = await faultBench();
  const strict = await bench.run('cuda=STICKY@launch:1', { ...device, deviceFallback: false });
  expect(strict.error).toMatchObject({
    code: 'AQ_DEVICE_FAILED',
    kind: 'system',
    retryable: false,
    hint: 'Restart the process before using this device again.',
    details: { sticky: true, status: 'CUDA_ERROR_ILLEGAL_ADDRESS' },
  });
  expect(await breaker()).toBe('latched');
  const { value } = await bench.run('', device);
  expect(value?.degradations).toEqual([
    { what: 'device', from: 'cuda:0', to: 'cpu', reason: 'its circuit breaker is open' },
  ]);
  bench.expectOutput();
  const never = await bench.run('', { ...device, overwrite: true, deviceFallback: false });
  expect(never.error?.retryAfterMs).toBeUndefined();
  expect(never.error).toMatchObject({
    hint: 'Restart the process before using this device again.',
    details: { sticky: true },
  });
});
