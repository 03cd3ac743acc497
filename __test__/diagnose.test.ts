/** The state of installation and machine, with the addon, without it, and whatever is asked. */
import { readFileSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { checksOf, isSupportedNode } from '../src-ts/diagnose/checks.js';
import { probeMemory } from '../src-ts/diagnose/probes.js';
import { diagnose, inspect, type Status, version } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT, runCli } from './helpers/cli.js';
import { tempDir } from './helpers/temp.js';

const NAMES = ['node', 'native', 'cpu', 'memory', 'disk', 'devices'];

function brokenAddon(): Record<string, string> {
  const file = path.join(tempDir(), 'broken.node');
  writeFileSync(file, 'no shared library');
  return { NAPI_RS_NATIVE_LIBRARY_PATH: file };
}

test('a whole installation', async () => {
  const folder = tempDir();
  const status = await diagnose({ path: path.join(folder, 'not', 'yet') });
  expect(status).toEqual({
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    native: { loaded: true, version, error: null },
    cpu: { cores: expect.any(Number), simd: expect.any(String) },
    memory: { total: totalmem(), available: expect.any(Number), limit: status.memory.limit },
    disk: { path: path.join(folder, 'not', 'yet'), free: expect.any(Number) },
    // Of this machine, whatever it has; __test__/cuda.test.ts has a driver of its own.
    devices: status.devices,
    jobs: { running: 0, abandoned: 0 },
    lastErrors: [],
    checks: expect.any(Array),
  });
  expect(status.checks.map(({ name }) => name)).toEqual(NAMES);
  expect(status.checks.find(({ name }) => name === 'native')).toMatchObject({ status: 'ok', hint: null });
  expect(status.devices[0]).toEqual({
    id: 'cuda:0',
    state: expect.stringMatching(/^(un)?available$/),
    reason: status.devices[0]?.state === 'available' ? null : expect.any(String),
    breaker: 'closed',
  });
  expect(status.checks.at(-1)?.message).toContain('cuda:0');
  expect(JSON.parse(JSON.stringify(status))).toEqual(status);
});

test('the latest 16 errors, newest last, without messages', async () => {
  for (let i = 0; i < 20; i += 1) await caught(() => inspect('/nowhere'));
  await caught(() => inspect(5 as never));
  const { lastErrors } = await diagnose();
  expect(lastErrors).toHaveLength(16);
  expect(lastErrors[0]).toEqual({ code: 'AQ_MODEL_NOT_FOUND', phase: 'open', timestamp: expect.any(String) });
  expect(lastErrors.at(-1)).toMatchObject({ code: 'AQ_INVALID_CONFIG', phase: 'config' });
});

describe('never rejects', () => {
  const hostile = {
    get path() {
      throw new Error('mine');
    },
  };
  test.each([
    ['null', null],
    ['a number', 5],
    ['an unknown member', { folder: '/' }],
    ['a path of a wrong type', { path: 5 }],
    ['an empty path', { path: '' }],
    ['a NUL', { path: 'a\0b' }],
    ['a getter that throws', hostile],
  ])('%s', async (_, options) => {
    const { checks, version: found } = await diagnose(options as never);
    expect(found).toBe(version);
    expect(checks[0]).toMatchObject({ name: 'options', status: 'warn' });
  });
});

describe('checks', () => {
  const facts: Pick<Status, 'node' | 'platform' | 'native' | 'cpu' | 'devices' | 'memory' | 'disk'> = {
    node: 'v22.12.0',
    platform: 'linux-x64',
    native: { loaded: true, version: '1.0.0', error: null },
    cpu: { cores: 8, simd: 'avx2' },
    devices: [{ id: 'cuda:0', state: 'unavailable', reason: 'none', breaker: 'closed' }],
    memory: { total: 16e9, available: 8e9, limit: null },
    disk: { path: '/', free: 1e12 },
  };
  const notOk = (more: Partial<typeof facts>) =>
    checksOf({ ...facts, ...more })
      .filter(({ status }) => status !== 'ok')
      .map(({ name, status, hint }) => [name, status, hint !== null]);

  test('everything well', () => {
    expect(checksOf(facts).map(({ name }) => name)).toEqual(NAMES);
    expect(notOk({})).toEqual([]);
  });
  test.each<[string, string, Partial<typeof facts>]>([
    ['node', 'warn', { node: 'v21.7.0' }],
    ['native', 'fail', { native: { loaded: false, version: null, error: 'x' } }],
    ['memory', 'warn', { memory: { total: 16e9, available: 1e8, limit: 2e8 } }],
    ['disk', 'warn', { disk: { path: '/', free: 5e8 } }],
    ['disk', 'warn', { disk: null }],
  ])('%s: %s', (name, status, more) => {
    expect(notOk(more)).toEqual([[name, status, true]]);
  });
  test('the versions of Node are those of package.json', () => {
    expect(JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')).engines.node).toBe('^20.19 || >=22.12');
    const admitted = ['v20.19.0', 'v20.20.2', 'v22.12.0', 'v23.0.0', 'v24.1.0'];
    expect(admitted.every(isSupportedNode)).toBe(true);
    expect(['v18.20.0', 'v20.18.1', 'v21.9.0', 'v22.11.0'].some(isSupportedNode)).toBe(false);
  });
  test.each([undefined, 0, 2 ** 63])('a limit of %s is none', (constrained) => {
    expect(probeMemory(constrained).limit).toBe(probeMemory(0).limit);
  });
  test('the limit of a container bounds what is available', () => {
    expect(probeMemory(1_000)).toMatchObject({ limit: 1_000, available: 1_000 });
  });
});

describe('arrow-quant doctor', () => {
  test('text', async () => {
    const { code, stdout, stderr } = await runCli(['doctor', '--path', tempDir()]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`version  ${version}`);
    for (const name of NAMES) expect(stdout).toMatch(new RegExp(`^(ok|warn) +${name} `, 'm'));
  });
  test('--json is what diagnose gives', async () => {
    const { code, stdout } = await runCli(['doctor', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      report: { version, native: { loaded: true }, disk: { path: process.cwd() } },
    });
  });
  test('works without the addon, says why, and exits with 1', async () => {
    const env = brokenAddon();
    const text = await runCli(['doctor'], { env });
    expect([text.code, text.stderr]).toEqual([1, '']);
    expect(text.stdout).toMatch(/^fail {2}native {2}Cannot load the native addon for /m);
    const { code, stdout } = await runCli(['doctor', '--json'], { env });
    expect(code).toBe(1);
    const { report } = JSON.parse(stdout);
    expect(report).toMatchObject({ native: { loaded: false, version: null }, cpu: { simd: null }, lastErrors: [] });
    expect(report.native.error).not.toContain('Suggestions');
  });
});
