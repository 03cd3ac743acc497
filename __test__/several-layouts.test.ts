/** Several layouts in one job, through the functions and the command line. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  ArrowQuantV2,
  compare,
  DiffusionQuantConfig,
  exportModel,
  openQuantizedModel,
  type QuantizationResult,
  quantizeDiffusionModel,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { runCli } from './helpers/cli.js';
import { ditTensors, writeFlux, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const UNKNOWN = "'auto' or layout names";

/** A folder with a model, and where its output goes. */
function bench() {
  const folder = tempDir();
  return { folder, modelPath: writeModel(folder, ditTensors(2, 256)), outputPath: path.join(folder, 'out') };
}

/** What a result says but for where and when. */
function lasting({ quantizedPath, manifestPath, reportPath, quantizationTimeS, ...rest }: Partial<QuantizationResult>) {
  return { ...rest, compressionRatio: rest.compressionRatio?.toFixed(9) };
}

describe('a list', () => {
  test('a folder for each, which is what it would be alone; the result is that of the first', async () => {
    const { folder, modelPath, outputPath } = bench();
    const layout = ['sdnq', 'gguf', 'parquet', 'plain'] as const;
    const config = { bitWidth: 4, minAccuracy: 0 } as const;
    const result = await quantizeDiffusionModel({ modelPath, outputPath, layout, config });
    expect(readdirSync(outputPath).sort()).toEqual([...layout].sort());
    const { outputs = [], ...first } = result;
    expect(outputs.map((output) => output.layout)).toEqual(layout);
    expect(outputs.map(({ quantizedPath }) => quantizedPath)).toEqual(
      layout.map((name) => path.join(outputPath, name)),
    );
    expect(outputs.map(({ resolvedConfig }) => resolvedConfig.layout)).toEqual(layout);
    expect(first.quantizedPath).toBe(outputPath);
    expect(first.manifestPath).toBe(path.join(outputPath, 'sdnq/arrow-quant.json'));
    expect(lasting(first)).toEqual(lasting(outputs[0] ?? {}));
    for (const output of outputs) {
      expect(output).not.toHaveProperty('outputs');
      const alone = path.join(folder, `${output.layout}-alone`);
      const single = await quantizeDiffusionModel({ modelPath, outputPath: alone, layout: output.layout, config });
      expect(single).not.toHaveProperty('outputs');
      expect(lasting(output), output.layout).toEqual(lasting(single));
      const written = hashes(path.join(outputPath, output.layout));
      const wanted = hashes(alone);
      expect(Object.keys(written), output.layout).toEqual(Object.keys(wanted));
      const { 'config.json': _, ...weights } = wanted;
      expect(written, output.layout).toMatchObject(weights);
      const json = (at: string) => JSON.parse(readFileSync(path.join(at, 'config.json'), 'utf8'));
      expect(json(path.join(outputPath, output.layout)), output.layout).toEqual(json(alone));
    }
    const [sdnq, parquet] = [path.join(outputPath, 'sdnq'), path.join(outputPath, 'parquet')];
    const { cosineSimilarity, layers } = await compare(sdnq, parquet);
    expect([cosineSimilarity, layers.every(({ maxAbsError }) => maxAbsError === 0)]).toEqual([1, true]);
  });

  test('of one is a list, and a method of the class takes one', async () => {
    const { modelPath, outputPath } = bench();
    const quantizer = new ArrowQuantV2({ mode: 'diffusion' });
    const config = { layout: ['compressed-tensors'], minAccuracy: 0 } as const;
    const result = await quantizer.quantizeDiffusionModel(modelPath, outputPath, config);
    expect(readdirSync(outputPath)).toEqual(['compressed-tensors']);
    expect(result).toMatchObject({ layout: 'compressed-tensors', outputs: [{ layout: 'compressed-tensors' }] });
  });

  test('options of one layout are for that one, and warnings stand where they belong', async () => {
    const { modelPath, outputPath } = bench();
    const { outputs = [] } = await quantizeDiffusionModel({
      modelPath,
      outputPath,
      layout: ['sdnq', 'plain', 'gguf'],
      config: { plainDtype: 'bf16', ggufNames: 'diffusers', groupSize: 32, minAccuracy: 0 },
    });
    expect(outputs.map(({ resolvedConfig }) => [resolvedConfig.plainDtype, resolvedConfig.ggufNames])).toEqual([
      [undefined, undefined],
      ['bf16', undefined],
      [undefined, 'diffusers'],
    ]);
    const [layer] = (await openQuantizedModel(path.join(outputPath, 'plain'))).layers;
    expect(layer?.dtype).toBe('BF16');
    expect(outputs.map(({ warnings }) => warnings.map(({ code, details }) => [code, details]))).toEqual([
      [],
      [],
      [['AQ_WARN_NO_EFFECT', { option: 'groupSize' }]],
    ]);
  });

  test('the width that a kind of GGUF file stands for is that of all', async () => {
    const { modelPath, outputPath } = bench();
    const { outputs = [] } = await quantizeDiffusionModel({
      modelPath,
      outputPath,
      layout: ['sdnq', 'gguf'],
      config: { ggufType: 'Q3_K_M', protectBlocks: 'none', minAccuracy: 0 },
    });
    expect(outputs.map(({ resolvedConfig }) => [resolvedConfig.bitWidth, resolvedConfig.ggufType])).toEqual([
      [2, undefined],
      [2, 'Q3_K_M'],
    ]);
    const types = outputs.map(({ layers }) => new Set(layers.map(({ scheme }) => scheme.blockType)));
    expect(types).toEqual([new Set([undefined]), new Set(['Q3_K'])]);
  });

  test('what is joined and renamed for one is as it was in the other', async () => {
    const folder = tempDir();
    const outputPath = path.join(folder, 'out');
    const result = await quantizeDiffusionModel({
      modelPath: writeFlux(folder),
      outputPath,
      layout: ['comfyui', 'sdnq'],
      config: { bitWidth: 8, minAccuracy: 0 },
    });
    expect(
      result.outputs?.map(({ layers }) => layers.filter(({ writtenAs }) => writtenAs !== undefined).length),
    ).toEqual([result.layers.length, 0]);
    const [comfyui, sdnq] = [
      await openQuantizedModel(path.join(outputPath, 'comfyui')),
      await openQuantizedModel(path.join(outputPath, 'sdnq')),
    ];
    const joined = await comfyui.dequantize('double_blocks.0.img_attn.qkv', { firstRow: 256, rows: 256 });
    const single = await sdnq.dequantize('transformer_blocks.0.attn.to_k');
    const [off, size] = [joined.map((value, i) => value - (single[i] ?? 0)), joined].map((values) =>
      Math.hypot(...values),
    );
    expect((off ?? 1) / (size ?? 1)).toBeLessThan(0.02);
  });
});

describe('refused', () => {
  const CASES = [
    [[], UNKNOWN, 'array of length 0'],
    [['auto', 'sdnq'], UNKNOWN, 'array of length 2'],
    [['sdnq', 'sdnq'], UNKNOWN, 'array of length 2'],
    [['sdnq', 'onnx'], UNKNOWN, 'array of length 2'],
    [['sdnq', 4], UNKNOWN, 'array of length 2'],
    [['sdnq', ['gguf']], UNKNOWN, 'array of length 2'],
    [new Array(7).fill('sdnq'), UNKNOWN, 'array of length 7'],
    ['sdnq,gguf', UNKNOWN, '"sdnq,gguf" (string)'],
  ] as const;

  test.each(CASES)('layout %j', async (layout, expected, received) => {
    const { folder, modelPath, outputPath } = bench();
    const before = listing(folder);
    const options = { modelPath, outputPath, layout: layout as never };
    const error = await caught(() => quantizeDiffusionModel(options));
    expect(error).toMatchObject({ code: 'AQ_INVALID_CONFIG', issues: [{ path: 'layout', expected, received }] });
    expect(error.message).toContain(`Invalid option layout: expected ${expected}, received ${received}.`);
    expect(error.hint).toContain('comfyui');
    expect(listing(folder)).toEqual(before);
  });

  test.each([
    [{ plainDtype: 'f16' }, 'plainDtype', "to be given only with layout 'plain'"],
    [{ ggufNames: 'original' }, 'ggufNames', "to be given only with layout 'gguf'"],
    [{ ggufType: 'Q6_K' }, 'ggufType', "to be given only with layout 'gguf'"],
  ] as const)('%j without its layout in the list', async (more, at, expected) => {
    const { modelPath, outputPath } = bench();
    const layout = ['sdnq', 'parquet'] as const;
    const error = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, layout, ...more }));
    expect(error).toMatchObject({ code: 'AQ_INVALID_CONFIG', issues: [{ path: at, expected }] });
  });

  test('where one layout is, nothing of the others is left', async () => {
    const { folder, modelPath, outputPath } = bench();
    const before = listing(folder);
    const layout = ['sdnq', 'comfyui'] as const;
    const error = await caught(() => quantizeDiffusionModel({ modelPath, outputPath, layout }));
    expect(error).toMatchObject({
      code: 'AQ_INVALID_CONFIG',
      issues: [{ path: 'layout', received: '"comfyui" (string)' }],
    });
    expect(error.message).toContain('original names are known for flux');
    expect(listing(folder)).toEqual(before);
  });

  test('an output that exists, unless it is to be replaced with all that is in it', async () => {
    const { modelPath, outputPath } = bench();
    const job = { modelPath, outputPath, minAccuracy: 0 };
    await quantizeDiffusionModel({ ...job, layout: ['sdnq', 'gguf'] });
    const error = await caught(() => quantizeDiffusionModel({ ...job, layout: ['plain'] }));
    expect(error).toMatchObject({ code: 'AQ_OUTPUT_EXISTS' });
    await quantizeDiffusionModel({ ...job, layout: ['plain'], overwrite: true });
    expect(readdirSync(outputPath)).toEqual(['plain']);
  });

  test('exportModel takes one', async () => {
    const { folder, modelPath, outputPath } = bench();
    await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0 });
    const to = path.join(folder, 'exported');
    for (const layout of [['plain'], ['sdnq', 'plain']]) {
      const error = await caught(() => exportModel({ from: outputPath, to, layout: layout as never }));
      const received = `array of length ${layout.length}`;
      expect(error).toMatchObject({ issues: [{ path: 'layout', expected: 'a layout name', received }] });
    }
    const args = ['export', outputPath, '-o', to, '--layout', 'sdnq,plain'];
    const { code, stdout, stderr } = await runCli(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('layout  expected a layout name, received array of length 2');
    expect(readdirSync(folder)).not.toContain('exported');
  });
});

test('what was interrupted is gone on with, and ends as if it had not been', async () => {
  const folder = tempDir();
  const [modelPath, outputPath] = [writeModel(folder, ditTensors(24, 512)), path.join(folder, 'out')];
  const job = { modelPath, layout: ['gguf', 'sdnq', 'plain'], minAccuracy: 0 } as const;
  const whole = path.join(folder, 'whole');
  await quantizeDiffusionModel({ ...job, outputPath: whole });
  const controller = new AbortController();
  const onProgress = ({ layersDone }: { layersDone: number }) => {
    if (layersDone >= 30) controller.abort(); // in the second of the three
  };
  const { signal } = controller;
  const error = await caught(() => quantizeDiffusionModel({ ...job, outputPath, resume: true, onProgress, signal }));
  expect(error).toMatchObject({ code: 'AQ_ABORTED' });
  expect(readdirSync(folder)).not.toContain('out');
  const other = { ...job, layout: ['sdnq', 'gguf', 'plain'] } as const;
  expect(await caught(() => quantizeDiffusionModel({ ...other, outputPath, resume: true }))).toMatchObject({
    code: 'AQ_RESUME_MISMATCH',
  });
  const resumed = await quantizeDiffusionModel({ ...job, outputPath, resume: true });
  expect(resumed.warnings.map(({ code }) => code)).toEqual(['AQ_WARN_RESUMED']);
  expect(hashes(outputPath)).toEqual(hashes(whole));
});

describe('the command line', () => {
  const config = ['--min-accuracy', '0', '--quiet'];

  test.each([
    ['a flag', ['--layout', 'sdnq,plain'], {}],
    ['a flag, repeated', ['--layout', 'sdnq', '--layout', 'plain'], {}],
    ['a variable', [], { ARROW_QUANT_LAYOUT: 'sdnq,plain' }],
    ['a flag over a variable', ['--layout', 'sdnq,plain'], { ARROW_QUANT_LAYOUT: 'gguf,parquet' }],
  ] as const)('%s, as JSON', async (_, flags, env) => {
    const { modelPath, outputPath } = bench();
    const args = ['quantize', modelPath, '-o', outputPath, ...flags, ...config, '--json'];
    const { code, stdout, stderr } = await runCli(args, { env });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    const { ok, report } = JSON.parse(stdout);
    expect(ok).toBe(true);
    expect(readdirSync(outputPath).sort()).toEqual(['plain', 'sdnq']);
    expect(report).toMatchObject({ quantizedPath: outputPath, layout: 'sdnq' });
    expect(report.outputs).toMatchObject([
      { layout: 'sdnq', quantizedPath: path.join(outputPath, 'sdnq'), resolvedConfig: { layout: 'sdnq' } },
      { layout: 'plain', quantizedPath: path.join(outputPath, 'plain'), resolvedConfig: { plainDtype: 'f32' } },
    ]);
  });

  test('for people: both names and both sizes', async () => {
    const { modelPath, outputPath } = bench();
    const { code, stdout } = await runCli([
      'quantize',
      modelPath,
      '-o',
      outputPath,
      '--layout',
      'sdnq,gguf',
      ...config,
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/layout +sdnq, gguf, image/);
    expect(stdout).toMatch(/size +sdnq [\d.]+ MB, [\d.]+ times smaller; gguf [\d.]+ MB, [\d.]+ times smaller/);
  });

  test.each([
    ['sdnq,auto', 'array of length 2'],
    ['sdnq,', 'array of length 2'],
    ['sdnq,sdnq', 'array of length 2'],
    ['onnx', '"onnx" (string)'],
  ])('--layout %s exits with 2', async (layout, received) => {
    const { modelPath, outputPath } = bench();
    const { code, stdout, stderr } = await runCli(['quantize', modelPath, '-o', outputPath, '--layout', layout]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(`--layout  expected ${UNKNOWN}, received ${received}`);
  });

  test('--help of quantize tells of lists, that of export does not', async () => {
    const [quantize, exported] = [await runCli(['quantize', '--help']), await runCli(['export', '--help'])];
    expect(quantize.stdout.replaceAll(/\s+/g, ' ')).toMatch(/--layout <names> auto, sdnq, .* get a folder each/);
    expect(quantize.stdout).toContain('--layout sdnq,gguf');
    expect(exported.stdout.replaceAll(/\s+/g, ' ')).toMatch(/--layout <name> sdnq, [\w, -]+plain; required/);
  });
});

describe('a configuration', () => {
  afterEach(() => void vi.unstubAllEnvs());

  test('has lists from the environment and keeps them', () => {
    vi.stubEnv('ARROW_QUANT_LAYOUT', 'sdnq,gguf');
    const { layout } = DiffusionQuantConfig.fromEnv();
    expect(layout).toEqual(['sdnq', 'gguf']);
    expect(Object.isFrozen(layout)).toBe(true);
    vi.stubEnv('ARROW_QUANT_LAYOUT', 'plain');
    expect(DiffusionQuantConfig.fromEnv().layout).toBe('plain');
    expect(new DiffusionQuantConfig({ layout: ['parquet'] }).toJSON()).toMatchObject({ layout: ['parquet'] });
  });

  test.each(['sdnq,,gguf', 'sdnq,auto', ' sdnq,gguf', ','])('refuses %j there', async (text) => {
    vi.stubEnv('ARROW_QUANT_LAYOUT', text);
    const issue = { path: 'env.ARROW_QUANT_LAYOUT', expected: UNKNOWN, source: 'env' };
    const error = await caught(() => DiffusionQuantConfig.fromEnv());
    expect(error).toMatchObject({ code: 'AQ_INVALID_CONFIG', issues: [issue] });
  });

  test('has lists from YAML, and each of its functions refuses wrong ones', async () => {
    const file = path.join(tempDir(), 'options.yaml');
    writeFileSync(file, 'layout: [sdnq, parquet]\n');
    expect(DiffusionQuantConfig.fromYaml(file).layout).toEqual(['sdnq', 'parquet']);
    writeFileSync(file, 'layout: [sdnq, sdnq]\n');
    expect(await caught(() => DiffusionQuantConfig.fromYaml(file))).toMatchObject({
      code: 'AQ_INVALID_CONFIG',
      issues: [{ expected: UNKNOWN, source: 'file' }],
    });
  });
});
