#!/usr/bin/env node
// npm run bench:samples [-- [--models DIR] [--write]]: samples of the digit models at 2 bits beside the original's and SDNQ's, all from the
// same noise, and how far they are from the original's, as a table. Needs the package as built and the interop environment.
//
// Models come from the repository, with calibration of 8 rows a step; DIR (or AQ_MODELS) holds the full ones. --write puts the table into
// docs/quality.md and the pictures to docs/samples-MODEL.png.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { quantizeDiffusionModel } from '../dist/index.js';
import { pythonPath } from '../interop/checker.mjs';
import { TRAINED } from '../interop/models.mjs';

const BITS = 2;
const MODELS = ['digits-dit', 'digits-unet'];
const PAGE = new URL('../docs/quality.md', import.meta.url);
const MARKED = /<!-- samples -->[^]*<!-- end of samples -->/;
/** Jobs of default options: name, and whether recorded inputs are given. */
const JOBS = [
  ['arrow-quant', false],
  ['arrow-quant, calibrated', true],
];

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    models: { type: 'string', default: process.env.AQ_MODELS },
    write: { type: 'boolean', default: false },
  },
});

function folderOf(model) {
  const full = values.models === undefined ? undefined : join(values.models, model);
  return full !== undefined && existsSync(full) ? full : TRAINED[model];
}

/** Quantizes one model by each job; what samples.py is to open, NAME=FOLDER. */
async function quantized(model, modelPath, work) {
  const made = [];
  for (const [i, [name, calibrated]] of JOBS.entries()) {
    const outputPath = join(work, `${model}-${i}`);
    const config = { bitWidth: BITS, minAccuracy: 0 };
    if (calibrated) config.calibration = join(modelPath, 'calibration.safetensors');
    await quantizeDiffusionModel({ modelPath, outputPath, layout: 'sdnq', config });
    made.push(`${name}=${outputPath}`);
  }
  return made;
}

/** The lines of samples.py. */
function sampled(python, args) {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' };
  const { stdout, stderr, status, error } = spawnSync(python, [here('samples.py'), ...args], { encoding: 'utf8', env });
  if (error) throw error;
  if (status !== 0) throw new Error(`samples.py ended with ${status}: ${stderr.slice(-2000)}`);
  return stdout.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
}

function table(rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const lines = rows.map(({ model, method, bytes, distance, standardError }) => {
    const apart = method === 'original' ? '' : `${distance.toFixed(2)} ± ${standardError.toFixed(2)}`;
    return line([model, method, bytes === null ? '' : (bytes / 1e6).toFixed(2), apart]);
  });
  return `${[line(['model', 'method', 'MB', 'distance']), '| --- | --- | ---: | ---: |', ...lines].join('\n')}\n`;
}

const page = readFileSync(PAGE, 'utf8');
if (values.write && !MARKED.test(page)) throw new Error('docs/quality.md has no markers for the samples');
const work = mkdtempSync(join(tmpdir(), 'aq-bench-samples-'));
const rows = [];
try {
  const python = await pythonPath();
  for (const model of MODELS) {
    const folder = folderOf(model);
    const png = values.write ? ['--png', here(`../docs/samples-${model}.png`)] : [];
    const lines = sampled(python, [folder, ...(await quantized(model, folder, work)), '--sdnq', String(BITS), ...png]);
    rows.push(...lines.map((line) => ({ model, ...line })));
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
const made = table(rows);
console.log(made);
if (values.write) {
  writeFileSync(PAGE, page.replace(MARKED, () => `<!-- samples -->\n\n${made}\n<!-- end of samples -->`));
}
