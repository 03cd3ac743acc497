/** Small models made on the spot, always the same. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { f32, type Tensor, writeSafetensors } from './safetensors.js';

/** Normally distributed values from a fixed seed. */
export function gaussian(count: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 4_294_967_297;
  };
  return Float32Array.from(
    { length: count },
    () => 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

/** A DiT with a few blocks of one square Linear: enough for every step of a job. */
export function ditTensors(blocks: number, width: number): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {};
  for (let block = 0; block < blocks; block += 1) {
    const name = `transformer_blocks.${block}.attn1.to_q`;
    tensors[`${name}.weight`] = f32([width, width], gaussian(width * width, block + 1));
    tensors[`${name}.bias`] = f32([width], new Float32Array(width));
  }
  return tensors;
}

const DIT = { _class_name: 'DiTTransformer2DModel', _diffusers_version: '0.42.1', num_layers: 4 };

/** Writes a component folder and returns its path. */
export function writeModel(
  parent: string,
  tensors: Readonly<Record<string, Tensor>> = ditTensors(4, 128),
  name = 'model',
  config: object = DIT,
): string {
  const folder = path.join(parent, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  writeSafetensors(path.join(folder, 'diffusion_pytorch_model.safetensors'), tensors);
  return folder;
}

/** Two blocks of a FLUX of 256 channels, which has original names; one large column in a layer of the second, which is worth a rotation. */
export function writeFlux(parent: string): string {
  const tensors: Record<string, Tensor> = {};
  const linear = (name: string, rows: number, columns: number, change: (weight: Float32Array) => void = () => {}) => {
    const weight = gaussian(rows * columns, Object.keys(tensors).length + 1);
    change(weight);
    tensors[`${name}.weight`] = f32([rows, columns], weight);
    tensors[`${name}.bias`] = f32([rows], gaussian(rows));
  };
  linear('x_embedder', 256, 64);
  for (const block of [0, 1]) {
    for (const part of ['to_q', 'to_k', 'to_v']) linear(`transformer_blocks.${block}.attn.${part}`, 256, 256);
    linear(`transformer_blocks.${block}.attn.to_out.0`, 256, 256, (weight) => {
      if (block === 1) for (let row = 0; row < 256; row += 1) weight[row * 256 + 7] = (weight[row * 256 + 7] ?? 0) * 30;
    });
  }
  const config = { _class_name: 'FluxTransformer2DModel', num_layers: 2, num_single_layers: 0 };
  return writeModel(parent, tensors, 'flux', config);
}

/** A model whose job takes a while, made quickly: every block has the same weights. */
export function bigModel(parent: string, blocks = 32, width = 1024): string {
  const weight = f32([width, width], gaussian(width * width));
  const names = Array.from({ length: blocks }, (_, block) => `transformer_blocks.${block}.attn1.to_q.weight`);
  return writeModel(parent, Object.fromEntries(names.map((name) => [name, weight])));
}
