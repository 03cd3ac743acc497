/** Option files from anywhere: each ends in a configuration or in a typed error that is fit to be shown, soon and with little memory. */
import { Buffer } from 'node:buffer';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ConfigurationError, DiffusionQuantConfig } from '../src-ts/index.js';
import { expectRefusal } from './helpers/refusal.js';
import { tempDir } from './helpers/temp.js';

const FILES = 2_000;
const MOST_MS = 5_000;
const MOST_BYTES = 300 * 2 ** 20;

const SOUND = [
  '# job\nbitWidth: 4\ngroupSize: 64\nskipLayers: [proj_out, "blocks.0.*"]\nlayerBitWidths: { "a.*": 16, b: 8 }\n',
  'skipLayers: &names\n  - proj_out\n  - x_embedder\ncomponents: *names\nmodality: image # detected otherwise\n',
  'method: >-\n  auto\nlayout:\n  - sdnq\n  - gguf\nminAccuracy: .5e0\noverwrite: true\ntimeoutMs: 0x10\n',
  '{"bitWidth": 8, "numThreads": 2, "layerBitWidths": {"proj_out": 16}, "device": "cuda:0", "targetModelSizeMb": 12.5}',
  '%YAML 1.1\n---\nbitWidth: !!int "4"\noverwrite: yes\nmodality: !!str image\nplainDtype: "\\x66\\u0031\\\n  6"\n...\n',
];

const WORDS = [
  ...['[', ']', '{', '}', ': ', '- ', '? ', ',', '"', "'", '|\n', '>\n', '#', '---\n', '...\n', '\t', '\n', '\r', '  '],
  ...[
    '&a ',
    '*a',
    '*names',
    '<<: *names\n',
    '!!binary "AAAA"',
    '!!js/function "x"',
    '!<tag:yaml.org,2002:map>',
    '%TAG ! tag:x,1:',
  ],
  ...['9'.repeat(400), '1e999', '-0', '.nan', '-.inf', '0o777', '0xffffffffffffffffffff', '190:20:30', '2001-12-14'],
  ...[
    'null',
    '~',
    'true',
    '"\\u0000"',
    '"\\x1b[31m"',
    '__proto__: 1\n',
    'bitWidth: 4\n',
    'constructor',
    '\0',
    '\u{feff}',
    '\u202e',
    '\u2028',
  ],
];
/** No text in UTF-8, and a mark of UTF-16. */
const BYTES = [[0xff, 0xfe], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80], [0xef, 0xbb, 0xbf]];

/** The same numbers below `n` in every run (mulberry32). */
function numbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

/** A sound file with up to four changes. */
function mutated(below: (n: number) => number): Buffer {
  const one = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  let bytes = Buffer.from(one(SOUND));
  for (let changes = below(4); changes >= 0; changes -= 1) {
    const at = below(bytes.length + 1);
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    const cut = after.subarray(below(Math.min(after.length, 24) + 1));
    const put = (piece: Buffer | string) => Buffer.concat([before, Buffer.from(piece as string), cut]);
    const changed = [
      () => put(Buffer.from([below(256)])),
      () => put(one(WORDS)),
      () => put(one(WORDS).repeat(1 + below(200))),
      () => put(Buffer.from(one(BYTES))),
      () => put(''),
      () => before,
      () => Buffer.concat([before, after.subarray(0, 64), after]),
      () => put(Buffer.from(one(SOUND))),
    ];
    bytes = one(changed)();
  }
  return bytes;
}

/** Lists and records in each other, closed. */
const nested = (open: string, close: string) => (size: number) => {
  const depth = size / (open.length + close.length);
  return `a: ${open.repeat(depth)}${close.repeat(depth)}\n`;
};
/** Lines, of which each may tell its number. */
const lines = (line: (i: number) => string) => (size: number) => {
  let text = '';
  for (let i = 0; text.length < size; i += 1) text += `${line(i)}\n`;
  return text;
};

/** Files of any size, and what reading costs may grow faster. */
const GROWING: Readonly<Record<string, (size: number) => string>> = {
  lists: nested('[', ']'),
  records: nested('{', '}'),
  'lists in records': nested('{b: [', ']}'),
  'records as keys': nested('? {', '}'),
  'lists in lines': lines((i) => `${' '.repeat(i)}-`),
  'records in lines': lines((i) => `${' '.repeat(i)}b:`),
  keys: lines((i) => `k${i}: 1`),
  'the same key': lines(() => 'k: 1'),
  aliases: lines((i) => (i === 0 ? 'k: &a 1' : `k${i}: *a`)),
  anchors: lines((i) => `k${i}: &a${i} [1]`),
  digits: (size) => `bitWidth: ${'9'.repeat(size)}`,
  'a long key': (size) => `? ${'k'.repeat(size)}\n: 1`,
  documents: lines(() => 'bitWidth: 4\n---'),
  comments: lines(() => '# comment'),
  // Each holds ten times the one before.
  laughs: lines((i) => (i === 0 ? 'k0: &a0 [x]' : `k${i}: &a${i} [${`*a${i - 1},`.repeat(10)}]`)),
};
/** Signs that may stand one after another without end. */
const SIGNS = [
  ...[
    '[',
    '{',
    ']',
    '}',
    ',',
    '- ',
    '? ',
    ': ',
    'a: ',
    '&a ',
    '*a ',
    '!!x ',
    '!<a> ',
    '"',
    "'",
    '|\n',
    '>\n\n',
    '#',
    '%',
    '\n',
    '\t',
    ' ',
  ],
  ...[
    '---\n',
    '...\n',
    '{a: ',
    '[a,',
    '[]:',
    '{}:',
    '<<: ',
    '[\n',
    '{\n',
    '"\n',
    '-\n',
    '?\n',
    ':\n',
    'a\n',
    'x',
    '\r',
    '%a\n',
    '? a\n: b\n',
  ],
];

/** Reads a file of these bytes; whether it was a configuration. */
function read(file: string, bytes: Uint8Array | string): boolean {
  writeFileSync(file, bytes);
  const begun = performance.now();
  try {
    DiffusionQuantConfig.fromYaml(file);
    return true;
  } catch (error) {
    expectRefusal(error);
    return false;
  } finally {
    expect(performance.now() - begun).toBeLessThan(MOST_MS);
  }
}

/** Runs and tells by how many bytes the most that the process has ever held has grown. */
function growthOf(work: () => void): number {
  const before = process.resourceUsage().maxRSS;
  work();
  return (process.resourceUsage().maxRSS - before) * 1024;
}

test(`${FILES} changed files`, { timeout: 300_000 }, () => {
  const file = path.join(tempDir(), 'quant.yaml');
  const below = numbers(1);
  let sound = 0;
  const growth = growthOf(() => {
    for (let i = 0; i < FILES; i += 1) sound += Number(read(file, mutated(below)));
  });
  // Few changes do no harm; that some do not shows that the changes are small enough to get deep.
  expect(sound).toBeGreaterThan(FILES / 50);
  expect(sound).toBeLessThan(FILES / 2);
  expect(growth).toBeLessThan(MOST_BYTES);
});

describe('files that grow', { timeout: 300_000 }, () => {
  // As far as a stack goes, as far as a file may, and beyond.
  const SIZES = [100, 800, 4_000, 30_000, 250_000, 300_000];
  test.each(Object.keys(GROWING))('%s', (name) => {
    const file = path.join(tempDir(), 'quant.yaml');
    const grown = GROWING[name] as (size: number) => string;
    const growth = growthOf(() => {
      for (const size of SIZES) read(file, grown(size));
    });
    expect(growth).toBeLessThan(MOST_BYTES);
  });
  test('one sign again and again', () => {
    const file = path.join(tempDir(), 'quant.yaml');
    const growth = growthOf(() => {
      for (const sign of SIGNS) {
        read(file, sign.repeat(250_000 / sign.length));
        for (const text of ['a: ', 'a: [', 'a: "']) read(file, text + sign.repeat(20_000 / sign.length));
      }
    });
    expect(growth).toBeLessThan(MOST_BYTES);
  });
});

describe('what is refused, and where', () => {
  const DEEP = `bitWidth: 4\na: ${'['.repeat(40)}${']'.repeat(40)}`;
  test.each([
    ['nesting', DEEP, 'lists and records at most 32 deep', 2],
    ['aliases', `a: &a 1\n${'b: *a\n'.repeat(101)}`, 'at most 100 aliases', 102],
    ['tokens', `a:\n- [${'1,'.repeat(20_000)}]`, 'at most 32768 words and signs', 2],
    ['a key that is a list', '? [a]\n: 1', 'valid YAML', 1],
  ])('%s', (_, text, expected, line) => {
    const file = path.join(tempDir(), 'quant.yaml');
    writeFileSync(file, text);
    const issues = issuesOf(() => DiffusionQuantConfig.fromYaml(file));
    expect(issues).toMatchObject([{ expected, source: 'file' }]);
    expect(issues[0]?.path).toContain(`${file}:${line}:`);
  });
  test.each([
    ['a YAML file of at most 262144 bytes', Buffer.alloc(256 * 1024 + 1, '#')],
    ['a YAML file in UTF-8', Buffer.from('\ufeffbitWidth: 4', 'utf16le')],
  ])('%s', (expected, bytes) => {
    const file = path.join(tempDir(), 'quant.yaml');
    writeFileSync(file, bytes);
    expect(issuesOf(() => DiffusionQuantConfig.fromYaml(file))).toMatchObject([{ path: file, expected }]);
  });
  test.skipIf(process.platform === 'win32')('a device without an end', () => {
    expect(issuesOf(() => DiffusionQuantConfig.fromYaml('/dev/zero'))).toMatchObject([{ received: 'more' }]);
  });
  test('as much as a file may be is read', () => {
    const file = path.join(tempDir(), 'quant.yaml');
    const names = Array.from({ length: 4_000 }, (_, i) => `transformer_blocks.${i}.attn.to_q`);
    writeFileSync(file, `layerBitWidths:\n${names.map((name) => `  ${name}: 8\n`).join('')}skipLayers: &a [x]\n`);
    expect(Object.keys(DiffusionQuantConfig.fromYaml(file).layerBitWidths)).toEqual(names);
  });
});

function issuesOf(call: () => unknown): ConfigurationError['issues'] {
  try {
    call();
  } catch (error) {
    expectRefusal(error);
    return (error as ConfigurationError).issues;
  }
  expect.fail('nothing was refused');
}
