/** Failures through the command line: exit code, one JSON line, and what stands on a pipe and on a terminal. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, errorFromJSON, explainError, quantizeDiffusionModel } from '../src-ts/index.js';
import * as bad from './helpers/bad-models.js';
import { CLI, runCli } from './helpers/cli.js';
import { ACTS } from './helpers/hostile.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { f32 } from './helpers/safetensors.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

const ESCAPE = String.fromCharCode(27);

interface Case {
  readonly name: string;
  readonly code: ErrorCode;
  readonly exit: number;
  /** Makes what the command works on and returns its arguments. */
  readonly args: (folder: string) => string[] | Promise<string[]>;
  readonly env?: (folder: string) => Record<string, string>;
}

/** A job on a model that is wrong in one way. */
const quantizing = (code: ErrorCode, exit: number, make: bad.Maker, ...flags: string[]): Case => ({
  name: ['quantize', ...flags].join(' '),
  code,
  exit,
  args: (folder) => ['quantize', make(folder), '-o', path.join(folder, 'out'), '--min-accuracy', '0', ...flags],
});
const small: bad.Maker = (folder) => writeModel(folder, ditTensors(2, 64));

const cases: Case[] = [
  quantizing('AQ_INVALID_BIT_WIDTH', 2, small, '--bit-width', '3'),
  quantizing('AQ_INVALID_GROUP_SIZE', 2, small, '--group-size', '100'),
  quantizing('AQ_INVALID_TIME_GROUPS', 2, small, '--num-time-groups', '0'),
  quantizing('AQ_INVALID_ACCURACY', 2, small, '--min-accuracy', '1.5'),
  quantizing('AQ_INVALID_CONFIG', 2, small, '--skip-layers', 'no.such.layer'),
  quantizing('AQ_OUTPUT_EXISTS', 2, (folder) => {
    mkdirSync(path.join(folder, 'out'));
    return small(folder);
  }),
  quantizing('AQ_MODEL_NOT_FOUND', 20, bad.absent),
  quantizing('AQ_MODEL_NOT_FOUND', 20, bad.emptyFolder),
  quantizing('AQ_METADATA', 21, bad.withMetadata('{"modality":7}')),
  quantizing('AQ_UNKNOWN_MODALITY', 21, bad.unidentified()),
  quantizing('AQ_UNSUPPORTED_FORMAT', 21, bad.rawFile('m.ckpt', 'PK\u0003\u0004xxxx')),
  quantizing(
    'AQ_UNSUPPORTED_DTYPE',
    21,
    bad.withHeader((first) => Object.assign(first, { dtype: 'C64', shape: [32, 64] })),
  ),
  quantizing('AQ_CORRUPT_MODEL', 21, bad.withHeaderLength(2n ** 63n)),
  {
    name: 'validate, of other shapes',
    code: 'AQ_SHAPE_MISMATCH',
    exit: 22,
    args: async (folder) => {
      const outputPath = path.join(folder, 'quantized');
      await quantizeDiffusionModel({ modelPath: small(folder), outputPath, minAccuracy: 0 });
      return ['validate', writeModel(folder, ditTensors(2, 128), 'other'), outputPath];
    },
  },
  quantizing('AQ_VALIDATION_FAILED', 23, small, '--bit-width', '8', '--min-accuracy', '1'),
  quantizing('AQ_VALIDATION_FAILED', 23, small, '--bit-width', '2', '--min-accuracy', '0.9999', '--fail-fast'),
  quantizing('AQ_QUANTIZATION_FAILED', 24, bad.withTensors({ 'norm.weight': f32([64], new Float32Array(64)) })),
  quantizing('AQ_IO', 24, bad.metadataFolder),
  quantizing('AQ_SERDE', 24, bad.withMetadata('{"modality": imag }')),
  quantizing('AQ_NON_FINITE_WEIGHTS', 24, bad.withValues(new Map([[0, Number.NaN]]))),
  quantizing('AQ_TIMEOUT', 24, (folder) => writeModel(folder, ditTensors(8, 512)), '--timeout-ms', '1'),
  {
    name: 'inspect, without the addon',
    code: 'AQ_NATIVE_LOAD',
    exit: 1,
    args: (folder) => ['inspect', small(folder)],
    env: (folder) => {
      const file = path.join(folder, 'addon.node');
      writeFileSync(file, 'no shared library');
      return { NAPI_RS_NATIVE_LIBRARY_PATH: file };
    },
  },
];

describe.each(cases.map((one) => [one.code, one.name, one] as const))('%s, %s', (code, _, { exit, args, env }) => {
  const prepare = async () => {
    const folder = tempDir();
    const own = env?.(folder) ?? {};
    const command = await args(folder);
    return { folder, own, command, before: listing(folder) };
  };
  test('for people: the exit code of its class, everything on stderr, nothing left', async () => {
    const { folder, own, command, before } = await prepare();
    const run = await runCli([...command, '--quiet'], { env: own });
    expect(run.code).toBe(exit);
    expect(run.stdout).toBe('');
    expect(run.stderr).toMatch(new RegExp(`^error ${code}  ${explainError(code).title}\n`));
    expect(run.stderr).toMatch(/\n {2}try {4}\S/);
    expect(run.stderr.trimEnd().split('\n').at(-1)).toBe(`  more   arrow-quant explain ${code}`);
    expect(run.stderr).not.toContain(ESCAPE);
    expect(run.stderr).not.toContain('    at ');
    expect(listing(folder)).toEqual(before);
  });
  test('--json: one line, the same exit code, no colour though it is forced', async () => {
    const { folder, own, command, before } = await prepare();
    const run = await runCli([...command, '--json', '--color=always'], { env: { ...own, FORCE_COLOR: '1' } });
    expect(run).toMatchObject({ code: exit, stderr: '' });
    expect(run.stdout).toMatch(/^[^\n]+\n$/);
    expect(run.stdout).not.toContain(ESCAPE);
    const { ok, error, report } = JSON.parse(run.stdout);
    expect(ok).toBe(false);
    // Where something had been done, the partial report says what.
    const begun = report === null ? [] : Object.keys(report);
    expect(begun).toEqual(report === null ? [] : expect.arrayContaining(['layers', 'failures', 'retries', 'warnings']));
    if (error.code === 'AQ_VALIDATION_FAILED') expect(report.layers.length).toBeGreaterThan(0);
    expect(errorFromJSON(error)).toMatchObject({ code, name: explainError(code).className });
    expect(JSON.stringify(errorFromJSON(error))).toBe(JSON.stringify(error));
    expect(listing(folder)).toEqual(before);
  });
});

test('each class of the library is among them', () => {
  const names = new Set(cases.map(({ code }) => explainError(code).className));
  // Aborts need a signal that arrives in time; native-cli.test.ts has them.
  expect([...names].sort()).toEqual([
    'ArrowQuantError',
    'ConfigurationError',
    'MetadataError',
    'ModelNotFoundError',
    'QuantizationError',
    'ShapeMismatchError',
    'ValidationError',
  ]);
});

describe('progress and a failure in one run', () => {
  const failing = (folder: string) => [
    'quantize',
    small(folder),
    '-o',
    path.join(folder, 'out'),
    '--bit-width',
    '8',
    '--min-accuracy',
    '1',
  ];
  test('--json --progress: events on stderr, one line on stdout', async () => {
    const { code, stdout, stderr } = await runCli([...failing(tempDir()), '--json', '--progress']);
    expect(code).toBe(23);
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'AQ_VALIDATION_FAILED' } });
    expect(stdout.trimEnd()).not.toContain('\n');
    const events = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(events.every(({ event }) => event === 'progress')).toBe(true);
    expect(events.filter(({ final }) => final)).toHaveLength(1);
    expect(events.at(-1).fraction).toBeLessThan(1);
  });
  test('layer, phase and advice have lines of their own', async () => {
    const { stderr } = await runCli([...failing(tempDir()), '--quiet']);
    const lines = stderr.trimEnd().split('\n');
    expect(lines[1]).toMatch(/^ {2}cosine similarity 0\.\d{4,9} is below threshold 1\.0{4,9}$/);
    expect(lines[2]).toMatch(/^ {2}layer {2}transformer_blocks\.\d\.attn1\.to_q \(INT8\), \d of 2 layers failed$/);
    expect(lines[3]).toMatch(/^ {2}phase {2}\w+, \d+\.\d s$/);
    expect(lines[4]).toMatch(/^ {2}try {4}1\. /);
    expect(lines[5]).toMatch(/^ {9}2\. /);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
  });
  test('--verbose adds causes and stack', async () => {
    const folder = tempDir();
    const { stderr } = await runCli([
      'quantize',
      bad.metadataFolder(folder),
      '-o',
      `${folder}/out`,
      '--verbose',
      '--quiet',
    ]);
    expect(stderr).toMatch(/\n {2}cause {2}Error EISDIR: /);
    expect(stderr).toMatch(/\n {4}at /);
  });
});

describe('colour of a failure', () => {
  const COLOURED = `${ESCAPE}[1;31merror${ESCAPE}[0m`;
  const command = ['inspect', '/nowhere/m'];

  test.each([
    ['a pipe', [], {}, false],
    ['NO_COLOR', [], { NO_COLOR: '1' }, false],
    ['an empty NO_COLOR, which means nothing', [], { NO_COLOR: '', FORCE_COLOR: '1' }, true],
    ['NO_COLOR over FORCE_COLOR', [], { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
    ['FORCE_COLOR', [], { FORCE_COLOR: '1' }, true],
    ['FORCE_COLOR=0', [], { FORCE_COLOR: '0' }, false],
    ['--color=always over NO_COLOR', ['--color=always'], { NO_COLOR: '1' }, true],
    ['--color=never over FORCE_COLOR', ['--color=never'], { FORCE_COLOR: '1' }, false],
    ['--color=auto on a pipe', ['--color=auto'], {}, false],
  ])('%s', async (_, flags, env, coloured) => {
    const { code, stdout, stderr } = await runCli([...command, ...flags], { env });
    expect([code, stdout]).toEqual([20, '']);
    expect(stderr.startsWith(coloured ? COLOURED : 'error ')).toBe(true);
    expect(stderr.includes(ESCAPE)).toBe(coloured);
    expect(stderr.includes(`${ESCAPE}[2mtry   ${ESCAPE}[0m`)).toBe(coloured);
  });

  /** `script` of util-linux runs a command on a terminal of its own. */
  const terminal = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0;
  test.skipIf(!terminal).each([
    ['xterm-256color', {}, true],
    ['dumb', {}, false],
    ['xterm-256color', { NO_COLOR: '1' }, false],
    ['dumb', { FORCE_COLOR: '1' }, true],
  ])('on a terminal, TERM=%s %j', (TERM, env, coloured) => {
    const line = [process.execPath, CLI, ...command].map((word) => `'${word}'`).join(' ');
    const inherited = Object.entries(process.env).filter(([name]) => !/^(NO_COLOR|FORCE_COLOR|CI$)/.test(name));
    const { status, stdout } = spawnSync('script', ['-qec', line, '/dev/null'], {
      env: { ...Object.fromEntries(inherited), TERM, ...env },
      encoding: 'utf8',
    });
    expect(status).toBe(20);
    expect(stdout).toContain('AQ_MODEL_NOT_FOUND');
    expect(stdout.includes(COLOURED)).toBe(coloured);
    expect(stdout.includes(ESCAPE)).toBe(coloured);
  });
});

describe('names that act', () => {
  const NAME = `a\u001b]0;x\u0007\u009b2J\u202e\u200b<img src=x onerror=alert(1)>`;

  test.each([
    ['a path', async (folder: string) => ['inspect', path.join(folder, NAME)]],
    ['an option', async (folder: string) => ['inspect', small(folder), '--modality', NAME]],
    ['a flag', async () => ['inspect', 'm', `--${NAME}`]],
    ['a command', async () => [NAME]],
    [
      'a tensor',
      async (folder: string) => {
        const tensors = {
          ...ditTensors(2, 64),
          [`${NAME}.weight`]: f32([64, 64], new Float32Array(4096).fill(Number.NaN)),
        };
        return ['quantize', writeModel(folder, tensors), '-o', path.join(folder, 'out')];
      },
    ],
    [
      'a modality in a file',
      async (folder: string) => ['inspect', bad.withMetadata(JSON.stringify({ modality: NAME }))(folder)],
    ],
  ])('%s never reaches the terminal raw', async (_, args) => {
    const command = await args(tempDir());
    const run = await runCli([...command, '--verbose']);
    expect(run.code).toBeGreaterThan(1);
    expect(run.stdout).toBe('');
    expect(run.stderr).toContain('\\u{1b}');
    for (const line of run.stderr.split('\n')) expect(line).not.toMatch(ACTS);
  });
});
