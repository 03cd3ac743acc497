// GGUF files opened by gguf-py, by diffusers and by @huggingface/gguf, and damaged ones, which each of the checks must notice.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { gguf } from '@huggingface/gguf';
import { makeFluxLike, TRAINED } from './models.mjs';

const BITS = [2, 4, 8];
/** Kinds of files by name, each of a model. */
const TYPES = {
  'verses-dllm': ['Q3_K_M', 'Q4_0'],
  'digits-dit': ['Q5_0'],
  'digits-unet': ['Q5_1'],
  'flux-like': ['Q5_K_M', 'Q6_K'],
};
/** The file of the component, in the output folder. */
const FILE = {
  'digits-dit': 'transformer/diffusion_pytorch_model.gguf',
  'digits-unet': 'unet/diffusion_pytorch_model.gguf',
  'verses-dllm': 'model.gguf',
  'flux-like': 'diffusion_pytorch_model.gguf',
};
/** What is damaged, at 4 bits: the text model has an embedding and most of the types, the UNet has convolutions. */
const DAMAGES = { 'verses-dllm': 'file', 'digits-unet': 'convolution', 'flux-like': 'diffusers' };
const DAMAGED = '4 bits';
const DAMAGED_TYPE = 'Q3_K_M';

const exp = (x) => x.toExponential(1);
/** The titles of a file's checks, those that are wanted. */
function titlesOf(model, what, wanted) {
  const of = (reader) => `gguf ${reader}${model} ${what}`;
  const damaged = what === DAMAGED && model in DAMAGES;
  const titles = {
    file: of(''),
    header: of('header '),
    diffusers: model === 'flux-like' && of('diffusers '),
    damaged: (damaged || what === DAMAGED_TYPE) && `self-test ${of('')}`,
    damagedHeader: damaged && DAMAGES[model] === 'file' && `self-test ${of('header ')}`,
  };
  return Object.fromEntries(Object.entries(titles).filter(([, title]) => title && wanted(title)));
}

/** A check a reader, model and width, and self-tests. */
export async function runGgufFiles({ work, quantizeDiffusionModel, python, checker, report, wanted }) {
  const { exportModel } = await import('../dist/index.js');
  for (const model of Object.keys(FILE)) {
    const widths = BITS.map((bitWidth) => [`${bitWidth} bits`, { bitWidth }]);
    const kinds = TYPES[model].map((ggufType) => [ggufType, { ggufType }]);
    const chosen = [...widths, ...kinds]
      .map(([what, config]) => [what, config, titlesOf(model, what, wanted)])
      .filter(([, , titles]) => Object.keys(titles).length > 0);
    if (chosen.length === 0) continue;
    const original = TRAINED[model] ?? (await makeFluxLike(python, join(work, 'gguf-flux-like')));
    for (const [what, given, titles] of chosen) {
      const folder = join(work, `gguf-${model}-${what.replace(' ', '-')}`);
      const plain = exportModel && `${folder}-plain`;
      try {
        const config = { ...given, minAccuracy: 0 };
        await quantizeDiffusionModel({ modelPath: original, outputPath: folder, layout: 'gguf', config });
        if (exportModel) await exportModel({ from: folder, to: plain, layout: 'plain', plainDtype: 'f32' });
        const asked = given.ggufType && { asked: given.ggufType };
        await checkFolder({ model, original, folder, plain, asked, titles, checker, report });
      } catch (error) {
        report(Object.values(titles)[0], [error.message]);
      } finally {
        for (const made of [folder, plain].filter(Boolean)) await rm(made, { recursive: true, force: true });
      }
    }
  }
}

async function checkFolder({ model, original, folder, plain, asked, titles, checker, report }) {
  const r = await checker.ask('gguf', { original, folder, plain, ...asked });
  if (titles.file) report(titles.file, r.problems, `${types(r.types)}; ${own(r.own)}`);
  const seen = await gguf(join(folder, FILE[model]), { allowLocalFile: true });
  if (titles.header) report(titles.header, compareHeaders(seen, r.header), `${seen.tensorInfos.length} tensors`);
  if (titles.diffusers) {
    const d = await checker.ask('gguf_diffusers', { original, folder });
    report(titles.diffusers, d.problems, d.blocks === undefined ? '' : differences(d));
  }
  if (titles.damaged) {
    const kind = asked ? 'kind' : DAMAGES[model];
    const { unnoticed, damages } = await checker.ask('gguf_self_test', { original, folder, kind, ...asked });
    reportDamages(report, titles.damaged, unnoticed, damages);
  }
  if (titles.damagedHeader) {
    const damages = damagedHeaders(r.header);
    const unnoticed = damages.filter(([, header]) => compareHeaders(seen, header).length === 0).map(([what]) => what);
    reportDamages(report, titles.damagedHeader, unnoticed, damages.length);
  }
}

const types = (found) =>
  Object.entries(found)
    .map(([kind, { tensors, error }]) => `${tensors} ${kind}${error ? ` (error ${error.toPrecision(3)})` : ''}`)
    .join(', ');

const own = (found) =>
  found
    ? `own decoder: ${Object.entries(found)
        .map(([kind, off]) => `${kind} ${off === 0 ? 'bit-equal' : `within ${exp(off)}`}`)
        .join(', ')}`
    : 'own decoder not asked';

const differences = (d) =>
  `${d.blocks} tensors of blocks, weights ${exp(d.worstWeightDifference)} of the norm and ${exp(d.worstElementDifference)} of the largest, prediction ${exp(d.worstPredictionDifference)}`;

const reportDamages = (report, title, unnoticed, damages) =>
  report(
    title,
    unnoticed.map((what) => `${what}: not noticed`),
    damages === 1 ? 'one kind of damage is noticed' : `${damages} kinds of damage are noticed`,
  );

/** What @huggingface/gguf parsed against what gguf-py saw. The file has dimensions in reverse, and places from the start of the data. */
function compareHeaders(parsed, header) {
  const problems = [];
  const keys = new Map(Object.entries(header.keys).map(([name, value]) => [name.replace(/^GGUF\./, ''), value]));
  for (const name of new Set([...keys.keys(), ...Object.keys(parsed.metadata)])) {
    const [got, want] = [plainValue(parsed.metadata[name]), keys.get(name)];
    if (JSON.stringify(got) !== JSON.stringify(want)) problems.push(`${name}: ${got}, gguf-py has ${want}`);
  }
  if (parsed.tensorInfos.length !== header.tensors.length)
    problems.push(`${parsed.tensorInfos.length} tensors, gguf-py has ${header.tensors.length}`);
  for (const [at, info] of parsed.tensorInfos.entries()) {
    const place = Number(parsed.tensorDataOffset + info.offset);
    const got = JSON.stringify([info.name, info.shape.map(Number).reverse(), info.dtype, place]);
    const want = JSON.stringify(header.tensors[at]);
    if (got !== want) problems.push(`${got}, gguf-py has ${want}`);
  }
  return problems;
}

const plainValue = (value) =>
  typeof value === 'bigint' ? Number(value) : Array.isArray(value) ? value.map(plainValue) : value;

/** [what, header] of headers that differ from the one given in one respect. */
function damagedHeaders(header) {
  const at = header.tensors.findIndex(([, shape]) => shape.length === 2 && shape[0] !== shape[1]);
  const change = (edit) => {
    const copy = structuredClone(header);
    edit(copy, copy.tensors[at]);
    return copy;
  };
  return [
    ['a shape reversed', change((_, tensor) => tensor[1].reverse())],
    ['another type', change((_, tensor) => tensor.splice(2, 1, tensor[2] + 1))],
    ['another place', change((_, tensor) => tensor.splice(3, 1, tensor[3] + 32))],
    ['another name', change((_, tensor) => tensor.splice(0, 1, `${tensor[0]}_`))],
    ['a tensor missing', change((copy) => copy.tensors.pop())],
    ['a key missing', change((copy) => delete copy.keys['general.quantization_version'])],
    ['another value of a key', change((copy) => Object.assign(copy.keys, { 'general.file_type': 99 }))],
  ];
}
