/** The moving lines of a running job: what they tell at which width, and the terminal that they leave. */
import { spawn, spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { palette } from '../src-ts/cli/colour.js';
import { LiveView } from '../src-ts/cli/live-view.js';
import { type ProgressState, progressLines } from '../src-ts/cli/progress-lines.js';
import { canMove, showsUnicode } from '../src-ts/cli/progress-view.js';
import { clock, columns, shortBytes, shorten } from '../src-ts/cli/terminal-text.js';
import { Throughput } from '../src-ts/cli/throughput.js';
import type { ProgressEvent } from '../src-ts/index.js';
import { CLI } from './helpers/cli.js';
import { bigModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';

const ESCAPE = String.fromCharCode(27);
const HIDE = `${ESCAPE}[?25l`;
const SHOW = `${ESCAPE}[?25h`;

const STATE: ProgressState = {
  phase: 'quantize',
  fraction: 0.5,
  layersDone: 12,
  layersTotal: 110,
  layer: 'transformer_blocks.12.attn.add_q_proj',
  bytesPerSecond: 210e6,
  leftMs: 72_000,
  memoryBytes: 512e6,
  retries: 0,
};
const PLAIN = { palette: palette(false), unicode: true };

describe('the lines', () => {
  test.each([
    [
      100,
      [
        'quantize █████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░  50 %   12/110 layers  1:12 left',
        'transformer_blocks.12.attn.add_q_proj                                       210 MB/s  512 MB memory',
      ],
    ],
    [
      60,
      [
        'quantize █████████░░░░░░░░  50 %   12/110 layers  1:12 left',
        'transformer_bloc…2.attn.add_q_proj  210 MB/s  512 MB memory',
      ],
    ],
    [40, ['quantize █████░░░░  50 %   12/110  1:12', 'transforme…add_q_proj  210 MB/s  512 MB']],
  ])('at %i columns', (width, expected) => {
    expect(progressLines(STATE, width, PLAIN)).toEqual(expected);
  });
  const states: [string, Partial<ProgressState>][] = [
    ['usual', {}],
    ['nothing known', { layersTotal: 0, layersDone: 0, layer: null, bytesPerSecond: null, leftMs: null, fraction: 0 }],
    [
      'long figures',
      { layersDone: 99_999, layersTotal: 100_000, leftMs: 1e8, bytesPerSecond: 99e9, memoryBytes: 9e11 },
    ],
    ['a long name', { layer: 'x'.repeat(500) }],
    ['wide letters', { layer: '層'.repeat(100) }],
    ['pairs of surrogates', { layer: '😀'.repeat(100) }],
    ['controls', { layer: '\u001b[2J\n\r\t'.repeat(20) }],
    ['retries', { retries: 3, fraction: 1 }],
  ];
  test.each(states)('%s: never wider than the terminal', (_, change) => {
    for (let width = 1; width <= 200; width += 1) {
      for (const unicode of [true, false]) {
        const lines = progressLines({ ...STATE, ...change }, width, { palette: palette(false), unicode });
        expect(lines).toHaveLength(2);
        for (const line of lines) {
          expect(columns(line)).toBeLessThan(Math.max(2, width));
          expect(line).not.toMatch(/[\p{Cc}\p{Cs}]/u);
          if (!unicode && !change.layer) expect(line).toMatch(/^[\x20-\x7e]*$/);
        }
      }
    }
  });
  test('colour changes no text', () => {
    const codes = new RegExp(`${ESCAPE}\\[[0-9;]*m`, 'g');
    const coloured = progressLines(STATE, 80, { palette: palette(true), unicode: true });
    expect(coloured[0]).toContain(`${ESCAPE}[32m`);
    expect(coloured.map((line) => line.replace(codes, ''))).toEqual(progressLines(STATE, 80, PLAIN));
  });
  test('a time that is not known yet keeps its place', () => {
    const bar = (leftMs: number | null) => /[█░]+/.exec(progressLines({ ...STATE, leftMs }, 80, PLAIN)[0] ?? '')?.[0];
    expect(bar(null)).toBe(bar(72_000));
  });
});

test.each([
  [0, '0:00'],
  [6_100, '0:07'],
  [72_000, '1:12'],
  [3_900_000, '1:05:00'],
])('clock of %i ms is %s', (ms, text) => expect(clock(ms)).toBe(text));
test.each([
  [3_240_000, '3.2 MB'],
  [9_990_000, '10 MB'],
  [210_400_000, '210 MB'],
  [999_600_000, '1.0 GB'],
])('%i bytes are %s', (bytes, text) => expect(shortBytes(bytes)).toBe(text));
test('names lose their middle', () => {
  expect(shorten('transformer_blocks.0.attn', 11)).toBe('trans….attn');
  expect(shorten('short', 11)).toBe('short');
});

test('throughput is that of the last seconds', () => {
  const throughput = new Throughput();
  expect(throughput.bytesPerSecond(0)).toBeNull();
  throughput.add(0, 0);
  for (let at = 100; at <= 10_000; at += 100) throughput.add(at, at * 1_000);
  expect(throughput.bytesPerSecond(10_000)).toBeCloseTo(1e6, -4);
  // It stands still: the figure falls, and is gone after the window.
  expect(throughput.bytesPerSecond(15_000)).toBeCloseTo(5e5, -4);
  throughput.add(30_000, 10_000_000);
  throughput.add(36_000, 10_000_000);
  expect(throughput.bytesPerSecond(36_000)).toBe(0);
});

test.each([
  [true, {}, undefined, true],
  [false, {}, undefined, false],
  [true, { TERM: 'dumb' }, undefined, false],
  [true, { NO_COLOR: '1' }, undefined, true],
  [true, { ARROW_QUANT_LOG: 'info' }, undefined, false],
  [true, { ARROW_QUANT_LOG: 'off' }, 'off', true],
  [true, {}, 'debug', false],
])('terminal %s, %j, log level %s: moving lines %s', (isTerminal, env, logLevel, moving) => {
  expect(canMove(isTerminal, env, logLevel)).toBe(moving);
});
test.each([
  [{ LANG: 'de_DE.UTF-8' }, 'linux', true],
  [{ LANG: 'de_DE.UTF-8', LC_ALL: 'C' }, 'linux', false],
  [{ LC_CTYPE: 'C.utf8' }, 'linux', true],
  [{}, 'linux', false],
  [{}, 'win32', true],
] as const)('%j on %s: more than ASCII %s', (env, platform, unicode) => {
  expect(showsUnicode(env, platform)).toBe(unicode);
});

class FakeTerminal extends EventEmitter {
  columns = 60;
  written: string[] = [];
  write(text: string): void {
    this.written.push(text);
  }
}

const EVENT: ProgressEvent = {
  phase: 'quantize',
  fraction: 0.5,
  layersDone: 12,
  layersTotal: 110,
  layer: 'blocks.0.to_q',
  bytesDone: 1e6,
  bytesTotal: 2e6,
  elapsedMs: 100,
  etaMs: null,
  retries: 0,
  degradations: 0,
  message: '',
  final: false,
};

describe('the view', () => {
  const start = () => {
    const terminal = new FakeTerminal();
    let at = 0;
    const own = { now: () => at, memoryBytes: () => 100e6 };
    const pass = (ms: number) => {
      at += ms;
    };
    return { terminal, pass, view: new LiveView(terminal, PLAIN, own) };
  };
  const NAMES = ['exit', 'SIGINT', 'SIGTSTP', 'SIGCONT'];
  const listeners = () => NAMES.map((name) => process.listenerCount(name));

  test('hides the cursor while lines are there, and leaves nothing behind', () => {
    const before = listeners();
    const { terminal, view } = start();
    expect(terminal.written).toEqual([]);
    view.update(EVENT);
    expect(terminal.written.join('')).toContain(HIDE);
    expect(terminal.written.join('')).toContain('blocks.0.to_q');
    view.update({ ...EVENT, final: true });
    expect(terminal.written.at(-1)?.endsWith(SHOW)).toBe(true);
    expect(listeners()).toEqual(before);
    expect(terminal.listenerCount('resize')).toBe(0);
  });
  test('a job that fails before its first event never touches the terminal', () => {
    const { terminal, view } = start();
    view.update({ ...EVENT, final: true });
    expect(terminal.written).toEqual([]);
  });
  test('draws at most every 80 ms, a new phase at once', () => {
    const { terminal, view, pass } = start();
    view.update(EVENT);
    pass(10);
    view.update(EVENT);
    expect(terminal.written).toHaveLength(1);
    view.update({ ...EVENT, phase: 'commit' });
    expect(terminal.written).toHaveLength(2);
    pass(100);
    view.update({ ...EVENT, phase: 'commit' });
    expect(terminal.written).toHaveLength(3);
    view.update({ ...EVENT, final: true });
  });
  test('follows the width once that has settled, and says that it is stopping', () => {
    const { terminal, view, pass } = start();
    const event = { ...EVENT, etaMs: 5_000 };
    view.update(event);
    // A window that is dragged: the lines go at the first step, and none is drawn for a width that passes.
    for (const width of [55, 50, 45, 41]) {
      terminal.columns = width;
      terminal.emit('resize');
      pass(100);
      view.update(event);
    }
    expect(terminal.written).toHaveLength(2);
    expect(terminal.written.at(-1)).not.toContain('quantize');
    expect(terminal.written.at(-1)?.endsWith(SHOW)).toBe(true);
    pass(400);
    view.update(event);
    expect(terminal.written.at(-1)).toContain(HIDE);
    const line = terminal.written.at(-1)?.split(`${ESCAPE}[K`)[0]?.replace(/^.*\r/s, '');
    expect(columns(line ?? '')).toBe(40);
    const own = process.listeners('SIGINT').at(-1) as () => void;
    own();
    expect(terminal.written.at(-1)).toContain('stopping');
    view.update({ ...EVENT, final: true });
  });
  test('the end of the process brings the cursor back', () => {
    const { terminal, view } = start();
    view.update(EVENT);
    const own = process.listeners('exit').at(-1) as () => void;
    own();
    expect(terminal.written.at(-1)?.endsWith(SHOW)).toBe(true);
    view.update({ ...EVENT, final: true });
  });
});

/** `script` of util-linux runs a command on a terminal of its own. */
const terminal = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0;
if (!terminal) process.stderr.write('skipped: tests on a terminal need util-linux script\n');

/** All that a terminal of 50 columns gets, stdout and stderr; Ctrl-C is typed when the job is in phase quantize. */
async function onTerminal(env: Record<string, string>, interrupts: number, ...flags: string[]) {
  const folder = tempDir();
  const command = ['quantize', bigModel(folder), '-o', path.join(folder, 'out'), '--min-accuracy', '0', ...flags];
  const line = [process.execPath, CLI, ...command].map((word) => `'${word}'`).join(' ');
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(ARROW_QUANT_|LC_|NO_COLOR|FORCE_COLOR|CI$)/.test(name),
  );
  const child = spawn('script', ['-qec', `stty cols 50; exec ${line}`, '/dev/null'], {
    env: { ...Object.fromEntries(inherited), TERM: 'xterm-256color', LANG: 'C.UTF-8', ...env },
  });
  let text = '';
  let left = interrupts;
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    if (left > 0 && /quantize .*\d+ %/.test(text)) {
      child.stdin.write('\u0003'.repeat(left));
      left = 0;
    }
  });
  // Without an end of input the terminal stays open.
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, text };
}

describe.skipIf(!terminal)('on a terminal', () => {
  const colour = new RegExp(`${ESCAPE}\\[[0-9;]*m`);
  test('lines move, fit, and are gone before the summary', async () => {
    const { code, text } = await onTerminal({}, 0);
    expect(code).toBe(0);
    expect(text).toMatch(colour);
    expect(text.indexOf(HIDE)).toBeGreaterThan(-1);
    expect(text.lastIndexOf(SHOW)).toBeGreaterThan(text.lastIndexOf(HIDE));
    expect(text.indexOf('output  ')).toBeGreaterThan(text.lastIndexOf(SHOW));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control sequences are meant
    const bars = text.split(/[\r\n]/).map((one) => one.replace(/\u001b\[[?0-9;]*[a-zA-Z]/g, ''));
    const drawn = bars.filter((one) => /░|█|MB memory|MB\/s/.test(one));
    expect(drawn.length).toBeGreaterThan(4);
    for (const one of drawn) expect(columns(one)).toBeLessThan(50);
  });
  test('NO_COLOR: the cursor is moved, nothing is coloured', async () => {
    const { code, text } = await onTerminal({ NO_COLOR: '1' }, 0);
    expect(code).toBe(0);
    expect(text).toContain(HIDE);
    expect(text).not.toMatch(colour);
  });
  test('TERM=dumb: plain lines, no escape at all', async () => {
    const { code, text } = await onTerminal({ TERM: 'dumb' }, 0);
    expect(code).toBe(0);
    expect(text).toMatch(/^quantize +\d+ % {2}\d+\/\d+ layers/m);
    expect(text).not.toContain(ESCAPE);
  });
  test('with a log: plain lines', async () => {
    const { text } = await onTerminal({}, 0, '--log-level', 'info');
    expect(text).not.toContain(HIDE);
  });
  test.each([1, 2])('%i times Ctrl-C: 130, and the cursor is back', async (times) => {
    const { code, text } = await onTerminal({}, times, '--num-threads', '1');
    expect(code).toBe(130);
    expect(text).toContain(HIDE);
    expect(text.lastIndexOf(SHOW)).toBeGreaterThan(text.lastIndexOf(HIDE));
    expect(text.includes('AQ_ABORTED') || times === 2).toBe(true);
  });
});
