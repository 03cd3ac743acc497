/** A job in shares, and the shares joined, through the functions and the command line. */
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  ConfigurationError,
  MetadataError,
  ModelNotFoundError,
  merge,
  type ProgressEvent,
  plan,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT, runCli } from './helpers/cli.js';
import { tempDir } from './helpers/temp.js';
import { hashes } from './helpers/tree.js';

/** With a time path whose layers have tables, and a first block that is protected. */
const MODEL = path.join(ROOT, 'examples/digits-dit');
const manifest = (folder: string) => JSON.parse(readFileSync(path.join(folder, 'arrow-quant.json'), 'utf8'));

async function makeShares(folder: string, count: number, modelPath = MODEL): Promise<string[]> {
  const shares: string[] = [];
  for (let number = 1; number <= count; number += 1) {
    const outputPath = path.join(folder, `share-${number}`);
    await quantizeDiffusionModel({ modelPath, outputPath, partition: `${number}/${count}` });
    shares.push(outputPath);
  }
  return shares;
}

describe('merge', () => {
  test('the output of a single job, its page and its result included', async () => {
    const folder = tempDir();
    const [single, joined] = [path.join(folder, 'single'), path.join(folder, 'joined')];
    const alone = await quantizeDiffusionModel({ modelPath: MODEL, outputPath: single });
    const shares = await makeShares(folder, 3);
    const events: ProgressEvent[] = [];
    const result = await merge({ shares: shares.toReversed(), outputPath: joined, onProgress: (e) => events.push(e) });
    expect(hashes(joined)).toEqual(hashes(single));
    expect(manifest(joined)).toEqual(manifest(single));
    expect(result).toMatchObject({
      modelPath: MODEL,
      quantizedPath: joined,
      layers: alone.layers,
      skipped: alone.skipped,
    });
    expect(result.reportPath).toBe(path.join(joined, 'arrow-quant/report.html'));
    expect(events.at(-1)).toMatchObject({ final: true, fraction: 1, layersDone: alone.layers.length });
  });

  test('a share holds its own tensors alone, and no page', async () => {
    const folder = tempDir();
    const shares = await makeShares(folder, 2);
    const names = readdirSync(shares[0] ?? '', { recursive: true, encoding: 'utf8' });
    expect(names.sort()).toEqual([
      'arrow-quant-share.jsonl',
      'arrow-quant-share.tables',
      'transformer',
      'transformer/diffusion_pytorch_model.safetensors.share',
    ]);
    const second = await quantizeDiffusionModel({
      modelPath: MODEL,
      outputPath: path.join(folder, 'again'),
      partition: '2/2',
    });
    expect(second.reportPath).toBe(path.join(folder, 'again/arrow-quant-share.jsonl'));
    expect(hashes(path.join(folder, 'again'))).toEqual(hashes(shares[1] ?? ''));
    const whole = await plan({ modelPath: MODEL });
    expect(second.layers.length).toBeGreaterThan(0);
    expect(second.layers.length).toBeLessThan(whole.layers.length);
    expect(second.originalSizeMb / whole.originalSizeMb).toBeCloseTo(0.5, 1);
    // Nobody opens it by mistake.
    expect(await caught(() => plan({ modelPath: shares[0] ?? '' }))).toBeInstanceOf(ModelNotFoundError);
  });

  test('a model that stands elsewhere by then', async () => {
    const folder = tempDir();
    const { writeModel, ditTensors } = await import('./helpers/models.js');
    const modelPath = writeModel(folder, ditTensors(3, 128));
    const shares = await makeShares(folder, 2, modelPath);
    const moved = path.join(folder, 'moved');
    renameSync(modelPath, moved);
    const outputPath = path.join(folder, 'joined');
    const gone = await caught(() => merge({ shares, outputPath }));
    expect(gone).toMatchObject({ code: 'AQ_MODEL_NOT_FOUND', details: { path: modelPath } });
    expect(await merge({ shares, outputPath, modelPath: moved })).toMatchObject({ modelPath: moved });
  });

  test('lost and doubled shares are named', async () => {
    const folder = tempDir();
    const shares = await makeShares(folder, 3);
    const outputPath = path.join(folder, 'joined');
    const lost = await caught(() => merge({ shares: shares.slice(0, 2), outputPath }));
    expect(lost).toBeInstanceOf(ModelNotFoundError);
    expect(lost).toMatchObject({
      message: expect.stringContaining('share 3/3 of this partition does not exist'),
      hint: 'Run that share again.',
      details: { what: 'share' },
    });
    const twice = await caught(() => merge({ shares: [...shares, shares[0] ?? ''], outputPath }));
    expect(twice).toMatchObject({ issues: [{ path: 'shares[3]', expected: 'each folder once' }] });
    const copy = path.join(folder, 'copy');
    cpSync(shares[0] ?? '', copy, { recursive: true });
    const doubled = await caught(() => merge({ shares: [...shares, copy], outputPath }));
    expect(doubled).toBeInstanceOf(MetadataError);
    expect(doubled).toMatchObject({
      message: expect.stringMatching(/share-1.* disagree about which of them is share 1\/3/),
      hint: 'Take index, shards and shares from the same export.',
      details: { problem: 'contradiction' },
    });
    const cut = path.join(copy, 'transformer/diffusion_pytorch_model.safetensors.share');
    truncateSync(cut, 1000);
    const damaged = await caught(() => merge({ shares: [copy, ...shares.slice(1)], outputPath }));
    expect(damaged).toMatchObject({ code: 'AQ_CORRUPT_MODEL', hint: 'Run that share again.' });
    expect(existsSync(outputPath)).toBe(false);
  });

  test.each([
    [{}, ['shares', 'outputPath']],
    [{ shares: [], outputPath: 'x' }, ['shares']],
    [{ shares: 'a', outputPath: 'x' }, ['shares']],
    [{ shares: ['a', 3], outputPath: 'x' }, ['shares[1]']],
    [{ shares: ['a'], outputPath: 'x', bitWidth: 4 }, ['bitWidth']],
  ])('%j is refused', async (options, paths) => {
    const error = await caught(() => merge(options as never));
    expect(error).toBeInstanceOf(ConfigurationError);
    expect((error as ConfigurationError).issues.map((issue) => issue.path)).toEqual(paths);
  });
});

describe('partition', () => {
  test('a plan is of the whole job, and several layouts have no shares', async () => {
    const planned = await caught(() => plan({ modelPath: MODEL, partition: '1/2' }));
    expect(planned).toMatchObject({ issues: [{ path: 'partition' }] });
    const job = { modelPath: MODEL, outputPath: path.join(tempDir(), 'out') };
    const several = await caught(() => quantizeDiffusionModel({ ...job, partition: '1/2', layout: ['sdnq', 'gguf'] }));
    expect(several).toMatchObject({
      issues: [{ path: 'partition', expected: 'not together with several layouts', received: '"1/2" (string)' }],
    });
  });
});

describe('the command line', () => {
  test('quantize --partition says what comes next, merge joins', async () => {
    const folder = tempDir();
    const [one, two, joined] = ['1', '2', 'joined'].map((name) => path.join(folder, name)) as [string, string, string];
    const first = await runCli(['quantize', MODEL, '-o', one, '--partition', '1/2', '--bit-width', '8']);
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toContain('1/2; when all are done: arrow-quant merge SHARE... -o FOLDER');
    const early = await runCli(['merge', one, '-o', joined]);
    expect(early).toMatchObject({ code: 20, stdout: '' });
    expect(early.stderr).toContain('share 2/2 of this partition does not exist');
    expect((await runCli(['quantize', MODEL, '-o', two, '--partition', '2/2', '--bit-width', '8'])).code).toBe(0);
    const { code, stdout } = await runCli(['merge', one, two, '-o', joined, '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ report: { quantizedPath: joined, bitWidth: 8, modelPath: MODEL } });
    const again = await runCli(['merge', one, two, '-o', joined]);
    expect(again).toMatchObject({ code: 2 });
    expect((await runCli(['merge', one, two, '-o', joined, '--overwrite'])).stdout).toContain('arrow-quant validate');
  });
});
