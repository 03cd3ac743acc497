/** The command line with real jobs, in processes of its own. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { runCli } from './helpers/cli.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

test('quantize, inspect and validate, for people', async () => {
  const folder = tempDir();
  const model = writeModel(folder);
  const out = path.join(folder, 'out');
  const quantized = await runCli(['quantize', model, '-o', out, '--bit-width', '4', '--min-accuracy', '0']);
  expect(quantized.code).toBe(0);
  expect(quantized.stdout).toContain(out);
  expect(quantized.stdout).toMatch(/times smaller/);
  expect(quantized.stderr).toMatch(/quantize +\d+ %/);
  const inspected = await runCli(['inspect', model, '--layers']);
  expect(inspected).toMatchObject({ code: 0, stderr: '' });
  expect(inspected.stdout).toContain('transformer_blocks.0.attn1.to_q');
  const validated = await runCli(['validate', model, out, '--min-accuracy', '0.5', '--quiet']);
  expect(validated).toMatchObject({ code: 0, stderr: '' });
  expect(validated.stdout).toContain('passed');
});

test('quantize ends with a summary: widths, the worst, why, and what to do next', async () => {
  const folder = tempDir();
  const model = writeModel(folder);
  const out = path.join(folder, 'out');
  const command = ['quantize', model, '-o', out, '--bit-width', '2', '--min-accuracy', '0.97', '--quiet'];
  const { code, stdout } = await runCli(command);
  expect(code).toBe(0);
  const { report } = JSON.parse((await runCli([...command, '--overwrite', '--json'])).stdout);
  const [, text = ''] = /\n(bits +layers .*?)\n\n/s.exec(stdout) ?? [];
  const table = text.split('\n').slice(1);
  const rows = table.map((line) => line.trim().split(/ {2,}/));
  const widths = [...new Set<number>(report.layers.map(({ scheme }: { scheme: { bits: number } }) => scheme.bits))];
  expect(rows.map(([bits]) => bits).filter((bits) => bits !== 'float')).toEqual(widths.sort().map(String));
  for (const [bits, layers] of rows.filter(([first]) => first !== 'float')) {
    const ofWidth = report.layers.filter(({ scheme }: { scheme: { bits: number } }) => `${scheme.bits}` === bits);
    expect(layers).toBe(`${ofWidth.length}`);
  }
  const shares = rows.map(([, , , share]) => Number(share?.replace(' %', '')));
  expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(100, 0);
  const worst = Math.min(...report.layers.map(({ similarity }: { similarity: number }) => similarity));
  expect(stdout).toMatch(new RegExp(`similarity .*worst layers\\n +${worst.toFixed(6)} `));
  const raised = report.layers.filter(({ outcome }: { outcome: string }) => outcome === 'raised').length;
  expect(raised).toBeGreaterThan(0);
  expect(stdout).toMatch(/ {2}raised, \d to \d bits +below 0\.97 at the smaller width/);
  expect(stdout).toContain(`\ncheck   arrow-quant validate ${model} ${out}\n`);
  expect(stdout).toMatch(/\nopen +\S+ with diffusers/);
});

test('calibrate, for people and for programs', async () => {
  const model = path.resolve('examples/digits-dit');
  const file = path.join(model, 'calibration.safetensors');
  const told = await runCli(['calibrate', file, '--model', model]);
  expect(told.code).toBe(0);
  expect(told.stdout).toMatch(/coverage +36 of 54 layers, 18 more computed/);
  expect(told.stdout).toMatch(/ff\.net\.2 +768 +10 +80 +8 +\d+ of 80 +few rows/);
  expect(told.stderr).toMatch(/^warning AQ_WARN_FEW_ROWS/);
  const { stdout, stderr } = await runCli(['calibrate', file, '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, report: { axis: 'timestep', rows: 3720 } });
  expect(stderr).toBe('');
});

test('below the threshold validate exits with 23, its report still on stdout', async () => {
  const folder = tempDir();
  const model = writeModel(folder);
  const out = path.join(folder, 'out');
  await runCli(['quantize', model, '-o', out, '--bit-width', '2', '--min-accuracy', '0', '--quiet']);
  const { code, stdout } = await runCli(['validate', model, out, '--min-accuracy', '1', '--json']);
  expect(code).toBe(23);
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, report: { passed: false } });
});

test('--json: one line; progress only when asked for, as JSON lines', async () => {
  const folder = tempDir();
  const model = writeModel(folder);
  const silent = await runCli(['quantize', model, '-o', path.join(folder, 'a'), '--min-accuracy', '0', '--json']);
  expect(silent).toMatchObject({ code: 0, stderr: '' });
  expect(silent.stdout.trimEnd().split('\n')).toHaveLength(1);
  expect(JSON.parse(silent.stdout)).toMatchObject({ ok: true, report: { bitWidth: 4 } });
  const told = await runCli([
    'quantize',
    model,
    '-o',
    path.join(folder, 'b'),
    '--min-accuracy',
    '0',
    '--json',
    '--progress',
  ]);
  const events = told.stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(events.every(({ event }) => event === 'progress')).toBe(true);
  expect(events.filter(({ final }) => final)).toHaveLength(1);
});

test('flags over environment', async () => {
  const folder = tempDir();
  const model = writeModel(folder);
  const env = { ARROW_QUANT_BIT_WIDTH: '2', ARROW_QUANT_MIN_ACCURACY: '0', ARROW_QUANT_GROUP_SIZE: '32' };
  const { stdout } = await runCli(['quantize', model, '-o', path.join(folder, 'out'), '--bit-width', '8', '--json'], {
    env,
  });
  expect(JSON.parse(stdout).report).toMatchObject({ bitWidth: 8, groupSize: 32 });
});

test.each([
  [['inspect', '/nowhere/m'], 20],
  [['quantize', '/nowhere/m', '-o', '/nowhere/o'], 20],
])('%j exits with %i and empty stdout', async (args, expected) => {
  const { code, stdout, stderr } = await runCli(args);
  expect([code, stdout]).toEqual([expected, '']);
  expect(stderr).toMatch(/^error AQ_MODEL_NOT_FOUND {2}Model not found\n/m);
  expect(stderr).toContain('/nowhere/m');
});

test('a failed gate exits with 23', async () => {
  const folder = tempDir();
  const { code, stderr } = await runCli([
    'quantize',
    writeModel(folder),
    '-o',
    path.join(folder, 'out'),
    '--bit-width',
    '8',
    '--min-accuracy',
    '1',
    '--quiet',
  ]);
  expect(code).toBe(23);
  expect(stderr).toContain('is below threshold');
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s aborts cleanly and exits with %i', async (signal, expected) => {
  const folder = tempDir();
  const model = writeModel(folder, ditTensors(24, 1024));
  const before = listing(folder);
  let sent = false;
  const { code, stdout, stderr } = await runCli(
    ['quantize', model, '-o', path.join(folder, 'out'), '--min-accuracy', '0', '--json', '--progress'],
    {
      onStderr: (text, kill) => {
        if (sent || !text.includes('"phase":"quantize"')) return;
        sent = true;
        kill(signal);
      },
    },
  );
  expect(sent).toBe(true);
  expect(stderr).not.toContain('    at ');
  expect(code).toBe(expected);
  expect(stdout).toMatch(/^[^\n]+\n$/);
  expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'AQ_ABORTED', name: 'AbortError' } });
  expect(existsSync(path.join(folder, 'out'))).toBe(false);
  expect(listing(folder)).toEqual(before);
});
