/**
 * The addon with an NVIDIA driver that has no device: what `device` does, and that the bytes are the CPU's. The driver is found as a real one
 * is, so each job has a process of its own.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type QuantizationResult,
  type QuantizeDiffusionModelOptions,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { runProgram } from './helpers/child.js';
import { compileDriver } from './helpers/driver.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { hashes } from './helpers/tree.js';

type Options = Partial<QuantizeDiffusionModelOptions>;
type Told = { readonly code: string; readonly message: string; readonly details: Record<string, unknown> };
interface Outcome {
  readonly outputPath: string;
  readonly stderr: string;
  readonly result?: QuantizationResult;
  readonly error?: Told;
}

const JOB = `const told = await aq.quantizeDiffusionModel(data).then((result) => ({ result }), (e) => ({ error: e.toJSON() }));
  console.log(JSON.stringify(told));`;

const shared = mkdtempSync(path.join(tmpdir(), 'arrow-quant-driver-'));
const driver = (settings: Record<string, string> = {}) => ({ LD_LIBRARY_PATH: shared, ...settings });
afterAll(() => rmSync(shared, { recursive: true, force: true }));

const modelPath = writeModel(shared, ditTensors(2, 256));

/** A job in a process that finds a driver. */
async function there(options: Options, settings: Record<string, string> = {}): Promise<Outcome> {
  const outputPath = path.join(tempDir(), 'out');
  const job = { modelPath, outputPath, minAccuracy: 0, numThreads: 2, ...options };
  const { stdout, stderr } = await runProgram(JOB, job, { env: driver(settings) });
  return { outputPath, stderr, ...(JSON.parse(stdout) as Omit<Outcome, 'outputPath' | 'stderr'>) };
}

/** What the CPU makes of the same job: all files but those that tell how it was done. */
async function onCpu(options: Options): Promise<ReturnType<typeof written>> {
  const outputPath = path.join(tempDir(), 'out');
  await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0, device: 'cpu', ...options });
  return written(outputPath);
}

const written = (outputPath: string) =>
  Object.fromEntries(Object.entries(hashes(outputPath)).filter(([file]) => file.endsWith('.safetensors')));

// Only this loader can be told where a driver is.
describe.skipIf(process.platform !== 'linux')('a driver is there', () => {
  beforeAll(() => compileDriver(shared));

  test.each([
    ['mse, 4 bits', { bitWidth: 4, method: 'mse' }],
    ['mse, 2 bits, symmetric', { bitWidth: 2, method: 'mse', symmetric: true }],
    ['rtn, 8 bits', { bitWidth: 8, method: 'rtn' }],
    ['rotated, 4 bits', { bitWidth: 4, method: 'mse', enableSpatial: true }],
  ] as const)('%s: the bytes are those of the CPU', async (_, options) => {
    const wanted = await onCpu(options as Options);
    const { outputPath, result, error } = await there({ ...(options as Options), device: 'cuda' });
    expect(error).toBeUndefined();
    expect(result?.backend).toMatchObject({
      device: 'cuda:0',
      reason: 'a driver without a device, number 0: it was asked for',
    });
    expect(result?.degradations).toEqual([]);
    expect(Object.keys(wanted)).not.toHaveLength(0);
    expect(written(outputPath)).toEqual(wanted);
  });

  test('auto leaves a small job to the CPU, and says so', async () => {
    const { result } = await there({ bitWidth: 4 });
    expect(result?.backend).toMatchObject({ device: 'cpu' });
    expect(result?.backend.reason).toMatch(/^the CPU encodes this in about 0\.\d s, which is less than a device takes/);
  });

  test('cpu never touches it', async () => {
    const tell = { AQ_FAKE_TELL: '1' };
    expect((await there({ device: 'cpu' }, tell)).stderr).toBe('');
    expect((await there({ device: 'auto' }, tell)).stderr).toContain('the driver was loaded');
  });

  test.each([
    ['no device', { AQ_FAKE_DEVICES: '0' }, 'this machine has 0 device(s), numbered from 0'],
    ['an old card', { AQ_FAKE_CAPABILITY: '61' }, /has compute capability 6\.1, 7\.0 is needed$/],
    [
      'an old driver',
      { AQ_FAKE_FAIL: 'load:1:222' },
      'the NVIDIA driver is older than R525 and cannot load the kernels',
    ],
  ])('%s is an error where a device was asked for', async (_, settings, reason) => {
    const { error } = await there({ device: 'cuda' }, settings);
    expect(error).toMatchObject({ code: 'AQ_DEVICE_UNAVAILABLE', details: { device: 'cuda:0' } });
    expect(error?.details.reason).toEqual(typeof reason === 'string' ? reason : expect.stringMatching(reason));
  });

  test('its memory ends: fewer rows, then the CPU, and the same bytes', async () => {
    const wanted = await onCpu({ bitWidth: 4 });
    const { outputPath, result } = await there({ bitWidth: 4, device: 'cuda' }, { AQ_FAKE_FAIL: 'alloc:1+:2' });
    expect(result?.degradations.at(-1)).toMatchObject({
      what: 'device',
      to: 'cpu',
      reason: 'CUDA_ERROR_OUT_OF_MEMORY',
    });
    expect(written(outputPath)).toEqual(wanted);
  });

  test('it is lost on the way: the CPU goes on', async () => {
    const wanted = await onCpu({ bitWidth: 4 });
    const { outputPath, result } = await there({ bitWidth: 4, device: 'cuda' }, { AQ_FAKE_FAIL: 'launch:3+:700' });
    expect(result?.degradations).toMatchObject([
      { what: 'device', from: 'cuda:0', to: 'cpu', reason: 'CUDA_ERROR_ILLEGAL_ADDRESS' },
    ]);
    expect(written(outputPath)).toEqual(wanted);
  });

  test('without fallback it is an error', async () => {
    const { error, outputPath } = await there(
      { device: 'cuda', deviceFallback: false, numThreads: 1 },
      { AQ_FAKE_FAIL: 'launch:3+:700' },
    );
    expect(error).toMatchObject({
      code: 'AQ_DEVICE_FAILED',
      details: { device: 'cuda:0', op: 'launch', status: 'CUDA_ERROR_ILLEGAL_ADDRESS', sticky: true },
    });
    expect(existsSync(outputPath)).toBe(false);
  });

  test('diagnose lists it', async () => {
    const { stdout } = await runProgram('console.log(JSON.stringify((await aq.diagnose()).devices));', null, {
      env: driver({ AQ_FAKE_DEVICES: '2' }),
    });
    const one = { state: 'available', reason: null, breaker: 'closed' };
    expect(JSON.parse(stdout)).toEqual([
      { id: 'cuda:0', ...one },
      { id: 'cuda:1', ...one },
    ]);
  });
});
