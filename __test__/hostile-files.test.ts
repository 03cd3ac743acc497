/** Weight files cut short, flipped bit by bit, or full of names that act; and files that are no files. */
import { readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type ErrorCode, inspect, MetadataError, quantizeDiffusionModel, renderErrorHtml } from '../src-ts/index.js';
import { fifo, WEIGHTS } from './helpers/bad-models.js';
import { caught } from './helpers/caught.js';
import { runCli } from './helpers/cli.js';
import { outcomeOf } from './helpers/fault.js';
import { ACTS } from './helpers/hostile.js';
import { ditTensors, gaussian, writeModel } from './helpers/models.js';
import { encode, f32, printOf, readTensors } from './helpers/safetensors.js';
import { sample } from './helpers/sample.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';
import { within } from './helpers/within.js';

const LONG = { timeout: 600_000 };

describe('a file of three small tensors', () => {
  const TENSORS = {
    'transformer_blocks.0.ff.weight': f32([4, 16], gaussian(64, 1)),
    'transformer_blocks.0.norm.bias': f32([4], gaussian(4, 2)),
    'transformer_blocks.1.ff.weight': f32([16, 8], gaussian(128, 3)),
  };
  const GOOD = encode(TENSORS, { format: 'pt' });
  const HEADER = 8 + Number(GOOD.readBigUInt64LE());

  /** A model whose weight file can be written again and again. */
  function bench() {
    const folder = tempDir();
    const modelPath = writeModel(folder, TENSORS);
    const outputPath = path.join(folder, 'out');
    const before = listing(folder);
    const config = { minAccuracy: 0, numThreads: 1, protectBlocks: 'none' } as const;
    return async (bytes: Uint8Array) => {
      writeFileSync(path.join(modelPath, WEIGHTS), bytes);
      const outcome = await outcomeOf(() => quantizeDiffusionModel({ modelPath, outputPath, config }));
      const made =
        outcome.error === undefined
          ? Object.values(readTensors(path.join(outputPath, WEIGHTS)))
              .map(printOf)
              .sort()
          : [];
      rmSync(outputPath, { recursive: true, force: true });
      expect(listing(folder)).toEqual(before);
      return { error: outcome.error, made };
    };
  }

  test('cut at every length', LONG, async () => {
    const run = bench();
    expect((await run(GOOD)).error).toBeUndefined();
    const lengths = Array.from({ length: GOOD.length }, (_, length) => length);
    for (const length of sample(lengths, 300)) {
      const { error } = await run(GOOD.subarray(0, length));
      expect(error, `${length} bytes`).toBeInstanceOf(MetadataError);
      expect(error, `${length} bytes`).toMatchObject({ code: 'AQ_CORRUPT_MODEL' });
    }
  });

  test('every byte of its header, flipped', LONG, async () => {
    const run = bench();
    const { made: wanted } = await run(GOOD);
    const codes: readonly ErrorCode[] = [
      'AQ_CORRUPT_MODEL',
      'AQ_UNSUPPORTED_DTYPE',
      'AQ_METADATA',
      'AQ_UNKNOWN_MODALITY',
      'AQ_QUANTIZATION_FAILED',
      'AQ_NON_FINITE_WEIGHTS',
    ];
    // A byte of a name makes another name, under which the tensor may be left as it is; its data must be the same.
    const carried = new Set(Object.values(TENSORS).map(printOf));
    const seen = { success: 0, renamed: 0, failure: 0 };
    const flips = [() => 0, () => 0xff, (byte: number) => byte ^ 1];
    const cases = Array.from({ length: HEADER }, (_, at) => flips.map((flip) => ({ at, flip }))).flat();
    for (const { at, flip } of sample(cases, 300)) {
      const bytes = Buffer.from(GOOD);
      const was = bytes[at] ?? 0;
      bytes[at] = flip(was);
      const context = `byte ${at}: ${was} is now ${bytes[at]}`;
      const { error, made } = await run(bytes);
      if (error !== undefined) {
        expect(codes, `${context}: ${error.message}`).toContain(error.code);
        expect(error.message, context).not.toMatch(ACTS);
        seen.failure += bytes[at] === was ? Number.NaN : 1;
        continue;
      }
      const others = made.filter((one) => !wanted.includes(one));
      for (const one of others) expect(carried, context).toContain(one);
      seen[others.length === 0 ? 'success' : 'renamed'] += 1;
      if (others.length === 0) expect(made, context).toEqual(wanted);
    }
    // Names make both; a sample without either would prove little.
    expect(seen).toMatchObject({ success: expect.any(Number), failure: expect.any(Number) });
    expect(Math.min(seen.success, seen.failure)).toBeGreaterThan(5);
  });
});

describe('tensors named', () => {
  const NAMES: readonly (readonly [string, string])[] = [
    ['with terminal sequences', '\u001b[2J\u001b]0;owned\u0007\u009b31m'],
    ['from right to left', '\u202eevil\u2066\u200b\ufeff'],
    ['as markup', '</section><img src=x onerror="alert(1)">'],
    ['__proto__', '__proto__'],
    ['constructor.prototype', 'constructor.prototype'],
    ['with a megabyte', 'x'.repeat(1 << 20)],
  ];

  test.each(NAMES)('%s: carried over exactly, and nothing raw in what people see', async (_, name) => {
    const folder = tempDir();
    const prototype = Reflect.ownKeys(Object.prototype);
    const other = `blocks.0.${name}`;
    const good = { ...ditTensors(2, 64), [`${other}.weight`]: f32([64, 64], gaussian(4096)) };
    // Computed, so that __proto__ is a name like any other.
    const tensors = { ...good, [name]: f32([4], new Float32Array(4)) };
    const modelPath = writeModel(folder, tensors);
    const outputPath = path.join(folder, 'out');
    const result = await within(1000, () => quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 }));
    const bytes = readFileSync(path.join(outputPath, WEIGHTS));
    const header = bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE()));
    const names = Object.keys(JSON.parse(header));
    expect(names).toContain(name);
    expect(names.filter((one) => one.startsWith(other)).length).toBeGreaterThan(0);
    expect(result.layers.length + result.skipped.length).toBeGreaterThan(2);
    await within(1000, () => inspect(modelPath));

    const bad = writeModel(
      folder,
      { ...tensors, [`${other}.weight`]: f32([64, 64], new Float32Array(4096).fill(Number.NaN)) },
      'bad',
    );
    const error = await within(1000, () =>
      caught(() => quantizeDiffusionModel({ modelPath: bad, outputPath: path.join(folder, 'none'), minAccuracy: 0 })),
    );
    expect(error).toMatchObject({ code: 'AQ_NON_FINITE_WEIGHTS' });
    expect(JSON.stringify(error.details)).toContain(JSON.stringify(other).slice(1, -1)); // raw where programs read
    expect(error.message).not.toMatch(ACTS);
    expect(error.message.length).toBeLessThanOrEqual(2000);
    const html = renderErrorHtml(error);
    expect(html).not.toMatch(/<img|<\/section><|onerror="/);
    expect(html.replaceAll('\n', '')).not.toMatch(ACTS);
    expect(Reflect.ownKeys(Object.prototype)).toEqual(prototype);
    expect(listing(folder)).not.toContain('none');

    const { stderr, stdout } = await runCli(['quantize', bad, '-o', path.join(folder, 'none'), '--verbose', '--quiet']);
    expect(stdout).toBe('');
    expect(stderr).toContain('AQ_NON_FINITE_WEIGHTS');
    expect(stderr.replaceAll('\n', '')).not.toMatch(ACTS);
  });
});

describe.skipIf(process.platform === 'win32')('a file that is none', () => {
  const socket = (folder: string) => {
    const file = path.join(folder, 'model.safetensors');
    const server = createServer().listen(file);
    onTestFinished(() => void server.close());
    return file;
  };
  const link = (target: string) => (folder: string) => {
    const file = path.join(folder, 'model.safetensors');
    symlinkSync(target, file);
    return file;
  };
  const KINDS = [
    ['FIFO', fifo],
    ['socket', socket],
    ['/dev/zero', link('/dev/zero')],
    ['/dev/tty-like device', link('/dev/null')],
  ] as const;
  const PLACES = ['model', WEIGHTS, 'config.json', 'metadata.json', 'calibration'] as const;

  describe.each(KINDS)('%s', (_, make) => {
    test.each(PLACES)('as %s: answered within a second', async (place) => {
      const folder = tempDir();
      const special = make(folder);
      await new Promise((resolve) => setImmediate(resolve)); // the socket is there now
      const modelPath = place === 'model' ? special : writeModel(folder, ditTensors(2, 64), 'folder');
      const calibration = path.join(folder, 'c.safetensors');
      if (place !== 'model') moveOver(special, place === 'calibration' ? calibration : path.join(modelPath, place));
      const job = { modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0 };
      const more = place === 'calibration' ? { calibration } : {};
      const error = await within(1000, () => caught(() => quantizeDiffusionModel({ ...job, ...more })));
      expect(error).toMatchObject({ name: 'MetadataError', code: 'AQ_UNSUPPORTED_FORMAT' });
      expect(readdirSync(folder)).not.toContain('out');
      if (place !== 'calibration') {
        expect(await within(1000, () => caught(() => inspect(modelPath)))).toMatchObject({ code: error.code });
      }
    });
    test('beside the files of a model: it is not carried over', async () => {
      const folder = tempDir();
      const special = make(folder);
      await new Promise((resolve) => setImmediate(resolve));
      const modelPath = writeModel(folder, ditTensors(2, 64), 'folder');
      moveOver(special, path.join(modelPath, 'README.md'));
      const outputPath = path.join(folder, 'out');
      await within(1000, () => quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 }));
      expect(readdirSync(outputPath)).not.toContain('README.md');
      expect(readdirSync(outputPath)).toContain('config.json');
    });
  });
});

function moveOver(from: string, to: string): void {
  rmSync(to, { force: true });
  renameSync(from, to);
}
