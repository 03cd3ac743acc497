/** Limits of time and space: typed errors, and nothing left behind. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { QuantizationError, quantizeDiffusionModel } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

test('timeoutMs ends the job', async () => {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(8, 1024));
  const before = listing(folder);
  const error = await caught(() =>
    quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), timeoutMs: 1 }),
  );
  expect(error).toBeInstanceOf(QuantizationError);
  expect(error).toMatchObject({ code: 'AQ_TIMEOUT', retryable: true, hint: 'Raise timeoutMs.' });
  expect(error.details).toMatchObject({ clock: 'total', limitMs: 1, abandoned: false });
  expect(error.message).toMatch(/^Timed out in phase \w+ after [\d.]+ m?s: timeoutMs is 1\. Hint: /);
  expect(listing(folder)).toEqual(before);
});

/** A private mount namespace needs Linux, and root or unprivileged user namespaces. */
const mounts = spawnSync('unshare', ['-rm', 'true']).status === 0;

test.skipIf(!mounts)('a disk that is too small is told before anything is written', () => {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(4, 1024));
  const disk = path.join(folder, 'disk');
  mkdirSync(disk);
  const cli = [
    process.execPath,
    path.join(ROOT, 'dist/cli.js'),
    'quantize',
    modelPath,
    '-o',
    path.join(disk, 'out'),
    '--json',
  ];
  const script = `mount -t tmpfs -o size=1m none "$0" && { "$@"; ls -A "$0" >&2; }`;
  const { stdout, stderr } = spawnSync('unshare', ['-rm', 'sh', '-c', script, disk, ...cli], { encoding: 'utf8' });
  const { ok, error } = JSON.parse(stdout);
  expect({ ok, code: error.code, name: error.name }).toEqual({
    ok: false,
    code: 'AQ_OUT_OF_DISK',
    name: 'QuantizationError',
  });
  expect(error.details).toMatchObject({ available: 2 ** 20, errno: null });
  expect(error.details.required).toBeGreaterThan(2 ** 20);
  expect(error.message).toMatch(/^Not enough space for .*: [\d.]+ MiB needed, 1\.0 MiB available\./);
  expect(stderr).toBe('');
  expect(execFileSync('ls', ['-A', disk], { encoding: 'utf8' })).toBe('');
});
