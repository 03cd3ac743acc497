// compressed-tensors folders opened by transformers and unpacked by numpy, ways there and back, and damaged ones, which must be noticed.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TRAINED } from './models.mjs';

const BITS = [2, 4, 8];
const GROUPS = [32, 64, 128];
const MIXED = {
  bitWidth: 4,
  groupSize: 64,
  layerBitWidths: { '*.mlp.down_proj': 8, 'model.layers.0.self_attn.*': 8 },
};
/** Scales of rows are said in other words than those of groups, and rows that end within a word are padded. */
const CASES = [
  ...BITS.flatMap((bitWidth) =>
    GROUPS.map((groupSize) => [`verses-dllm ${bitWidth} bits g${groupSize}`, { bitWidth, groupSize }]),
  ),
  ['verses-dllm 4 bits, one group a row', { bitWidth: 4, groupSize: 256 }],
  ['verses-dllm mixed widths', MIXED],
  ...BITS.map((bitWidth) => [`odd rows ${bitWidth} bits g32`, { bitWidth, groupSize: 32 }]),
];
const WAYS = BITS.map((bitWidth) => [`lossless verses-dllm ${bitWidth} bits g64`, { bitWidth, groupSize: 64 }]);

const named = (cases) => cases.map(([title, config]) => [`compressed-tensors ${title}`, config]);

export async function runCompressedTensors({ work, quantizeDiffusionModel, checker, report, wanted }) {
  const { exportModel } = await import('../dist/index.js');
  const root = join(work, 'compressed-tensors');
  let odd;
  /** Quantizes into `folder` and passes on what the check is asked about: the original, the folder, and what our decoder makes of it. */
  const write = async (title, layout, config) => {
    if (title.includes('odd rows')) odd ??= await checker.ask('compressed_tensors_make', { folder: join(root, 'odd') });
    const original = title.includes('odd rows') ? odd : TRAINED['verses-dllm'];
    const folder = join(root, title.replaceAll(/\W+/g, '-'));
    await quantizeDiffusionModel({
      modelPath: original,
      outputPath: folder,
      layout,
      config: { ...config, minAccuracy: 0 },
    });
    await exportModel({ from: folder, to: `${folder}-plain`, layout: 'plain', plainDtype: 'f32' });
    return { original, folder, plain: `${folder}-plain` };
  };
  const run = async (cases, check) => {
    for (const [title, config] of named(cases).filter(([name]) => wanted(name)))
      await check(title, config).catch((error) => report(title, [error.message]));
  };
  try {
    await run(CASES, async (title, config) => {
      const r = await checker.ask('compressed_tensors', await write(title, 'compressed-tensors', config));
      report(title, r.problems, figures(r));
    });
    await run(WAYS, (title, config) => thereAndBack({ title, config, write, exportModel, checker, report }));
    await run([['self-test', MIXED]], async (title, config) => {
      const files = await write(title, 'compressed-tensors', config);
      const { unnoticed, damages } = await checker.ask('compressed_tensors_self_test', files);
      const missed = unnoticed.map((what) => `${what}: not noticed`);
      report(title, missed, `${damages} kinds of damage are noticed`);
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** sdnq -> compressed-tensors -> sdnq -> compressed-tensors: each layout must come back as it was, and still mean what the first one meant. */
async function thereAndBack({ title, config, write, exportModel, checker, report }) {
  const first = await write(title, 'sdnq', { ...config, symmetric: true, enableSpatial: false });
  const folders = [first.folder];
  for (const layout of ['compressed-tensors', 'sdnq', 'compressed-tensors']) {
    const to = `${first.folder}-${folders.length}`;
    await exportModel({ from: folders.at(-1), to, layout });
    folders.push(to);
  }
  const [sdnq, compressed, back, again] = folders;
  const problems = [];
  const counts = [];
  for (const [label, pair] of [
    ['sdnq', { first: sdnq, second: back }],
    ['compressed-tensors', { first: compressed, second: again }],
  ]) {
    const r = await checker.ask('compressed_tensors_same', pair);
    problems.push(...r.problems.map((problem) => `${label}: ${problem}`));
    counts.push(`${r.tensors} tensors of ${label}`);
  }
  const opened = await checker.ask('compressed_tensors', { ...first, folder: compressed });
  report(title, [...problems, ...opened.problems], `${counts.join(' and ')} are bit-equal; ${figures(opened)}`);
}

function figures({ kinds, errors, logits, shards }) {
  if (logits === null) return '';
  const modules = kinds.map(([bits, group, count]) => `${count} of ${bits} bits g${group}`).join(', ');
  const error = Object.entries(errors).map(([bits, [worst]]) => `${worst.toPrecision(3)} at ${bits} bits`);
  const files = shards === 1 ? 'one file' : `${shards} shards`;
  return `${files}, ${modules}; error ${error.join(', ')}; logits ${logits === 0 ? 'equal' : `within ${logits.toExponential(1)}`}`;
}
