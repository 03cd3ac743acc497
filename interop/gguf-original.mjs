// GGUF files with the names of original checkpoints: through diffusers' converters, through its loader, refused models, and damaged files.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';

const FLUX = 'flux-guidance';
const MODELS = [FLUX, 'sd3.5-medium', 'wan-i2v-published', 'qwen-image-layered', 'sd1', 'sdxl'];
const BITS = [4, 8];
/** Joined layers whose members ask for different types, one of them for none; and blocks in the layer whose halves are exchanged. */
const MIXED = {
  [FLUX]: {
    bitWidth: 4,
    layerBitWidths: { 'transformer_blocks.*.attn.to_v': 8, 'norm_out.linear': 8 },
    skipLayers: ['single_transformer_blocks.1.proj_mlp'],
  },
  'sd3.5-medium': {
    bitWidth: 4,
    layerBitWidths: { '*.add_k_proj': 8, 'norm_out.linear': 4 },
    skipLayers: ['transformer_blocks.0.attn2.to_q'],
  },
};
/**
 * What from_single_file takes: of UNets it wants a whole checkpoint, and a name that it does not know, such as published Wan models have,
 * makes it convert names that are diffusers' already.
 */
const LOADED = [FLUX, 'sd3.5-medium', 'wan-t2v', 'qwen-image-layered'];

const CASES = [
  ...BITS.flatMap((bitWidth) => MODELS.map((name) => [`${name} ${bitWidth} bits`, 'check', name, { bitWidth }])),
  ...Object.entries(MIXED).map(([name, config]) => [`${name} mixed widths`, 'check', name, config]),
  ...BITS.flatMap((bitWidth) =>
    LOADED.map((name) => [`from_single_file ${name} ${bitWidth} bits`, 'loader', name, { bitWidth }]),
  ),
  ['self-test file', 'self-test', FLUX, MIXED[FLUX], 'file'],
  ['self-test shapes', 'self-test', 'sd1', { bitWidth: 4 }, 'shapes'],
  ['self-test from_single_file', 'self-test', FLUX, { bitWidth: 4 }, 'loader'],
];
/** Models that get no original names: [what it is, as gguf_original.py has it; the class of the error; title]. */
const REFUSED = [
  ...['unknown class', 'another shape of a known class'].map((what) => [what, 'ConfigurationError', what]),
  ...[FLUX, 'sd3.5-medium', 'wan-flf2v', 'qwen-image-layered', 'sd1', 'sdxl'].map((name) => [
    name,
    'QuantizationError',
    `foreign tensor in ${name}`,
  ]),
  ['part', 'QuantizationError', 'a part of a joined layer is missing'],
];

const titled = (title) => `gguf original ${title}`;

export async function runGgufOriginal({ work, quantizeDiffusionModel, checker, report, wanted }) {
  const api = await import('../dist/index.js');
  const root = join(work, 'gguf-original');
  const made = new Map();
  const once = (key, make) => {
    if (!made.has(key)) made.set(key, make(join(root, key.replaceAll(/[^\w.]+/g, '-'))));
    return made.get(key);
  };
  const source = (name) =>
    once(name, async (folder) => ({ folder, ...(await checker.ask('gguf_original_make', { name, folder })) }));
  /** The same model quantized twice, with either kind of names. */
  const files = async (name, config) => {
    const { folder: original, shards } = await source(name);
    const write = (ggufNames) =>
      once(`${name} ${JSON.stringify(config)} ${ggufNames}`, async (outputPath) => {
        const options = { ...config, minAccuracy: 0 };
        await quantizeDiffusionModel({ modelPath: original, outputPath, layout: 'gguf', ggufNames, config: options });
        return outputPath;
      });
    return { shards, request: { name, original, plain: await write('diffusers'), renamed: await write('original') } };
  };
  try {
    for (const [title, kind, name, config, damage] of CASES.filter(([title]) => wanted(titled(title)))) {
      try {
        const { shards, request } = await files(name, config);
        const [problems, figures] = await CHECKS[kind]({ checker, request, shards, bits: config.bitWidth, damage });
        report(titled(title), problems, figures);
      } catch (error) {
        report(titled(title), [error.message]);
      }
    }
    for (const [what, errorClass, name] of REFUSED) {
      const title = titled(`refused: ${name}`);
      if (!wanted(title)) continue;
      const folder = join(root, `refused-${what.replaceAll(/\W+/g, '-')}`);
      try {
        const tensor = await checker.ask('gguf_original_refused', { what, folder });
        const request = { modelPath: folder, outputPath: `${folder}-out`, layout: 'gguf', config: { minAccuracy: 0 } };
        const problems = await refusal(api, errorClass, tensor, { ...request, ggufNames: 'original' });
        // With its own names the model must pass: else something else is refused.
        await quantizeDiffusionModel({ ...request, outputPath: `${folder}-plain`, ggufNames: 'diffusers' });
        report(title, problems, tensor ?? '');
      } catch (error) {
        report(title, [error.message]);
      }
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

const CHECKS = {
  check: async ({ checker, request, shards, bits }) => {
    const r = await checker.ask('gguf_original', { ...request, bits });
    return [r.problems, figures(r, shards)];
  },
  loader: async ({ checker, request }) => {
    const predict = request.name === FLUX;
    const r = await checker.ask('gguf_original_loader', { ...request, predict });
    const predictions = predict ? `, ${r.steps} predictions` : '';
    return [r.problems, `${r.parameters} parameters, ${r.blocks} of blocks${predictions} are equal`];
  },
  'self-test': async ({ checker, request, damage }) => {
    const { unnoticed, damages } = await checker.ask('gguf_original_self_test', { ...request, kind: damage });
    return [unnoticed.map((what) => `${what}: not noticed`), `${damages} kinds of damage are noticed`];
  },
};

/** What is wrong with the way that a request is refused. */
async function refusal(api, name, tensor, request) {
  let error;
  try {
    await api.quantizeDiffusionModel(request);
    return ['it is taken'];
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof api[name])) return [`${error.name} instead of ${name}: ${error.message}`];
  const problems = [];
  if (name === 'ConfigurationError') {
    const paths = error.details.issues.map(({ path }) => path);
    if (paths.join() !== 'ggufNames') problems.push(`the issues are of ${paths}: ${error.message}`);
  } else {
    if (error.details.reason !== 'not-carried') problems.push(`the reason is ${error.details.reason}`);
    if (!error.message.includes(tensor)) problems.push(`${tensor} is not named: ${error.message}`);
  }
  return problems;
}

function figures(r, shards) {
  const kinds = Object.entries(r.kinds).map(([kind, count]) => `${count} ${kind}`);
  const parts = [
    shards === 1 ? 'one file' : `${shards} shards`,
    kinds.join(', '),
    `${r.same} tensors bit-equal to those under diffusers' names, ${r.joined} joined`,
  ];
  if (r.reshaped > 0) parts.push(`${r.reshaped} convolutions in blocks`);
  if (r.apart > 0) parts.push(`${r.apart} within the error of another type`);
  if (r.leftOut > 0) parts.push(`${r.leftOut} left out`);
  parts.push(`longest name ${r.longest} bytes`);
  if (r.long > 0) parts.push(`${r.long} names over 63 bytes, which plain ggml refuses`);
  return parts.join('; ');
}
