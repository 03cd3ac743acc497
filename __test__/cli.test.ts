/** The command line up to the point where a model is opened: parsing, errors, exit codes. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { palette, wantsColour } from '../src-ts/cli/colour.js';
import { exitCodeOf } from '../src-ts/cli/exit-codes.js';
import { renderError } from '../src-ts/cli/render-error.js';
import { instantiate } from '../src-ts/errors/create.js';
import { errorFromJSON, version } from '../src-ts/index.js';
import { CLI, runCli } from './helpers/cli.js';
import { failure } from './helpers/stub-native.js';
import { tempDir } from './helpers/temp.js';

const ESCAPE = String.fromCharCode(27);

describe('help', () => {
  test('arrow-quant --help and that of each command it lists show examples', async () => {
    const whole = await runCli(['--help']);
    const list = whole.stdout.slice(whole.stdout.indexOf('Commands:'), whole.stdout.indexOf('Examples:'));
    const commands = [...list.matchAll(/^ {2}([a-z]+) /gm)]
      .map(([, name = '']) => name)
      .filter((name) => name !== 'help');
    expect(commands).toEqual(expect.arrayContaining(['quantize', 'export', 'compare', 'completion', 'doctor']));
    const helps = await Promise.all(commands.map((command) => runCli([command, '--help'])));
    for (const { code, stdout, stderr } of [whole, ...helps]) {
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toMatch(/Examples:\n {2}\$ (echo .*)?arrow-quant/);
    }
    // Flags of the same meaning are there, and the same, in each of them.
    for (const { stdout } of helps) {
      for (const flag of ['--json', '--quiet', '--verbose', '--color <when>']) expect(stdout).toContain(`  ${flag} `);
    }
  });
  test('--version', async () => {
    expect(await runCli(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
  test('no command at all is bad usage', async () => {
    expect(await runCli([])).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('wrong arguments exit with 2 and leave stdout empty', () => {
  const job = ['quantize', '/nowhere/m', '-o', '/nowhere/o'];
  test.each([
    [['quantise'], 'quantise'],
    [['quantize'], 'MODEL'],
    [['quantize', 'a', 'b'], 'arguments'],
    [['quantize', 'm'], '--output-path'],
    [[...job, '--bit-width'], '--bit-width'],
    [[...job, '--bit-width', '3'], '--bit-width'],
    [[...job, '--bit-width', '4.0'], '--bit-width'],
    [[...job, '--bit-width', 'four'], '--bit-width'],
    [[...job, '--bitwidth', '4'], 'Did you mean --bit-width'],
    [[...job, '--min-accuracy', '-0.1'], '--min-accuracy'],
    [[...job, '--profile', 'mobile'], '--deployment-profile'],
    [[...job, '--method', 'gptq'], '--method'],
    [[...job, '--skip-layers', 'a,,b'], '--skip-layers[1]'],
    [[...job, '--layer-bit-widths', 'x=3'], '--layer-bit-widths["x"]'],
    [[...job, '--config', '/nowhere/q.yaml'], '/nowhere/q.yaml'],
    [[...job, '--color', 'pink'], '--color'],
    [['validate', 'a'], 'QUANTIZED'],
    [['validate', 'a', 'b', '--min-accuracy', '2'], '--min-accuracy'],
    [['validate', 'a', 'b', '--bit-width', '4'], '--bit-width'],
    [['inspect', 'a', '--modality', 'x'], '--modality'],
    [['explain', 'AQ_NOPE'], 'code'],
  ])('%j', async (args, told) => {
    const { code, stdout, stderr } = await runCli(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error AQ_INVALID_/);
    expect(stderr).toContain(told);
    expect(stderr).not.toContain(ESCAPE);
  });
  test.each([
    [[...job, '--layout', 'sdqn'], 'Did you mean sdnq?'],
    [[...job, '--layout', 'gguf,plan'], 'Did you mean plain?'],
    [[...job, '--profile', 'locl'], 'Did you mean local?'],
    [[...job, '--gguf-type', 'q4_k'], 'Did you mean Q4_K_S or Q4_K_M?'],
    [[...job, '--device', 'gpu'], 'Did you mean cuda?'],
    [[...job, '--color', 'alwys'], 'Did you mean always?'],
    [['exprot'], 'Did you mean export?'],
    [['completion', 'bsh'], 'Did you mean bash?'],
    [['explain', 'validation_faild'], 'Did you mean AQ_VALIDATION_FAILED?'],
    [['validate', 'a', 'b', '--layout', 'gguf'], '--layout is an option of quantize'],
    [['export', 'a', '-o', 'b'], '--layout  expected a layout name, received nothing'],
    [['inspect'], 'arrow-quant inspect --help'],
    [['inspect', 'a', '--config', '/nowhere/q.yaml'], '/nowhere/q.yaml'],
  ])('%j: %s', async (args, told) => {
    const { code, stdout, stderr } = await runCli(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(told);
  });
  test.each([
    [[...job, '--bit-width', '3']],
    [[...job, '--group-size', '48']],
    [[...job, '--method', 'x']],
    [[...job, '--modality', 'smell']],
  ])('%j: nothing is near', async (args) => {
    expect((await runCli(args)).stderr).not.toMatch(/did you mean/i);
  });
  test('of several, each says what it may have been meant to be', async () => {
    const { stderr } = await runCli([...job, '--profile', 'locl', '--method', 'gpt']);
    expect(stderr).toMatch(/--deployment-profile .*; did you mean\s+local\?/);
    expect(stderr).toMatch(/--method .*; did you mean\s+gptq\?/);
  });
  test('each issue has a line', async () => {
    const { stderr } = await runCli([...job, '--bit-width', '3', '--group-size', '48']);
    expect(stderr).toContain('\n  --bit-width  expected 2, 4, or 8, received 3 (number)\n');
    expect(stderr).toContain('\n  --group-size  expected 32, 64, 128, or 256, received 48 (number)\n');
  });
  test('environment and file are checked as well', async () => {
    const file = path.join(tempDir(), 'q.yaml');
    writeFileSync(file, 'numThreads: -1\n');
    const { code, stderr } = await runCli([...job, '--config', file], { env: { ARROW_QUANT_BIT_WIDTH: 'x' } });
    expect(code).toBe(2);
    expect(stderr).toContain('env.ARROW_QUANT_BIT_WIDTH');
    expect(stderr).toContain('q.yaml:1:13 numThreads');
  });
});

describe('--json', () => {
  test.each([
    [['quantize', 'm', '--json']],
    [['quantize', '--json', '--nope']],
    [['nope', '--json']],
    [['quantize', 'm', '-o', 'o', '--bit-width', '3', '--json']],
    [['explain', 'AQ_NOPE', '--json']],
  ])('%j prints one line that revives as an error', async (args) => {
    const { code, stdout, stderr } = await runCli(args, { env: { FORCE_COLOR: '1' } });
    expect(code).toBe(2);
    expect(stderr).toBe('');
    expect(stdout.trimEnd()).not.toContain('\n');
    const line = JSON.parse(stdout);
    expect(line).toMatchObject({ ok: false, report: null });
    expect(errorFromJSON(line.error).name).toBe('ConfigurationError');
  });
  test('a result', async () => {
    const { code, stdout } = await runCli(['explain', 'AQ_IO', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, report: { code: 'AQ_IO', className: 'QuantizationError' } });
  });
});

test.each([
  ['AQ_INVALID_CONFIG', 'ConfigurationError', 2],
  ['AQ_OUTPUT_EXISTS', 'ConfigurationError', 2],
  ['AQ_MODEL_NOT_FOUND', 'ModelNotFoundError', 20],
  ['AQ_METADATA', 'MetadataError', 21],
  ['AQ_SHAPE_MISMATCH', 'ShapeMismatchError', 22],
  ['AQ_VALIDATION_FAILED', 'ValidationError', 23],
  ['AQ_IO', 'QuantizationError', 24],
  ['AQ_INTERNAL', 'QuantizationError', 70],
  ['AQ_NATIVE_LOAD', 'ArrowQuantError', 1],
] as const)('%s of %s exits with %i', (code, name, exit) => {
  expect(exitCodeOf(instantiate(failure(code, name).error as never))).toBe(exit);
});
test('aborts exit by the signal, everything foreign with 1', () => {
  const abort = (cause: unknown) => instantiate(failure('AQ_ABORTED', 'AbortError').error as never, { cause });
  expect(exitCodeOf(abort('SIGINT'))).toBe(130);
  expect(exitCodeOf(abort('SIGTERM'))).toBe(143);
  expect(exitCodeOf(new Error('x'))).toBe(1);
});

describe('colour', () => {
  test.each([
    ['always', { NO_COLOR: '1' }, false, true],
    ['never', { FORCE_COLOR: '1' }, true, false],
    ['auto', { NO_COLOR: '1', FORCE_COLOR: '1' }, true, false],
    ['auto', { NO_COLOR: '' }, true, true],
    ['auto', { FORCE_COLOR: '1' }, false, true],
    ['auto', { FORCE_COLOR: '0' }, true, false],
    ['auto', { TERM: 'dumb' }, true, false],
    ['auto', {}, true, true],
    ['auto', {}, false, false],
  ] as const)('%s %j terminal=%s: %s', (mode, env, terminal, wanted) => {
    expect(wantsColour(mode, env, terminal)).toBe(wanted);
  });
  test('through a pipe only when forced', async () => {
    expect((await runCli(['nope'])).stderr).not.toContain(ESCAPE);
    expect((await runCli(['nope'], { env: { FORCE_COLOR: '1' } })).stderr).toContain(`${ESCAPE}[1;31merror`);
    expect((await runCli(['quantize', 'm', '--color=always'])).stderr).toContain(ESCAPE);
  });
});

test('a failed validation as people see it', () => {
  const details = {
    similarity: 0.65,
    threshold: 0.7,
    layer: `mid\u001b[2J.to_q`,
    bitWidth: 2,
    failedCount: 3,
    layerCount: 48,
    failed: [],
  };
  const { error } = failure('AQ_VALIDATION_FAILED', 'ValidationError', {
    title: 'Quality below the threshold',
    message:
      'Quality validation failed: cosine similarity 0.6500 is below threshold 0.7000 (layer "mid", INT2; 3 of 48 layers). Suggestions: (1) raise bitWidth to 4 or 8, (2) set enableSpatial: true.',
    suggestions: ['raise bitWidth to 4 or 8', 'set enableSpatial: true'],
    details,
    context: { phase: 'quantize', elapsedMs: 8412 },
  });
  const text = renderError(instantiate(error as never), { palette: palette(false), width: 100, verbose: false });
  expect(text.split('\n')).toEqual([
    'error AQ_VALIDATION_FAILED  Quality below the threshold',
    '  cosine similarity 0.6500 is below threshold 0.7000',
    '  layer  mid\\u{1b}[2J.to_q (INT2), 3 of 48 layers failed',
    '  phase  quantize, 8.4 s',
    '  try    1. raise bitWidth to 4 or 8',
    '         2. set enableSpatial: true',
    '  more   arrow-quant explain AQ_VALIDATION_FAILED',
  ]);
});

test('a closed pipe ends quietly', async () => {
  const child = spawn(process.execPath, [CLI, 'quantize', '--help']);
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(stderr).toBe('');
  expect(code).toBe(0);
});
