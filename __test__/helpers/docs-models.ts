/** What the docs speak of, as small models under the names of the large ones. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { quantizeDiffusionModel } from '../../src-ts/index.js';
import { ROOT } from './cli.js';
import { writeGguf } from './gguf.js';
import { gaussian, writeFlux, writeModel } from './models.js';
import { encode, f32 } from './safetensors.js';

type Make = (target: string, source: (name: string) => Promise<string>) => void | Promise<void>;

const copyOf =
  (...from: string[]): Make =>
  (target) =>
    cpSync(path.join(ROOT, ...from), target, { recursive: true });

/** A quantized form of another one. */
const quantized =
  (from: string, config: object): Make =>
  async (target, source) => {
    await quantizeDiffusionModel({ modelPath: await source(from), outputPath: target, config });
  };

const square = (seed: number) => f32([128, 128], gaussian(128 * 128, seed));

/** By path in the folder that a block runs in. */
const MODELS: Readonly<Record<string, Make>> = {
  'FLUX.1-dev': (target) => {
    mkdirSync(target);
    const index = { _class_name: 'FluxPipeline', transformer: ['diffusers', 'FluxTransformer2DModel'] };
    writeFileSync(path.join(target, 'model_index.json'), JSON.stringify(index));
    cpSync(writeFlux(target), path.join(target, 'transformer'), { recursive: true });
  },
  'FLUX.1-dev-int4': quantized('FLUX.1-dev', { bitWidth: 4 }),
  'FLUX.1-dev-int2': quantized('FLUX.1-dev', { bitWidth: 2 }),
  sd15: copyOf('testdata/digits-unet'),
  'stable-diffusion-xl-base-1.0': copyOf('testdata/digits-unet'),
  'sd15-calibration.safetensors': copyOf('testdata/digits-unet/calibration.safetensors'),
  'calibration.safetensors': (target) => {
    const names = ['to_q', 'to_k', 'to_v', 'to_out.0'].map((part) => `transformer_blocks.0.attn.${part}@500`);
    const tensors = names.map((name, index) => [name, f32([40, 256], gaussian(40 * 256, index))] as const);
    const metadata = { format: 'arrow-quant-calibration', version: '1', axis: 'timestep' };
    writeFileSync(target, encode(Object.fromEntries(tensors), metadata));
  },
  model: (target) => {
    const names = ['blocks.0.attn1.to_q', 'blocks.1.attn1.to_q', 'norm_out.linear', 'proj_out'];
    const tensors = Object.fromEntries(names.map((name, index) => [`${name}.weight`, square(index + 1)]));
    writeModel(path.dirname(target), tensors, path.basename(target));
  },
  'model-int4-symmetric': quantized('FLUX.1-dev', { bitWidth: 4, symmetric: true, enableSpatial: false }),
  out: quantized('FLUX.1-dev', { bitWidth: 4 }),
  'options.yaml': (target) => writeFileSync(target, 'bitWidth: 4\ngroupSize: 64\n'),
  'LLaDA-8B-Instruct-F16.gguf': (target) => {
    const names = ['attn_q', 'attn_k', 'attn_v', 'ffn_down'].map((part) => `blk.0.${part}.weight`);
    const tensors = names.map((name, index) => [name, [[256, 256], gaussian(256 * 256, index + 1)]] as const);
    writeGguf(target, { 'general.architecture': 'llada' }, Object.fromEntries(tensors));
  },
  'examples/digits-dit': copyOf('examples/digits-dit'),
  'examples/out/digits-dit-int4': quantized('examples/digits-dit', { bitWidth: 4 }),
  'examples/out/digits-dit-int2': quantized('examples/digits-dit', { bitWidth: 2 }),
  'testdata/verses-dllm': copyOf('testdata/verses-dllm'),
  'verses-int4': quantized('testdata/verses-dllm', { bitWidth: 4 }),
  'my-text-model-sdnq': quantized('testdata/verses-dllm', { bitWidth: 4, layout: 'sdnq' }),
  'transformer.arrow-quant.parquet': async (target, source) => {
    const folder = `${target}-archive`;
    await quantizeDiffusionModel({ modelPath: await source('FLUX.1-dev'), outputPath: folder, layout: 'parquet' });
    cpSync(path.join(folder, 'transformer/transformer.arrow-quant.parquet'), target);
  },
  'ComfyUI/models/unet': (target) => void mkdirSync(target),
  'ComfyUI/models/diffusion_models': (target) => void mkdirSync(target),
};

/** Makes each model once, in one folder, and copies it where it is wanted. */
export class ModelStore {
  readonly #folder: string;
  readonly #made = new Map<string, Promise<string>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Puts what a block names there, unless the block makes it itself. */
  async provide(text: string, sandbox: string): Promise<void> {
    const words = text.match(/[\w.\-/]+/g) ?? [];
    const named = new Set(words.map((word) => word.replace(/^\.\//, '').replace(/[/.]+$/, '')));
    const made = [...text.matchAll(/(?:-o|--output-path|outputPath:|\bto:)\s+['"]?(?:\.\/)?([\w.\-/]+)/g)];
    const outputs = new Set(made.map(([, name]) => name));
    for (const name of Object.keys(MODELS)) {
      if (outputs.has(name) || ![...named].some((word) => word === name || word.startsWith(`${name}/`))) continue;
      mkdirSync(path.dirname(path.join(sandbox, name)), { recursive: true });
      cpSync(await this.#get(name), path.join(sandbox, name), { recursive: true });
    }
  }

  #get = (name: string): Promise<string> => {
    const make = MODELS[name];
    if (make === undefined) throw new Error(`there is no ${name}`);
    const target = path.join(this.#folder, name);
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    mkdirSync(path.dirname(target), { recursive: true });
    const making = Promise.resolve(make(target, this.#get)).then(() => target);
    this.#made.set(name, making);
    return making;
  };
}
