/** Layouts as files: what one run wrote, opened, compared and exported through the addon. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type ConfigurationError,
  compare,
  DiffusionQuantConfig,
  exportModel,
  inspect,
  type Layout,
  openQuantizedModel,
  type QuantizationError,
  type QuantizedModel,
  quantizeDiffusionModel,
  validateQuality,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import { ditTensors, gaussian, writeFlux, writeModel } from './helpers/models.js';
import { printOf, readTensors } from './helpers/safetensors.js';
import { tempDir } from './helpers/temp.js';

const VERSES = path.join(ROOT, 'testdata/verses-dllm');

async function made(layout: Layout, more = {}): Promise<{ folder: string; modelPath: string; outputPath: string }> {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(2, 256));
  const outputPath = path.join(folder, layout);
  await quantizeDiffusionModel({ modelPath, outputPath, layout, config: { minAccuracy: 0, ...more } });
  return { folder, modelPath, outputPath };
}

/** Values as bytes: thousands of them are compared at once. */
const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);

/** What each tensor of the only safetensors file in a folder is. */
const tensorsOf = (folder: string) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.safetensors'))
    .flatMap((name) => Object.entries(readTensors(path.join(folder, name))))
    .map(([name, tensor]) => `${name} ${printOf(tensor)}`)
    .sort();

/** Any rows of a layer are those of the whole, and the whole is what the plain export holds. */
async function expectSameRows(model: QuantizedModel, plain: QuantizedModel, columns: number): Promise<void> {
  for (const { name } of model.layers.filter(({ layout }) => layout !== null)) {
    const whole = await model.dequantize(name);
    expect(bytes(whole).equals(bytes(await plain.dequantize(`${name}.weight`))), name).toBe(true);
    for (const [firstRow, rows] of [
      [0, 1],
      [3, 7],
      [255, 1],
      [17, 0],
    ] as const) {
      const part = await model.dequantize(name, { firstRow, rows });
      expect(bytes(part).equals(bytes(whole.subarray(firstRow * columns, (firstRow + rows) * columns))), name).toBe(
        true,
      );
    }
    const rest = await model.dequantize(name, { firstRow: 250 });
    expect(bytes(rest).equals(bytes(whole.subarray(250 * columns))), name).toBe(true);
  }
}

describe.each(['sdnq', 'compressed-tensors', 'gguf', 'parquet'] as const)('%s', (layout) => {
  test('any rows of an open model are those of the whole, and those of its plain export', async () => {
    const { folder, modelPath, outputPath } = await made(layout);
    const plainPath = path.join(folder, 'exported');
    const exported = await exportModel({ from: outputPath, to: plainPath, layout: 'plain' });
    expect(exported).toMatchObject({ exportedPath: plainPath, layout: 'plain', layers: 2, report: { layout } });
    const [model, plain] = [await openQuantizedModel(outputPath), await openQuantizedModel(plainPath)];
    expect(model.layers).toMatchObject([
      { name: 'transformer_blocks.0.attn1.to_q', shape: [256, 256], layout },
      { name: 'transformer_blocks.1.attn1.to_q', shape: [256, 256], layout },
    ]);
    expect(plain.layers.map((layer) => [layer.layout, layer.bits, layer.bitsPerWeight])).toEqual([
      [null, null, 32],
      [null, null, 32],
    ]);
    await expectSameRows(model, plain, 256);
    for (const ask of [{ firstRow: 256, rows: 1 }, { rows: 257 }]) {
      expect(await caught(() => model.dequantize('transformer_blocks.0.attn1.to_q', ask))).toMatchObject({
        issues: [{ path: 'rows', expected: 'rows within the 256 of the layer' }],
      });
    }
    expect(await caught(() => model.dequantize('nothing'))).toMatchObject({
      code: 'AQ_INVALID_CONFIG',
      issues: [{ path: 'name', received: '"nothing" (string)' }],
      context: { operation: 'dequantize', modelPath: outputPath },
    });
    model.close();
    plain.close();

    const same = await compare(outputPath, plainPath);
    expect(same).toMatchObject({ cosineSimilarity: 1, equal: 2, layers: [] });
    const [quality, far] = [
      await validateQuality(modelPath, outputPath, { minAccuracy: 0 }),
      await compare(modelPath, outputPath),
    ];
    expect(far.layers.map(({ cosine }) => cosine)).toEqual(quality.layers.map(({ cosine }) => cosine));
    expect(far).not.toHaveProperty('passed');
    const info = await inspect(outputPath);
    expect(info).toMatchObject({
      parameters: 2 * (256 * 256 + 256),
      components: [{ quantization: { method: layout } }],
    });
  });
});

describe('ggufType', () => {
  test.each([
    ['Q2_K', 2, 'Q2_K'],
    ['Q3_K_M', 2, 'Q3_K'],
    ['Q5_K_S', 4, 'Q5_K'],
    ['Q6_K', 4, 'Q6_K'],
    ['Q8_0', 8, 'Q8_0'],
  ] as const)('%s is a width and a type of blocks', async (ggufType, bitWidth, blockType) => {
    const defaults = new DiffusionQuantConfig({ bitWidth });
    const config = new DiffusionQuantConfig({ ggufType, protectBlocks: 'none' });
    expect(config).toMatchObject({ ggufType, bitWidth, minAccuracy: defaults.minAccuracy });
    const folder = tempDir();
    const modelPath = writeModel(folder, ditTensors(2, 256));
    const outputPath = path.join(folder, 'out');
    const result = await quantizeDiffusionModel({ modelPath, outputPath, config, layout: 'gguf' });
    expect(result).toMatchObject({ bitWidth, resolvedConfig: { ggufType, bitWidth }, warnings: [] });
    expect(result.layers.map(({ scheme }) => scheme.blockType)).toEqual([blockType, blockType]);
    const { layers } = await openQuantizedModel(outputPath);
    expect(layers.map(({ shape, layout }) => [shape, layout])).toEqual([
      [[256, 256], 'gguf'],
      [[256, 256], 'gguf'],
    ]);
  });

  test('is the stronger one beside a profile, and contradicts another width', async () => {
    const edge = new DiffusionQuantConfig({ ggufType: 'Q6_K', deploymentProfile: 'edge' });
    expect([edge.bitWidth, edge.groupSize]).toEqual([4, 64]);
    const options = { modelPath: writeModel(tempDir(), ditTensors(1, 256)), outputPath: path.join(tempDir(), 'out') };
    const refused = async (more: object) =>
      ((await caught(() => quantizeDiffusionModel({ ...options, ...more }))) as ConfigurationError).issues;
    expect(await refused({ layout: 'gguf', ggufType: 'Q6_K', bitWidth: 8 })).toMatchObject([
      { path: 'bitWidth', expected: "4 or nothing with ggufType 'Q6_K'", received: '8 (number)' },
    ]);
    const only = "to be given only with layout 'gguf'";
    for (const layout of ['sdnq', 'auto', undefined])
      expect(await refused({ layout, ggufType: 'Q6_K' }), layout).toMatchObject([{ path: 'ggufType', expected: only }]);
  });
});

describe('comfyui', () => {
  const QKV = 'double_blocks.0.img_attn.qkv';
  const PROJ = 'double_blocks.1.img_attn.proj';

  async function made(bitWidth: 4 | 8) {
    const folder = tempDir();
    const [modelPath, outputPath] = [writeFlux(folder), path.join(folder, 'comfyui')];
    const config = { bitWidth, minAccuracy: 0, protectBlocks: 'none', layout: 'comfyui' } as const;
    return { folder, modelPath, outputPath, result: await quantizeDiffusionModel({ modelPath, outputPath, config }) };
  }

  test.each([
    [8, { bits: 8, symmetric: true, rotation: null }, { bits: 8, symmetric: true, rotation: 256 }],
    [4, { bits: 4, symmetric: false, groupSize: 64 }, { bits: 4, symmetric: false, rotation: null }],
  ] as const)('%i bits: original names, and rows as in the plain export', async (bitWidth, qkv, proj) => {
    const { folder, modelPath, outputPath, result } = await made(bitWidth);
    expect(result.layers.find(({ writtenAs }) => writtenAs === `${QKV}.weight`)).toMatchObject({
      joined: ['to_q', 'to_k', 'to_v'].map((part) => `transformer_blocks.0.attn.${part}`),
    });
    const plainPath = path.join(folder, 'plain');
    await exportModel({ from: outputPath, to: plainPath, layout: 'plain' });
    const [model, plain] = [await openQuantizedModel(outputPath), await openQuantizedModel(plainPath)];
    const layer = (wanted: string) => model.layers.find(({ name }) => name === wanted);
    expect(layer(QKV)).toMatchObject({ layout: 'comfyui', shape: [768, 256], ...qkv });
    expect(layer(PROJ)).toMatchObject({ layout: 'comfyui', shape: [256, 256], ...proj });
    await expectSameRows(model, plain, 256);
    expect(await compare(outputPath, plainPath)).toMatchObject({ cosineSimilarity: 1, layers: [] });
    expect(await inspect(outputPath)).toMatchObject({ components: [{ quantization: { method: 'comfyui' } }] });
    // Weights are paired by name, and the folder it came from has other ones.
    expect(await caught(() => compare(modelPath, outputPath))).toMatchObject({ code: 'AQ_SHAPE_MISMATCH' });
    model.close();
    plain.close();
  });

  test('codes of 8 bits go to sdnq and parquet and come back; those of 4 bits stay', async () => {
    const { folder, outputPath } = await made(8);
    for (const layout of ['sdnq', 'parquet'] as const) {
      const [to, back] = [path.join(folder, layout), path.join(folder, `${layout}-back`)];
      await exportModel({ from: outputPath, to, layout });
      await exportModel({ from: to, to: back, layout: 'comfyui' });
      expect(tensorsOf(back)).toEqual(tensorsOf(outputPath));
    }
    const four = await made(4);
    const error = await caught(() =>
      exportModel({ from: four.outputPath, to: path.join(four.folder, 'sdnq'), layout: 'sdnq' }),
    );
    expect(error).toMatchObject({ code: 'AQ_QUANTIZATION_FAILED', details: { reason: 'would-round' } });
  });

  test('names of diffusers are no names for it', async () => {
    const folder = tempDir();
    const [modelPath, outputPath] = [writeFlux(folder), path.join(folder, 'sdnq')];
    const config = { bitWidth: 8, groupSize: 256, symmetric: true, minAccuracy: 0 } as const;
    await quantizeDiffusionModel({ modelPath, outputPath, config });
    const to = path.join(folder, 'comfyui');
    const error = await caught(() => exportModel({ from: outputPath, to, layout: 'comfyui' }));
    expect(error).toMatchObject({ code: 'AQ_QUANTIZATION_FAILED', details: { reason: 'not-carried' } });
    expect(error.message).toContain('its name is that of diffusers');
  });
});

test('compressed-tensors is what a text model gets, and its first row is what the words say', async () => {
  const outputPath = path.join(tempDir(), 'out');
  const result = await quantizeDiffusionModel({ modelPath: VERSES, outputPath, minAccuracy: 0 });
  expect(result.layout).toBe('compressed-tensors');
  const config = JSON.parse(readFileSync(path.join(outputPath, 'config.json'), 'utf8'));
  expect(config.quantization_config).toMatchObject({ quant_method: 'compressed-tensors', format: 'pack-quantized' });
});

test('an export that would round a second time is refused, with what to do instead', async () => {
  const { folder, outputPath } = await made('sdnq');
  const to = path.join(folder, 'again');
  const error = (await caught(() => exportModel({ from: outputPath, to, layout: 'gguf' }))) as QuantizationError;
  expect(error).toMatchObject({ code: 'AQ_QUANTIZATION_FAILED', details: { reason: 'would-round' } });
  expect(error.message).toContain('layout gguf');
  expect(error.hint).toContain('Quantize the original');
});

test('a GGUF file of somebody else', async () => {
  const folder = tempDir();
  const { writeGguf } = await import('./helpers/gguf.js');
  const file = path.join(folder, 'flux1-dev-F16.gguf');
  writeGguf(
    file,
    { 'general.architecture': 'flux' },
    { 'double_blocks.0.img_attn.qkv.weight': [[8, 64], gaussian(512)] },
  );
  const model = await openQuantizedModel(file);
  expect(await model.dequantize('double_blocks.0.img_attn.qkv', { firstRow: 2, rows: 1 })).toEqual(
    gaussian(512).subarray(128, 192),
  );
  model.close();
  const result = await quantizeDiffusionModel({
    modelPath: file,
    outputPath: path.join(folder, 'out'),
    minAccuracy: 0,
  });
  expect(result).toMatchObject({ layout: 'gguf', modality: 'image', modalitySource: 'architecture flux' });
  expect(result.layers).toMatchObject([{ name: 'double_blocks.0.img_attn.qkv', scheme: { blockType: 'Q8_0' } }]);
});
