/** `plan`: what it foretells is what a job does. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type DiffusionQuantOptions, plan, quantizeDiffusionModel } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { ROOT, runCli } from './helpers/cli.js';
import { ditTensors, writeFlux, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';
import { listing } from './helpers/tree.js';

const DIT = path.join(ROOT, 'examples/digits-dit');
const UNET = path.join(ROOT, 'testdata/digits-unet');
const DLLM = path.join(ROOT, 'testdata/verses-dllm');

describe('sizes and schemes are those of the job', () => {
  const cases: readonly (readonly [name: string, modelPath: string, config: DiffusionQuantOptions])[] = [
    ['2 bits', DIT, { bitWidth: 2 }],
    ['4 bits', DIT, { bitWidth: 4 }],
    ['8 bits, no time path', DIT, { bitWidth: 8, enableTimeAware: false }],
    ['convolutions', UNET, { bitWidth: 4, groupSize: 32 }],
    ['calibrated', UNET, { bitWidth: 4, calibration: path.join(UNET, 'calibration.safetensors') }],
    ['gguf', DIT, { bitWidth: 4, layout: 'gguf' }],
    ['gguf by its kind', UNET, { ggufType: 'Q5_K_M', layout: 'gguf' }],
    ['compressed-tensors, shards', DLLM, { bitWidth: 4 }],
    ['named widths', DIT, { bitWidth: 4, layerBitWidths: { 'transformer_blocks.0.*': 8 }, skipLayers: ['proj_out_2'] }],
    ['a target without mixed widths', DIT, { targetModelSizeMb: 4 }],
  ];
  test.each(cases)('%s', async (_name, modelPath, options) => {
    const config = { minAccuracy: 0, ...options };
    const planned = await plan({ modelPath, config });
    const result = await quantizeDiffusionModel({ modelPath, outputPath: path.join(tempDir(), 'out'), config });
    expect(result.layers.every(({ outcome }) => outcome === 'quantized')).toBe(true);
    expect(planned.exact).toBe(true);
    expect(planned.modelSizeMb).toBe(result.modelSizeMb);
    expect(planned.bitsPerWeight).toBeCloseTo(result.bitsPerWeight, 12);
    expect(planned.compressionRatio).toBe(result.compressionRatio);
    expect(planned.files.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(Math.round(result.modelSizeMb * 1e6));
    const { layers, skipped, layout, modality, resolvedConfig, components } = result;
    expect({ layout, modality, resolvedConfig, components, skipped }).toEqual({
      layout: planned.layout,
      modality: planned.modality,
      resolvedConfig: planned.resolvedConfig,
      components: planned.components,
      skipped: planned.skipped,
    });
    const decided = { rotation: null };
    expect(planned.layers.map(({ name, shape, scheme }) => ({ name, shape, scheme }))).toEqual(
      layers.map(({ name, shape, scheme }) => ({ name, shape, scheme: { ...scheme, ...decided } })),
    );
  });

  test('parquet is told about, since its end holds what layers become', async () => {
    const config = { layout: 'parquet', minAccuracy: 0 } as const;
    const planned = await plan({ modelPath: DIT, config });
    const result = await quantizeDiffusionModel({ modelPath: DIT, outputPath: path.join(tempDir(), 'out'), config });
    expect(planned.exact).toBe(false);
    expect(Math.abs(planned.modelSizeMb / result.modelSizeMb - 1)).toBeLessThan(0.1);
  });

  test('several layouts', async () => {
    const layout = ['sdnq', 'gguf'] as const;
    const planned = await plan({ modelPath: DIT, outputPath: path.join(tempDir(), 'out'), layout });
    const sizes = planned.outputs?.map(({ modelSizeMb }) => modelSizeMb) ?? [];
    expect(planned.outputs?.map((output) => output.layout)).toEqual(layout);
    expect(planned.modelSizeMb).toBe(sizes[0]);
    expect(planned.disk?.requiredMb).toBeCloseTo(
      sizes.reduce((a, b) => a + b, 0),
      9,
    );
  });
});

describe('why', () => {
  test('every layer has a reason', async () => {
    const { layers } = await plan({ modelPath: DIT, bitWidth: 2, layerBitWidths: { '*.ff.net.2': 4 } });
    const of = (name: string) => layers.find((layer) => layer.name === name);
    expect(of('transformer_blocks.3.ff.net.2')).toMatchObject({
      why: 'layerBitWidths asks for it',
      scheme: { bits: 4 },
    });
    expect(of('transformer_blocks.0.attn1.to_q')?.why).toBe('the first-block rule raises it');
    expect(of('transformer_blocks.3.attn1.to_q')?.why).toBe("the job's width");
    expect(of('transformer_blocks.3.norm1.linear')).toMatchObject({
      scheme: { bits: 4, method: 'gptq' },
      inputs: 'computed',
    });
    const plain = await plan({ modelPath: DIT, bitWidth: 2, enableTimeAware: false });
    const modulation = plain.layers.find(({ name }) => name === 'transformer_blocks.3.norm1.linear');
    expect(modulation).toMatchObject({
      why: 'adaptive normalisation: a function of the time step that scales whole activations',
      scheme: { bits: 8 },
      inputs: null,
    });
  });

  test('a target: what is left and what blocks cost', async () => {
    const { target, exact } = await plan({
      modelPath: DIT,
      bitWidth: 2,
      targetModelSizeMb: 3,
      enableMixedPrecision: true,
    });
    expect(exact).toBe(false);
    expect(target).toMatchObject({ targetMb: 3, bitWidth: 2 });
    expect(target?.leftMb).toBeCloseTo(3 - (target?.baseMb ?? 0), 9);
    expect(target?.raises.length).toBeGreaterThan(5);
    for (const { costMb, fits } of target?.raises ?? []) expect(fits).toBe(costMb <= (target?.leftMb ?? 0));
    await expect(plan({ modelPath: DIT, targetModelSizeMb: 0.5 })).rejects.toThrow(/the target is/);
  });
});

describe('what a plan needs and leaves', () => {
  test('nothing is written, with an output or without', async () => {
    const folder = tempDir();
    const modelPath = writeModel(folder, ditTensors(2, 128));
    const before = listing(folder);
    const outputPath = path.join(folder, 'deep', 'out');
    const { disk, time, memory, warnings } = await plan({ modelPath, outputPath, config: 'edge' });
    expect(listing(folder)).toEqual(before);
    expect(disk).toMatchObject({ path: outputPath });
    expect(disk?.freeMb).toBeGreaterThan(0);
    expect(time.seconds).toBeGreaterThan(0);
    expect(time.measuredS).toBeLessThan(5);
    expect(memory.estimateMb).toBeGreaterThan(0);
    expect(warnings).toEqual([]);
    expect((await plan({ modelPath })).disk).toBeNull();
  });

  test('what a job would refuse is refused', async () => {
    const folder = tempDir();
    const modelPath = writeModel(folder, ditTensors(2, 128));
    const refused = async (options: object, code: string) => {
      const error = await caught(() => plan({ modelPath, ...options } as never));
      expect(error).toMatchObject({ code });
      expect(error.context.operation).toBe('plan');
    };
    await refused({ bitWidth: 3 }, 'AQ_INVALID_BIT_WIDTH');
    await refused({ bitwidth: 4 }, 'AQ_INVALID_CONFIG');
    await refused({ outputPath: path.join(modelPath, 'inside') }, 'AQ_INVALID_CONFIG');
    await refused({ modelPath: path.join(folder, 'absent') }, 'AQ_MODEL_NOT_FOUND');
    await refused({ layout: 'comfyui' }, 'AQ_INVALID_CONFIG');
    await refused({ maxMemoryLimitMb: 16, skipLayers: ['*'] }, 'AQ_QUANTIZATION_FAILED');
    await refused({ signal: AbortSignal.abort() }, 'AQ_ABORTED');
    expect(readdirSync(folder)).toEqual(['model']);
  });

  test('the command', async () => {
    const folder = tempDir();
    const modelPath = writeFlux(folder);
    const out = path.join(folder, 'out');
    const { stdout, code } = await runCli(['plan', modelPath, '-o', out, '--bit-width', '4', '--layers']);
    expect(code).toBe(0);
    for (const text of ['layout  sdnq', 'times smaller', 'with', 'needed at', "the job's width"])
      expect(stdout).toContain(text);
    expect(existsSync(out)).toBe(false);
    const json = JSON.parse((await runCli(['plan', modelPath, '--json'])).stdout);
    expect(json).toMatchObject({ ok: true, report: { layout: 'sdnq', bitWidth: 4 } });
    expect((await runCli(['plan', path.join(folder, 'absent')])).code).toBe(20);
  });
});
