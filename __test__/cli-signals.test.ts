/** Signals to the command line while a job runs. */
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type CliRun, runCli } from './helpers/cli.js';
import { bigModel } from './helpers/models.js';
import { expectAsBefore, expectNextRun, placeFor, undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';

/** Runs the command and sends signals when it first tells of phase quantize. */
async function signalled(args: readonly string[], signals: readonly NodeJS.Signals[]) {
  let sentAt = 0;
  const run: CliRun = await runCli(args, {
    onStderr: (text, kill) => {
      if (sentAt > 0 || !text.includes('quantize')) return;
      sentAt = performance.now();
      for (const signal of signals) kill(signal);
    },
  });
  expect(sentAt).toBeGreaterThan(0);
  return { ...run, after: performance.now() - sentAt };
}

describe.each([false, true])('overwrite: %s', (overwrite) => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s, as a person sees it: exits with %i, and all is as before', async (signal, expected) => {
    const modelPath = bigModel(tempDir());
    const place = await placeFor(modelPath, overwrite);
    const more = overwrite ? ['--overwrite'] : [];
    const { code, stdout, stderr, after } = await signalled(
      ['quantize', modelPath, '-o', place.outputPath, '--min-accuracy', '0', '--num-threads', '1', ...more],
      [signal],
    );
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(stderr).toContain('error AQ_ABORTED');
    expect(stderr).not.toContain('    at ');
    expect(after).toBeLessThan(2000);
    expectAsBefore(place);
  });

  test('a second SIGINT exits at once with 130, and still nothing is left', async () => {
    const modelPath = bigModel(tempDir());
    const place = await placeFor(modelPath, overwrite);
    const more = overwrite ? ['--overwrite'] : [];
    // Two equal signals at once may become one. Of these SIGINT is the second and ends the process, or is the first.
    const { code, after } = await signalled(
      ['quantize', modelPath, '-o', place.outputPath, '--min-accuracy', '0', '--num-threads', '1', ...more],
      ['SIGTERM', 'SIGINT'],
    );
    expect(code).toBe(130);
    expect(after).toBeLessThan(2500);
    expectAsBefore(place);
  });
});

test('with --resume the staging is kept, and the same command goes on with it', async () => {
  const modelPath = bigModel(tempDir());
  const place = await placeFor(modelPath, false);
  const args = ['quantize', modelPath, '-o', place.outputPath, '--min-accuracy', '0', '--num-threads', '1', '--resume'];
  const first = await signalled([...args, '--json', '--progress'], ['SIGINT']);
  expect(first.code).toBe(130);
  expect(JSON.parse(first.stdout)).toMatchObject({ ok: false, error: { details: { staged: 'journal' } } });
  const second = await runCli([...args, '--json']);
  expect(second.code).toBe(0);
  const { warnings } = JSON.parse(second.stdout).report;
  expect(warnings.map(({ code }: { code: string }) => code)).toContain('AQ_WARN_RESUMED');
  const options = { modelPath, minAccuracy: 0 } as const;
  await expectNextRun(place, await undisturbed(options), options);
});

test('a signal to validate ends it with the same codes', async () => {
  const modelPath = bigModel(tempDir());
  const quantized = path.join(tempDir(), 'out');
  await runCli(['quantize', modelPath, '-o', quantized, '--min-accuracy', '0', '--quiet']);
  let sent = false;
  const { code } = await runCli(['validate', modelPath, quantized, '--json', '--progress'], {
    onStderr: (text, kill) => {
      if (sent || !text.includes('"phase":"validate"')) return;
      sent = true;
      kill('SIGINT');
    },
  });
  expect({ sent, code }).toEqual({ sent: true, code: 130 });
});
