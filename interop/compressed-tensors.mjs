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
/** With zero points, which transformers opens by one scheme only: `uniform` has one for all modules. */
const ZEROS = [
  ...[4, 8].map((bitWidth) => [
    `verses-dllm ${bitWidth} bits g64, one scheme`,
    { bitWidth, groupSize: 64, layerBitWidths: { '*_proj': bitWidth } },
    { uniform: true },
  ]),
  ...BITS.flatMap((bitWidth) =>
    [32, 256].map((groupSize) => [`verses-dllm ${bitWidth} bits g${groupSize}`, { bitWidth, groupSize }]),
  ),
  ['verses-dllm mixed widths', MIXED],
  ...BITS.map((bitWidth) => [`odd rows ${bitWidth} bits g32`, { bitWidth, groupSize: 32 }]),
].map(([title, config, more]) => [`zero points ${title}`, { ...config, symmetric: false }, { zeros: true, ...more }]);
const WAYS = BITS.map((bitWidth) => [`lossless verses-dllm ${bitWidth} bits g64`, { bitWidth, groupSize: 64 }]);

const named = (cases) => cases.map(([title, ...rest]) => [`compressed-tensors ${title}`, ...rest]);

export async function runCompressedTensors({ work, quantizeDiffusionModel, checker, report, wanted }) {
  const { exportModel, openQuantizedModel } = await import('../dist/index.js');
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
    for (const [title, config, more] of named(cases).filter(([name]) => wanted(name)))
      await check(title, config, more).catch((error) => report(title, [error.message]));
  };
  try {
    await run(CASES, async (title, config) => {
      const r = await checker.ask('compressed_tensors', await write(title, 'compressed-tensors', config));
      report(title, r.problems, figures(r));
    });
    await run(ZEROS, async (title, config, more) => {
      const files = await write(title, 'compressed-tensors', config);
      const r = await checker.ask('compressed_tensors', { ...files, ...more });
      const opened = await sameValues(openQuantizedModel, files);
      report(title, [...r.problems, ...opened], figures(r, more.uniform));
    });
    await run([['self-test zero points', { ...MIXED, symmetric: false }]], async (title, config) => {
      const files = await write(title, 'compressed-tensors', config);
      const { unnoticed, damages } = await checker.ask('compressed_tensors_self_test', { ...files, zeros: true });
      const missed = unnoticed.map((what) => `${what}: not noticed`);
      report(title, missed, `${damages} kinds of damage are noticed`);
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

/** What openQuantizedModel makes of any rows against the values that numpy's were held against. */
async function sameValues(openQuantizedModel, { folder, plain }) {
  const [model, values] = [await openQuantizedModel(folder), await openQuantizedModel(plain)];
  const problems = [];
  for (const { name, shape, bits } of model.layers.filter(({ layout }) => layout !== null)) {
    const [rows] = shape;
    for (const part of [{}, { firstRow: 0, rows: 1 }, { firstRow: 1, rows: rows - 1 }, { firstRow: rows - 1, rows: 1 }]) {
      const [got, want] = [await model.dequantize(name, part), await values.dequantize(name, part)];
      if (got.length === 0 || Buffer.compare(Buffer.from(got.buffer), Buffer.from(want.buffer)) !== 0)
        problems.push(`${name}: openQuantizedModel has other values of ${JSON.stringify(part)} at ${bits} bits`);
    }
  }
  return problems;
}

function figures({ kinds, errors, logits, shards }, dequantized = false) {
  const modules = kinds.map(([bits, group, count]) => `${count} of ${bits} bits g${group}`).join(', ');
  const error = Object.entries(errors).map(([bits, [worst]]) => `${worst.toPrecision(3)} at ${bits} bits`);
  const files = shards === 1 ? 'one file' : `${shards} shards`;
  const figures = `${files}, ${modules}; error ${error.join(', ')}`;
  if (logits === null) return figures;
  const within = logits === 0 ? 'equal' : `within ${logits.toExponential(1)}`;
  return `${figures}; ${dequantized ? 'values of transformers' : 'logits'} ${within}`;
}
