/** The command line where the addon fails or hangs. */
import { expect, test } from 'vitest';
import { type CliOptions, runCli } from '../helpers/cli.js';
import { ditTensors, writeModel } from '../helpers/models.js';
import { expectAsBefore, expectNextRun, isNew, placeFor, undisturbed } from '../helpers/output-states.js';
import { tempDir } from '../helpers/temp.js';

async function bench(plan: string) {
  const modelPath = writeModel(tempDir(), ditTensors(4, 64));
  const place = await placeFor(modelPath, false);
  const args = ['quantize', modelPath, '-o', place.outputPath, '--min-accuracy', '0', '--num-threads', '1'];
  const run = (more: readonly string[], options: CliOptions = {}) =>
    runCli([...args, ...more], { ...options, env: { AQ_FAULT_PLAN: plan } });
  const job = { modelPath, minAccuracy: 0 } as const;
  return { place, run, job, wanted: await undisturbed(job) };
}

test('a panic exits with 70, and says where', async () => {
  const { place, run } = await bench('panic@layer:1');
  const { code, stdout } = await run(['--json']);
  expect(code).toBe(70);
  expect(JSON.parse(stdout)).toMatchObject({
    ok: false,
    error: { code: 'AQ_INTERNAL', details: { panic: true, location: expect.stringMatching(/\.rs:\d+$/) } },
  });
  expectAsBefore(place);
  const told = await run(['--quiet']);
  expect({ code: told.code, stdout: told.stdout }).toEqual({ code: 70, stdout: '' });
  expect(told.stderr).toMatch(/^error AQ_INTERNAL /m);
  expect(told.stderr).toContain('arrow-quant doctor --json');
  expectAsBefore(place);
});

test.each([
  ['ENOSPC@write:3', 'AQ_OUT_OF_DISK'],
  ['EIO@read:4', 'AQ_IO'],
])('%s exits with 24', async (plan, expected) => {
  const { place, run } = await bench(plan);
  const { code, stdout } = await run(['--json']);
  expect({ code, error: JSON.parse(stdout).error.code }).toEqual({ code: 24, error: expected });
  expectAsBefore(place);
});

test('while the storage hangs, a second SIGINT does not wait for the job; the next run tidies up', async () => {
  const { place, run, job, wanted } = await bench('sleep=20000@write:3');
  let second = 0;
  let sent = false;
  const { code, stdout } = await run(['--json', '--progress'], {
    onStderr: (text, send) => {
      if (sent || !text.includes('"phase":"quantize"')) return;
      sent = true;
      send('SIGINT');
      setTimeout(() => {
        second = performance.now();
        send('SIGINT');
      }, 100); // before the job is given up
    },
  });
  // It has two seconds to tidy up, which here it cannot.
  expect(performance.now() - second).toBeLessThan(3000);
  // Nothing was told: the job had not settled.
  expect({ code, stdout }).toEqual({ code: 130, stdout: '' });
  expect(isNew(place, wanted)).toBe(false);
  const { warnings } = await expectNextRun(place, wanted, job);
  expect(warnings.map((warning) => warning.code)).toContain('AQ_WARN_STALE_STAGING');
});

test('while the storage hangs, one SIGINT gives the job up and exits with 130', async () => {
  const { place, run, job, wanted } = await bench('sleep=20000@write:3');
  let sent = false;
  const { code, stdout } = await run(['--json', '--progress'], {
    onStderr: (text, send) => {
      if (sent || !text.includes('"phase":"quantize"')) return;
      sent = true;
      send('SIGINT');
    },
  });
  expect(code).toBe(130);
  expect(JSON.parse(stdout).error).toMatchObject({ code: 'AQ_ABORTED', details: { abandoned: true } });
  await expectNextRun(place, wanted, job);
});
