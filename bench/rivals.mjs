#!/usr/bin/env node
// npm run bench:rivals [-- [--write] [--hidden N] [--iters N] [--rounds N] [--only flux,digits-dit,...] [--limit S]]: torchao and AutoRound
// beside ours at 4 bits: time, memory and bytes of whole jobs on a FLUX-shaped folder, and how near the predictions of the trained models stay.
//
// Uses the package as built. Prints a page, with --write into docs/rivals.md. Both tools come from pip into a cache folder outside the clone,
// beside the torch of the interop environment (rivals.py), and need the network once. What a tool cannot do is a line with its own message.
// --hidden 512 --iters 5 --rounds 1 is quick, for a try.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pythonPath } from '../interop/checker.mjs';
import { TRAINED } from '../interop/models.mjs';
import { cacheFolder, run } from './peer-libraries.mjs';

const MIB = 2 ** 20;
const [BITS, GROUP, THREADS] = [4, 64, 2];
/** The newest torchao whose compiled parts fit the environment's torch; of what AutoRound needs, that which the environment lacks. */
const PINS = [
  ['torchao==0.16.0'],
  [
    ...['auto-round==0.16.1', 'auto-round-lib==0.16.0', 'py-cpuinfo==9.0.0', 'datasets==5.2.0', 'dill==0.4.1'],
    ...['multiprocess==0.70.19', 'xxhash==4.1.0', 'pandas==3.1.1', 'python-dateutil==4.0.0', 'six==1.17.0'],
  ],
];
const PIP_INSTALL = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
/** How often memory is looked at. */
const LOOK_MS = 20;
/** Smaller differences are not told: of mean and worst step, dB (other roundings move them as far), and of anything else, as a share. */
const [LEAST_MEAN, LEAST_WORST, LEAST_SHARE] = [1, 2, 0.05];

const OURS = 'arrow-quant';
const CALIBRATED = 'arrow-quant, calibrated';
const MIN_MAX = 'arrow-quant, min/max';
const AO = 'torchao';
const PACKED = 'torchao, packed for CPUs';
const TUNED = 'AutoRound, tuned';
/** Rows of the FLUX-shaped folder: `config` is ours, `writer` one of rivals.py's. */
const FLUX = [
  { who: MIN_MAX, config: { minAccuracy: 0, method: 'rtn', protectBlocks: 'none' } },
  { who: 'arrow-quant, searched', config: { minAccuracy: 0, method: 'mse', protectBlocks: 'none' } },
  { who: OURS, config: { minAccuracy: 0 } },
  { who: AO, writer: 'torchao' },
  { who: PACKED, writer: 'torchao-packed' },
  { who: 'torchao, Int4WeightOnlyConfig', writer: 'torchao-int4' },
  { who: 'AutoRound, model-free', writer: 'autoround' },
];
/** Rows of the trained models. */
const PREDICTED = [
  { who: OURS, config: {} },
  { who: CALIBRATED, config: {}, calibrated: true },
  { who: AO, writer: 'torchao' },
  { who: 'arrow-quant, layers of torchao', config: { minAccuracy: 0 }, layersOf: AO },
  { who: 'torchao, HQQ', writer: 'torchao-hqq' },
  { who: PACKED, writer: 'torchao-packed' },
  { who: 'AutoRound, model-free', writer: 'autoround' },
  { who: TUNED, writer: 'autoround-tuned' },
];
/** Where torchao refuses groups of 64, since rows are no multiple of them, it is asked again. */
const OTHER_GROUP = { 'digits-unet': 48 };
const GROUPED = ['torchao', 'torchao-hqq'];

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const note = (line) => process.stderr.write(`${line}\n`);
const fixed = (value, digits) => (value === undefined ? '' : value.toFixed(digits));
const { values } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    hidden: { type: 'string', default: '3072' },
    iters: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '2' },
    only: { type: 'string' },
    limit: { type: 'string', default: '600' },
  },
});
const wanted = (name) => values.only === undefined || values.only.split(',').includes(name);

/** A folder of pip's with these packages and nothing else; the pins are in its name, and it is there whole or not at all. */
function pipFolder(python, pins) {
  const hash = createHash('sha256').update(pins.join()).digest('hex').slice(0, 8);
  const folder = join(cacheFolder(), 'python', `${pins[0].replace('==', '-')}-${hash}`);
  if (existsSync(folder)) return folder;
  note(`installing ${pins[0]}`);
  rmSync(`${folder}.new`, { recursive: true, force: true });
  run(python, [...PIP_INSTALL, '--target', `${folder}.new`, ...pins]);
  renameSync(`${folder}.new`, folder);
  return folder;
}

/** What a file below /proc says, or its folder holds; nothing where there is none, or no longer. */
function proc(read, ...path) {
  try {
    return read(join('/proc', ...path.map(String)), 'utf8');
  } catch {
    return '';
  }
}

/** A process and those that it began. */
function family(pid) {
  const children = [...proc(readdirSync, pid, 'task')].map((thread) => proc(readFileSync, pid, 'task', thread, 'children'));
  return [pid, ...children.join(' ').split(' ').filter(Boolean).flatMap(family)];
}

/** Bytes that a process and its children hold; pages of files, which they share, are counted once. One process tells its peak itself. */
function resident(pid) {
  const kib = (status, name) => Number(new RegExp(`^${name}:\\s+([0-9]+) kB$`, 'm').exec(status)?.[1] ?? 0);
  const all = family(pid).map((id) => proc(readFileSync, id, 'status'));
  const own = all.reduce((sum, status) => sum + kib(status, 'RssAnon'), 0);
  const shared = Math.max(...all.map((status) => kib(status, 'RssFile') + kib(status, 'RssShmem')));
  return 1024 * Math.max(own + shared, ...all.map((status) => kib(status, 'VmHWM')));
}

/** Runs a command: its line of JSON, the seconds of the whole process and the peak of its memory. What takes too long is given up. */
async function measured(command, args, env = {}) {
  const begun = performance.now();
  const options = { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...env } };
  const child = spawn(command, args, options);
  let [peak, printed, said, late] = [0, '', '', false];
  child.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said = (said + text).slice(-2000);
  });
  const look = setInterval(() => {
    peak = Math.max(peak, resident(child.pid));
  }, LOOK_MS);
  const stop = setTimeout(() => {
    late = true;
    spawnSync('kill', ['-9', ...family(child.pid).map(String)]);
  }, 1000 * Number(values.limit));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  const whole = (performance.now() - begun) / 1000;
  clearInterval(look);
  clearTimeout(stop);
  if (late) return { skipped: `not done in ${values.limit} s` };
  const line = printed.split('\n').findLast((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined) throw new Error(`${command} ${args[0]} ended with ${code}\n${said}`);
  return { ...JSON.parse(line), whole, peak: peak || undefined };
}

/** One of our jobs, in a process of its own. */
function ourJob(modelPath, outputPath, config) {
  const script = `
    const { quantizeDiffusionModel } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)});
    const begun = performance.now();
    await quantizeDiffusionModel(${JSON.stringify({ modelPath, outputPath, layout: 'sdnq', config })});
    console.log(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));`;
  return measured(process.execPath, ['--input-type=module', '-e', script]);
}

const work = mkdtempSync(join(tmpdir(), 'aq-bench-rivals-'));
const out = join(work, 'out');
const python = await pythonPath();
const path = [...PINS.map((pins) => pipFolder(python, pins)), process.env.PYTHONPATH].filter(Boolean).join(delimiter);
const asked = (threads, ...args) => measured(python, [here('rivals.py'), ...args], { PYTHONPATH: path, OMP_NUM_THREADS: `${threads}` });
const skipped = [];

/** A message without paths of this machine and addresses, in one line. */
function plain(message) {
  const paths = [work, here('..').replace(/\/$/, ''), homedir()].reduce((text, folder) => text.replaceAll(folder, '…'), message);
  const line = paths
    .replace(/https?:\/\/\S+|host='[^']*'/g, '…')
    .replace(/\s+/g, ' ')
    .replaceAll('`', "'");
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

/** One job, from folder to folder, and what came out of it, unless that was `judged` before; nothing where a tool could not. */
async function job(title, row, model, threads, { judged, predict, layers }) {
  rmSync(out, { recursive: true, force: true });
  note(`${title}, ${row.who}`);
  const failed = (what, message) => {
    skipped.push(`- ${title}, ${row.who}${what}: \`${plain(message)}\``);
  };
  const args = [row.writer, model, out, '--group', `${row.group ?? GROUP}`, '--iters', values.iters];
  const config = { bitWidth: BITS, groupSize: GROUP, numThreads: threads, ...row.config, ...layers };
  if (row.calibrated) config.calibration = join(model, 'calibration.safetensors');
  const made = row.writer === undefined ? await ourJob(model, out, config) : await asked(threads, 'quantize', ...args);
  if (made.skipped !== undefined) return failed('', made.skipped);
  if (judged !== undefined) return { ...judged, ...made };
  const found = await asked(THREADS, 'judge', row.writer ?? 'ours', model, out, ...(predict ? ['--predict'] : []));
  if (found.skipped !== undefined) return failed(', what it wrote', found.skipped);
  if (typeof found.opens === 'string') failed(', opening what it wrote', found.opens);
  return { ...found, ...made };
}

/** SQNR of the weights, dB, over the layers that all rows hold in so many bits. */
function onCommon(rows) {
  const all = rows.map(({ layers }) => layers);
  const names = Object.keys(all[0]).filter((name) => all.every((layers) => layers[name]?.[0] === BITS));
  for (const row of rows) {
    const sum = (i) => names.reduce((total, name) => total + row.layers[name][i], 0);
    row.weightsDb = names.length > 0 ? 10 * Math.log10(sum(2) / sum(3)) : undefined;
    row.share = Object.values(row.layers).reduce((total, [, weights]) => total + weights, 0) / row.weights;
  }
  return names.length;
}

/** Jobs in turns, so that a slow spell of the machine falls on all. torch's threads wait by spinning: it takes all threads and one in turns. */
async function flux() {
  const model = join(work, 'flux-like');
  run(python, [here('flux_like.py'), model, '--hidden', values.hidden]);
  const best = new Map();
  const left = new Set(FLUX);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const row of left) {
      const threads = row.writer !== undefined && round % 2 === 1 ? 1 : THREADS;
      const before = best.get(row.who);
      const found = await job('FLUX-shaped', row, model, threads, { judged: before && { ...before } });
      if (found === undefined) left.delete(row);
      else if (!(before?.seconds <= found.seconds)) best.set(row.who, { who: row.who, ...found });
    }
  }
  const rows = FLUX.flatMap(({ who }) => best.get(who) ?? []);
  return { rows, common: onCommon(rows), bytes: bytesOf(model) };
}

/** Every row of a trained model, on one thread. */
async function trained(title, model) {
  const rows = [];
  const list = PREDICTED.flatMap((row) => {
    const group = GROUPED.includes(row.writer) ? OTHER_GROUP[title] : undefined;
    return group === undefined ? [row] : [row, { ...row, who: `${row.who}, groups of ${group}`, group }];
  });
  for (const row of list) {
    const theirs = rows.find(({ who }) => row.layersOf !== undefined && who.startsWith(row.layersOf))?.layers;
    if (row.layersOf !== undefined && theirs === undefined) continue;
    const [all, same] = [rows.find(({ who }) => who === OURS)?.layers, Object.keys(theirs ?? {})];
    const layers = theirs && {
      skipLayers: Object.keys(all).filter((name) => !(name in theirs)),
      layerBitWidths: Object.fromEntries(same.map((name) => [name, BITS])),
    };
    const found = await job(title, row, model, 1, { predict: true, layers });
    if (found !== undefined) rows.push({ who: row.who, ...found });
  }
  return { title, rows, common: onCommon(rows) };
}

const bytesOf = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { name }) => sum + statSync(join(folder, name)).size, 0);

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = head.map((name) => (name === 'model' || name === 'tool' || name === 'opens' ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

const opening = (row) => (row.opens === true ? 'yes' : 'no');

function fluxTable({ rows }) {
  const base = rows.find(({ who }) => who === MIN_MAX);
  const head = ['tool', 's', 'times ours', 'with start, s', 'peak MiB', 'times ours', 'MB', 'layers', 'weights dB', 'opens'];
  const times = (value, own) => (value === undefined ? '' : fixed(value / own, 2));
  return table(
    head,
    rows.map((row) => [
      ...[row.who, fixed(row.seconds, 2), times(row.seconds, base.seconds), fixed(row.whole, 1)],
      ...[row.peak === undefined ? '' : fixed(row.peak / MIB, 0), times(row.peak, base.peak), fixed(row.bytes / 1e6, 1)],
      ...[Object.keys(row.layers).length, fixed(row.weightsDb, 2), opening(row)],
    ]),
  );
}

function trainedTable(models) {
  const head = ['model', 'tool', 's', 'MB', 'layers', '% of weights', 'weights dB', 'mean dB', 'worst step dB', 'KL, nats', 'opens'];
  return table(
    head,
    models.flatMap(({ title, rows }) =>
      rows.map((row) => [
        ...[title, row.who, fixed(row.seconds, 1), fixed(row.bytes / 1e6, 2), Object.keys(row.layers).length],
        ...[fixed(100 * row.share, 0), fixed(row.weightsDb, 1), fixed(row.mean, 1), fixed(row.worst, 1), fixed(row.kl, 5), opening(row)],
      ]),
    ),
  );
}

/** What of `row` is better than of `other`, in words. */
function betterThan(row, other) {
  const less = (what, key) => (row[key] < other[key] * (1 - LEAST_SHARE) ? [`${fixed(row[key] / other[key], 2)} of the ${what}`] : []);
  const above = (what, key, least) => (row[key] - other[key] >= least ? [`${fixed(row[key] - other[key], 1)} dB more ${what}`] : []);
  return [
    ...above('in the mean', 'mean', LEAST_MEAN),
    ...above('at the worst step', 'worst', LEAST_WORST),
    ...(row.mean === undefined ? above('in the weights of the common layers', 'weightsDb', LEAST_MEAN / 2) : []),
    ...less('bytes', 'bytes'),
    ...(row.mean === undefined ? [...less('time', 'seconds'), ...less('memory', 'peak')] : less('time', 'seconds')),
  ];
}

/** What it costs in bytes, where that is much. */
const inBytes = (row, other) =>
  row.bytes > other.bytes * (1 + LEAST_SHARE) ? `, in ${fixed(row.bytes / other.bytes, 2)} times the bytes` : '';

/** Lines of what they do better, and of what we do: tuned beside calibrated, the rest beside our default. */
function verdicts(tables) {
  const [theirs, ours] = [[], []];
  for (const { title, rows } of tables) {
    for (const row of rows.filter(({ who }) => !who.startsWith(OURS))) {
      const other = rows.find(({ who }) => who === (row.who === TUNED ? CALIBRATED : OURS));
      const [more, fewer] = [betterThan(row, other), betterThan(other, row)];
      if (more.length > 0) theirs.push(`- ${title}, ${row.who} beside ${other.who}: ${more.join(', ')}${inBytes(row, other)}.`);
      if (fewer.length > 0) ours.push(`- ${title}, ${other.who} beside ${row.who}: ${fewer.join(', ')}${inBytes(other, row)}.`);
    }
  }
  return { theirs, ours };
}

function page(large, models, versions) {
  const found = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const { theirs, ours } = verdicts([...(large ? [{ title: 'FLUX-shaped', ...large }] : []), ...models]);
  const on = models.map(({ title, common }) => `${title} ${common}`).join(', ');
  const parts = [
    `# torchao and AutoRound

Written by \`npm run bench:rivals\` in one run, without a GPU. Machines differ, ratios hold.
${found.join(', ')}.

All at ${BITS} bits in groups of ${GROUP} with zeros (torchao's HQQ has none). Every job goes from folder to folder in a process of its own. Weights are
compared as they are stored: ours as SDNQ's loader decodes them, torchao's as its tensors do, AutoRound's as \`bench/rivals.py\` unpacks them.

- "torchao" is \`IntxWeightOnlyConfig\` (min/max, int4), applied by diffusers or transformers to a model opened in the type that it is stored in,
  and saved by them: a byte a code.
- "packed for CPUs" is torchao's prototype \`Int4WeightOnlyOpaqueTensorConfig\`: two codes a byte, pickled by torch, since no loader saves it.
- "AutoRound, model-free" is its mode that reads weights alone, "tuned" the one that it is known for; both without \`torch.compile\`.
- "arrow-quant" alone is our default, without recorded inputs; "searched" the default's search (\`mse\`) without its rules for blocks.`,
  ];
  if (large) {
    const { rows, common, bytes } = large;
    parts.push(`## A FLUX-shaped folder

Random weights in bf16, ${fixed(bytes / 2 ** 30, 2)} GiB, ${THREADS} threads. Jobs in turns, of each the fastest of ${values.rounds}; torch has all threads and one by turns, since
its threads wait by spinning. Seconds are without imports, then of the whole process. Memory is the largest that the processes of a job held,
pages of files counted once. "times ours": against the first row, since torchao and AutoRound do here what it does, min/max. dB: SQNR of the
weights, over the ${common} layers that all hold in ${BITS} bits. "opens": diffusers opens what was written. torchao's HQQ was not run on it.

${fluxTable({ rows })}`);
  }
  if (models.length > 0) {
    parts.push(`## Trained models

The inputs of \`npm run test:interop -- quality\`, computed in float32: SQNR of the prediction in dB, mean over steps and worst step, and of text
the mean KL. Jobs on one thread, one run each; seconds without imports.

- "calibrated": with the recorded inputs of the repository, 8 rows a layer and step. It and "tuned" give up weights for outputs.
- "tuned": ${values.iters} iterations a block; of digits-dit on 20 runs of its own, 8 steps each, of verses-dllm on 128 windows of the texts that it is
  judged by, under other masks, which can only flatter it.
- "layers of torchao": ours in just the layers that torchao takes, each at ${BITS} bits. torchao and AutoRound leave convolutions as they are.
- "weights dB": over the layers that all tools hold in ${BITS} bits (${on}).

${trainedTable(models)}`);
  }
  if (skipped.length > 0) parts.push(`## What did not work\n\nWith the tool's own message.\n\n${skipped.join('\n')}`);
  parts.push(`## Where they are better

Measured here: beside our default, and what is tuned beside our calibrated job. Left out are differences of predictions under ${LEAST_MEAN} dB (mean) and
${LEAST_WORST} dB (worst step), and shares within ${100 * LEAST_SHARE} %. Mind layers and bytes: who quantizes less predicts better.

${theirs.join('\n') || '- nothing'}

Not measured here, by their own documentation:

- torchao's tensors run: kernels for GPUs, \`torch.compile\`, training with quantized weights. We write files, which others run.
- torchao has types that we have not: 8-bit floats, microscaling formats, integers of 1 to 7 bits, quantized activations.
- AutoRound tunes by gradients, which a GPU makes quicker. It needs no file of recorded inputs, only samples, and records by itself.
- AutoRound writes formats of GPTQ, AWQ and GGUF, MXFP and NVFP; vLLM and SGLang load what it writes.

## Where we are

${ours.join('\n') || '- nothing'}

Not measured here: no Python is needed, memory does not grow with the model ([performance.md](performance.md)), and a report says what each layer
lost.`);
  return `${parts.join('\n\n')}\n`;
}

try {
  const versions = await asked(1, 'versions');
  const { skipped: missing, whole: _, peak: __, ...found } = versions;
  if (missing !== undefined) throw new Error(missing);
  const large = wanted('flux') ? await flux() : undefined;
  const models = [];
  for (const [title, model] of Object.entries(TRAINED)) {
    if (wanted(title)) models.push(await trained(title, model));
  }
  const text = page(large, models, found);
  process.stdout.write(text);
  if (values.write) writeFileSync(here('../docs/rivals.md'), text);
} finally {
  rmSync(work, { recursive: true, force: true });
}
