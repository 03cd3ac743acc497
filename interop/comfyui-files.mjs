// ComfyUI's quantized safetensors decoded by comfy-kitchen, against our own decoder and the original; damaged files, which must be noticed.

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFluxLike } from './models.mjs';

const FLUX = 'flux-guidance';
/** Small models, one of each architecture that has original names; their rows have 32 to 256 weights. */
const NAMES = [FLUX, 'sd3.5-medium', 'wan-i2v-published', 'qwen-image-layered', 'sd1', 'sdxl'];
const BITS = [4, 8];
/** Modules of both formats, and joined layers whose members ask for different widths, one of them for none. */
const MIXED = {
  bitWidth: 4,
  layerBitWidths: { 'transformer_blocks.0.attn.to_v': 8, 'norm_out.linear': 8 },
  skipLayers: ['single_transformer_blocks.1.proj_mlp'],
};

/** Outliers, for which layers of 8 bits are rotated: alone, in joined layers too, and among modules of both formats. */
const ROTATED = {
  'flux-like outliers': { bitWidth: 8 },
  [`${FLUX} outliers`]: { ...MIXED, layerBitWidths: { ...MIXED.layerBitWidths, '*.ff*.net.2': 8 } },
};

const CASES = [
  ...BITS.flatMap((bitWidth) =>
    ['flux-like', ...NAMES].map((name) => [`${name} ${bitWidth} bits`, name, { bitWidth }]),
  ),
  [`${FLUX} mixed widths`, FLUX, MIXED],
  ...Object.entries(ROTATED).map(([name, config]) => [name, name, config]),
  ['self-test', FLUX, MIXED],
  ['self-test outliers', `${FLUX} outliers`, ROTATED[`${FLUX} outliers`]],
];

const titled = (title) =>
  title.startsWith('self-test') ? title.replace('self-test', 'self-test comfyui') : `comfyui ${title}`;

export async function runComfyuiFiles({ work, quantizeDiffusionModel, python, checker, report, wanted }) {
  const { openQuantizedModel } = await import('../dist/index.js');
  const root = join(work, 'comfyui');
  const made = new Map();
  const once = (key, make) => {
    if (!made.has(key)) made.set(key, make(join(root, key.replaceAll(/[^\w.]+/g, '-'))));
    return made.get(key);
  };
  const source = (name) =>
    once(name, async (folder) => {
      if (name === 'flux-like') return makeFluxLike(python, folder);
      if (name in ROTATED) {
        await checker.ask('comfyui_make', { original: await source(name.replace(' outliers', '')), folder });
        return folder;
      }
      await checker.ask('gguf_original_make', { name, folder });
      return folder;
    });
  /** What the checks are asked about: the original, the folder, what our own decoder makes of it, and the model's name. */
  const write = async (name, config) => {
    const original = await source(name);
    return once(`${name} ${JSON.stringify(config)}`, async (folder) => {
      const options = { ...config, minAccuracy: 0 };
      await quantizeDiffusionModel({ modelPath: original, outputPath: folder, layout: 'comfyui', config: options });
      return { original, folder, own: await decode(openQuantizedModel, folder), name };
    });
  };
  try {
    for (const [title, name, config] of CASES.filter(([title]) => wanted(titled(title)))) {
      try {
        const settings = { bits: config.bitWidth, rotates: name in ROTATED };
        const [problems, figures] = await ask(checker, title, await write(name, config), settings);
        report(titled(title), problems, figures);
      } catch (error) {
        report(titled(title), [error.message]);
      }
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function ask(checker, title, files, settings) {
  if (title.startsWith('self-test')) {
    const { unnoticed, damages } = await checker.ask('comfyui_self_test', files);
    return [unnoticed.map((what) => `${what}: not noticed`), `${damages} kinds of damage are noticed`];
  }
  const r = await checker.ask('comfyui', { ...files, ...settings });
  return [r.problems, figures(r)];
}

/** Decodes every layer with codes into one file beside the folder, for Python to read; the tensors are called as in the folder. */
async function decode(openQuantizedModel, folder) {
  const file = `${folder}-own.safetensors`;
  const model = await openQuantizedModel(folder);
  try {
    const layers = model.layers.filter(({ layout }) => layout !== null);
    const header = {};
    const parts = [];
    let at = 0;
    for (const { name, shape } of layers) {
      const values = await model.dequantize(name);
      const tensor = `${name.replace(/\.weight$/, '')}.weight`;
      header[tensor] = { dtype: 'F32', shape, data_offsets: [at, at + values.byteLength] };
      parts.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      at += values.byteLength;
    }
    const json = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    await writeFile(file, Buffer.concat([size, json, ...parts]));
    return { file, layers };
  } finally {
    model.close();
  }
}

const exp = (x) => (x === 0 ? 'bit-equal' : `within ${x.toExponential(1)}`);
const list = (found, text) =>
  Object.entries(found)
    .map(([kind, value]) => text(kind, value))
    .join(', ');

const figures = (r) =>
  [
    `${list(r.kinds, (kind, count) => `${count} ${kind}`)}, ${r.floats} floats`,
    `error ${list(r.errors, (kind, [worst]) => `${kind} ${worst.toPrecision(3)}`)}`,
    `own decoder: ${list(r.own, (kind, off) => `${kind} ${exp(off)}`)}`,
    `products ${list(r.products, (kind, off) => `${kind} ${exp(off)}`)}`,
  ].join('; ');
