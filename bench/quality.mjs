#!/usr/bin/env node
// npm run bench:quality [-- [--models DIR] [--references DIR] [--rows A,B] [--only digits-dit,...] [--json] [--write]
//   [--prototype DIR [--scripts DIR]]]: what each part of the methods is worth on the trained models, opened by their real loaders, and
// whether the targets are reached.
//
// Models come from the repository, with calibration of 8 rows a step; DIR (or AQ_MODELS) holds the full ones. References: a folder with
// MODEL.safetensors made with other seeds, in the place of the model's own. --write puts the tables into docs/quality.md.
//
// --prototype: holds the calibrated row without the first-block rule against the Python prototype of the methods (prototype.py), which is no
// part of the repository and opens models with the scripts' common.py (by default in MODELS/scripts). Fails when ours is over 1 dB behind at
// 2 or 4 bits on more than one model of three.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Checker, pythonPath } from '../interop/checker.mjs';
import { TRAINED } from '../interop/models.mjs';

const BITS = [2, 4, 8];
/** The row that the prototype stands beside, the widths that count there, and how many dB it may be ahead. */
const ALIKE_ROW = 'calibration, blocks alike';
const COUNTED = [2, 4];
const BEHIND_DB = 1;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    models: { type: 'string', default: process.env.AQ_MODELS },
    references: { type: 'string' },
    rows: { type: 'string' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    prototype: { type: 'string' },
    scripts: { type: 'string' },
  },
});
const scripts = values.scripts ?? (values.models === undefined ? undefined : join(values.models, 'scripts'));
if (values.prototype !== undefined && scripts === undefined) throw new Error('--prototype needs --scripts or --models');

/** A cell: mean and worst step, dB; of text perhaps the mean KL, nats. */
const cell = (mean, worst, kl) => ({ mean, worst, kl });
const ALIKE = { protectBlocks: 'none' };
const UNTIMED = { enableTimeAware: false };

/**
 * Rows of the table. `options` are the job's, `tuning` what is no option (crates/engine/src/tuning.rs); `targets` in the order DiT, UNet,
 * dLLM at 2, 4 and 8 bits each.
 */
const ROWS = [
  { name: 'min/max', options: { method: 'rtn', ...ALIKE, ...UNTIMED } },
  {
    name: 'no calibration, blocks alike',
    options: { ...ALIKE, ...UNTIMED },
    targets: [
      [cell(25.5, 2), cell(40.5), cell(62.5)],
      [cell(16.5, 2.5), cell(29), cell(53)],
      [cell(29.5, undefined, 0.007), cell(44), cell(67)],
    ],
  },
  { name: '- gain', options: { ...ALIKE, ...UNTIMED }, tuning: { gain: false } },
  { name: '- magnitude weights', options: { ...ALIKE, ...UNTIMED }, tuning: { magnitude: false } },
  { name: '- rotation', options: { ...ALIKE, ...UNTIMED, enableSpatial: false } },
  {
    name: 'no calibration, default',
    options: {},
    targets: [
      [cell(26.5, 15), cell(40.5, 28), cell(62.5, 43)],
      [cell(25, 15), cell(38.7, 28), cell(54, 34)],
      [cell(31), cell(45), cell(67)],
    ],
  },
  { name: '- computed time path', options: {}, tuning: { timePath: false } },
  {
    name: ALIKE_ROW,
    calibrated: true,
    options: ALIKE,
    targets: [
      [cell(34.5, 16.5), cell(48.3, 29), cell(65, 49.5)],
      [cell(20, 4), cell(34.3, 13.5), cell(57.8, 38)],
      [cell(38.5, undefined, 0.001), cell(54), cell(79)],
    ],
  },
  {
    name: 'calibration, default',
    calibrated: true,
    options: {},
    targets: [
      [cell(35.8, 21), cell(49, 34), cell(65.5, 50)],
      [cell(28, 18), cell(42.7, 32), cell(58, 38)],
      [cell(40), cell(55), cell(79)],
    ],
  },
  { name: '- sweep', calibrated: true, options: {}, tuning: { sweep: false } },
  { name: '- refit', calibrated: true, options: {}, tuning: { refit: false } },
  { name: '- activation order', calibrated: true, options: {}, tuning: { order: false } },
  { name: '- rotation', calibrated: true, options: { enableSpatial: false } },
  { name: '- computed time path', calibrated: true, options: {}, tuning: { timePath: false } },
  { name: '- second moments (mse)', calibrated: true, options: { method: 'mse' } },
];

function built() {
  const args = ['build', '--locked', '-q', '--profile', 'measure', '-p', 'aq-engine', '--example', 'quantize_once', '--message-format=json-render-diagnostics'];
  const { stdout, status } = spawnSync('cargo', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error('quantize_once could not be built');
  const lines = stdout.split('\n').filter((line) => line.includes('"executable":"'));
  return JSON.parse(lines.at(-1)).executable;
}

/** The model's folder as it is evaluated: its own, or one of links with another reference. */
function original(model, folder, work) {
  if (values.references === undefined) return folder;
  const made = join(work, `original-${model}`);
  mkdirSync(made);
  for (const name of readdirSync(folder)) {
    if (name !== 'reference.safetensors') symlinkSync(resolve(folder, name), join(made, name));
  }
  copyFileSync(join(values.references, `${model}.safetensors`), join(made, 'reference.safetensors'));
  return made;
}

function quantize(program, folder, output, row, bitWidth) {
  const options = { minAccuracy: 0, device: 'cpu', overwrite: true, bitWidth, groupSize: 64, ...row.options };
  if (row.calibrated) options.calibration = join(folder, 'calibration.safetensors');
  const args = [folder, output, JSON.stringify(options), JSON.stringify(row.tuning ?? {})];
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const misses = (found, want) =>
  want !== undefined &&
  (found.mean < want.mean || found.worst < (want.worst ?? -Infinity) || (want.kl !== undefined && found.kl > want.kl));

function text(found, want) {
  const kl = found.kl === undefined ? '' : `, KL ${found.kl < 0.001 ? found.kl.toExponential(1) : found.kl.toFixed(4)}`;
  const figures = `${found.mean.toFixed(1)} / ${found.worst.toFixed(1)}${kl}`;
  return misses(found, want) ? `**${figures}**` : figures;
}

function table(models, rows) {
  const head = ['', ...models.flatMap((m) => BITS.map((b) => `${m} ${b}b`))];
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const lines = [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:')))];
  for (const { row, cells } of rows) {
    lines.push(line([row.name, ...cells.map(({ found, want }) => text(found, want))]));
    if (row.targets !== undefined) {
      const bound = (w) => (w === undefined ? '' : [w.mean, w.worst].filter((v) => v !== undefined).join(' / ') + (w.kl ? `, KL ${w.kl}` : ''));
      lines.push(line(['*at least*', ...cells.map(({ want }) => bound(want))]));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** What the prototype makes of a model, in the order of the widths. */
function prototyped(python, folder) {
  const args = [here('prototype.py'), '--prototype', values.prototype, '--scripts', scripts, folder, ...BITS.map(String)];
  const env = { ...process.env, OMP_NUM_THREADS: '1' };
  const { stdout, stderr, status } = spawnSync(python, args, { encoding: 'utf8', env, maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(stderr);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line));
}

/** Ours beside the prototype's; `within`: models where ours is not too far behind at any width that counts. */
function beside(models, cells, theirs) {
  const rows = cells.map(({ model, bitWidth, found }) => {
    const { mean, worst, kl } = theirs[model].find(({ bits }) => bits === bitWidth);
    const difference = { mean: found.mean - mean, worst: found.worst - worst };
    return { model, bitWidth, ours: found, found: { mean, worst, kl }, difference };
  });
  const near = (row) => !COUNTED.includes(row.bitWidth) || row.difference.mean >= -BEHIND_DB;
  const within = models.filter((model) => rows.every((row) => row.model !== model || near(row))).length;
  return { name: `prototype, ${ALIKE_ROW}`, cells: rows, within, models: models.length, ok: 3 * within >= 2 * models.length };
}

function besideText({ cells, within, models }) {
  const signed = (db) => `${db < 0 ? '' : '+'}${db.toFixed(2)}`;
  const lines = cells.map(({ model, bitWidth, ours, found, difference }) => {
    const [mean, worst] = [signed(difference.mean), signed(difference.worst)];
    return `${model} ${bitWidth} bits: ${text(ours)}, prototype ${text(found)}: ${mean} / ${worst} dB`;
  });
  const counted = `${within} of ${models} models within ${BEHIND_DB} dB (mean) at ${COUNTED.join(' and ')} bits`;
  return [...lines, counted].join('\n');
}

const names = Object.keys(TRAINED).filter((name) => values.only === undefined || values.only.split(',').includes(name));
const wanted = values.rows?.split(',');
const results = ROWS.filter((row) => wanted === undefined || wanted.some((w) => row.name.includes(w))).map((row) => ({ row, cells: [] }));
const alike = results.find(({ row }) => row.name === ALIKE_ROW);
if (values.prototype !== undefined && alike === undefined) throw new Error(`--prototype needs the row "${ALIKE_ROW}"`);
const work = mkdtempSync(join(tmpdir(), 'aq-bench-quality-'));
const program = built();
const python = await pythonPath();
const checker = await Checker.start(python);
const theirs = {};
let missed = 0;
try {
  for (const [m, model] of Object.keys(TRAINED).entries()) {
    if (!names.includes(model)) continue;
    const folder = values.models !== undefined && existsSync(join(values.models, model)) ? join(values.models, model) : TRAINED[model];
    const reference = original(model, folder, work);
    for (const { row, cells } of results) {
      for (const [b, bitWidth] of BITS.entries()) {
        const output = join(work, 'out');
        const report = quantize(program, folder, output, row, bitWidth);
        const { mean, worstSqnrDb } = await checker.ask('evaluate', { original: reference, quantized: output });
        const found = { mean: mean.sqnrDb, worst: worstSqnrDb, kl: mean.kl, bits: report.bitsPerWeight, seconds: report.quantizationTimeS };
        const want = row.targets?.[m][b];
        if (misses(found, want)) missed += 1;
        cells.push({ model, bitWidth, found, want });
        if (!values.json) console.log(`${model} ${bitWidth} bits, ${row.name}: ${text(found, want)} (${found.bits.toFixed(2)} bits a weight)`);
        rmSync(output, { recursive: true, force: true });
      }
    }
    if (values.prototype !== undefined) theirs[model] = prototyped(python, reference);
  }
} finally {
  checker.stop();
  rmSync(work, { recursive: true, force: true });
}
const made = table(names, results);
const compared = values.prototype === undefined ? undefined : beside(names, alike.cells, theirs);
const rows = results.map(({ row, cells }) => ({ name: row.name, cells }));
console.log(values.json ? JSON.stringify(compared === undefined ? rows : [...rows, compared]) : `\n${made}`);
if (compared !== undefined && !values.json) console.log(`${besideText(compared)}\n`);
if (values.write) {
  const page = here('../docs/quality.md');
  const [before, after] = readFileSync(page, 'utf8').split(/<!-- table -->[^]*<!-- end of table -->/);
  writeFileSync(page, `${before}<!-- table -->\n\n${made}\n<!-- end of table -->${after}`);
}
console.log(`${missed} of the targets missed`);
process.exitCode = missed > 0 || compared?.ok === false ? 1 : 0;
