/** Layouts as files: what one run wrote, opened, compared and exported through the addon. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  compare,
  exportModel,
  inspect,
  type Layout,
  openQuantizedModel,
  type QuantizationError,
  quantizeDiffusionModel,
  validateQuality,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT } from './helpers/cli.js';
import { ditTensors, gaussian, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';

const VERSES = path.join(ROOT, 'testdata/verses-dllm');

async function made(layout: Layout, more = {}): Promise<{ folder: string; modelPath: string; outputPath: string }> {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(2, 256));
  const outputPath = path.join(folder, layout);
  await quantizeDiffusionModel({ modelPath, outputPath, layout, config: { minAccuracy: 0, ...more } });
  return { folder, modelPath, outputPath };
}

describe.each(['sdnq', 'compressed-tensors', 'gguf'] as const)('%s', (layout) => {
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
    for (const { name } of model.layers) {
      const whole = await model.dequantize(name);
      expect(whole).toEqual(await plain.dequantize(`${name}.weight`));
      for (const [firstRow, rows] of [
        [0, 1],
        [3, 7],
        [255, 1],
        [17, 0],
      ] as const) {
        const part = await model.dequantize(name, { firstRow, rows });
        expect(part).toEqual(whole.subarray(firstRow * 256, (firstRow + rows) * 256));
      }
      expect(await model.dequantize(name, { firstRow: 250 })).toEqual(whole.subarray(250 * 256));
    }
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
