// Every width, group size and kind of zero, on each model: the sdnq folder is opened by the real loader and held against the plain one.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFamilies, makeFluxLike, TRAINED } from './models.mjs';

const BITS = [2, 4, 8];
const GROUPS = [32, 64, 128, 256];

function settings(groups) {
  return BITS.flatMap((bitWidth) =>
    groups.flatMap((groupSize) => [false, true].map((symmetric) => ({ bitWidth, groupSize, symmetric }))),
  );
}

const title = (model, s) =>
  `open ${model} ${s.bitWidth} bits g${s.groupSize} ${s.symmetric ? 'symmetric' : 'asymmetric'}`;

/** All cases of the matrix. verses-dllm goes through transformers, whose loader shares SDNQ's code: one group size is enough. */
export async function matrixCases(python, work) {
  const models = [
    ['digits-dit', TRAINED['digits-dit'], GROUPS],
    ['digits-unet', TRAINED['digits-unet'], GROUPS],
    ['flux-like', await makeFluxLike(python, join(work, 'flux-like')), GROUPS],
    ['verses-dllm', TRAINED['verses-dllm'], [64]],
  ];
  const matrix = models.flatMap(([model, original, groups]) =>
    settings(groups).map((s) => ({ title: title(model, s), original, settings: s })),
  );
  return [...matrix, ...(await familyCases(python, join(work, 'families')))];
}

/** Families with random weights and no reference: keys, shapes, and each dequantized weight. */
async function familyCases(python, folder) {
  const chosen = [
    { bitWidth: 4, groupSize: 32, symmetric: false },
    { bitWidth: 2, groupSize: 64, symmetric: true },
  ];
  return (await makeFamilies(python, folder)).flatMap((family) =>
    chosen.map((s) => ({ title: title(family, s), original: join(folder, family), settings: s, predict: false })),
  );
}

/**
 * Quantizes one case into both layouts.
 * minAccuracy is 0: what is checked here is that the bytes mean the same to both sides, not that they are good.
 */
async function writePair(quantizeDiffusionModel, work, number, { original, settings }) {
  const folders = { sdnq: join(work, `${number}-sdnq`), plain: join(work, `${number}-plain`) };
  for (const [layout, outputPath] of Object.entries(folders))
    await quantizeDiffusionModel({ modelPath: original, outputPath, layout, config: { ...settings, minAccuracy: 0 } });
  return folders;
}

/** Runs the cases; while Python checks one, the next is quantized. */
export async function runMatrix({ cases, work, quantizeDiffusionModel, checker, report }) {
  let previous = Promise.resolve();
  for (const [number, one] of cases.entries()) {
    const written = await writePair(quantizeDiffusionModel, work, number, one).catch((error) => ({ error }));
    await previous;
    previous = checkOne(one, written, checker, report);
  }
  await previous;
}

async function checkOne({ title, original, predict = true }, written, checker, report) {
  if (written.error) return report(title, [`quantizing failed: ${written.error.message ?? written.error}`]);
  try {
    const r = await checker.ask('open', { original, ...written, samples: 4, predict });
    const figures =
      r.quantized === undefined
        ? ''
        : `${r.quantized} modules, ${r.rotated} rotated, weights ${exp(r.worstWeightDifference)}, prediction ${exp(r.worstPredictionDifference)}`;
    report(title, r.problems, figures);
  } catch (error) {
    report(title, [error.message]);
  } finally {
    await Promise.all(Object.values(written).map((folder) => rm(folder, { recursive: true, force: true })));
  }
}

const exp = (x) => x.toExponential(1);
