#!/usr/bin/env node
// npm run bench:peers [-- --json] [--threads N]: error and speed of our encoders beside ggml's and HQQ's.
//
// ggml is the ready library of an npm package for Linux x64, built by its authors for any x64 processor; HQQ comes from
// pip. Both are kept in a cache folder outside the clone and need the network once. Rounds alternate, theirs and ours,
// so that a slow spell of the machine falls on both, and the fastest round of each counts. Fails when a ratio is under
// its gate.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pythonPath } from '../interop/checker.mjs';
import { cacheFolder, ggmlLibrary, jsonLines, run } from './peer-libraries.mjs';

const ROUNDS = 3;
const [ROWS, COLS] = [2048, 3072];
const HQQ = ['hqq==0.2.8.post1', 'termcolor==3.3.0'];
/** torch is in the environment already, and the other dependencies serve loading models. */
const PIP_INSTALL = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
const HQQ_NAME = 'HQQ 4b g64';
/** Ours, theirs, and how many times as fast ours must be at least. */
const GATES = [
  ['rtn 8', 'Q8_0', 3],
  ['rtn 4', 'Q4_0', 1],
  ['mse 4', 'Q4_K', 10],
  ['mse 2', 'Q2_K', 4],
  ['mse 4', HQQ_NAME, 200],
];
const GATED = 'gauss';
/** A scale and a zero of 16 bits for each group. */
const GRID_BITS = 32;

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const say = (line) => process.stdout.write(`${line}\n`);
const note = (line) => process.stderr.write(`${line}\n`);

/** Where HQQ is; peers.py says so when it cannot be imported from there. */
function hqqFolder(cache, python) {
  const folder = join(cache, 'python', HQQ.join('-').replaceAll('==', '-'));
  if (existsSync(folder)) return folder;
  try {
    run(python, [...PIP_INSTALL, '--target', folder, ...HQQ]);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    note(`HQQ is not installed: ${error.message}`);
  }
  return folder;
}

const ours = ({ tensor, method, bits, group, sqnrDb, mweightsPerS }) => {
  return { tensor, who: `${method} ${bits}`, bpw: bits + GRID_BITS / group, sqnrDb, mweightsPerS };
};
const theirs = ({ tensor, peer, bpw, sqnrDb, mweightsPerS }) => ({ tensor, who: peer, bpw, sqnrDb, mweightsPerS });

/** The fastest row of each tensor and quantizer, and why peers were left out. */
function measure(weights, python, library, hqq, threads) {
  const rows = new Map();
  const skipped = new Map();
  const keep = (row) => {
    const key = `${row.tensor} ${row.who}`;
    if (!(rows.get(key)?.mweightsPerS >= row.mweightsPerS)) rows.set(key, row);
  };
  const example = ['run', '--locked', '-q', '--profile', 'measure', '-p', 'aq-engine', '--example', 'kernels', '--', '--json'];
  const path = [hqq, process.env.PYTHONPATH].filter(Boolean).join(delimiter);
  for (let round = 1; round <= ROUNDS; round++) {
    note(`round ${round} of ${ROUNDS}`);
    for (const line of jsonLines(run('cargo', [...example, '--threads', `${threads}`, weights]))) {
      if (line.kind === 'encode') keep(ours(line));
    }
    const peers = [here('peers.py'), weights, '--ggml', library, '--threads', `${threads}`];
    for (const line of jsonLines(run(python, peers, { PYTHONPATH: path }))) {
      if (line.skipped === undefined) keep(theirs(line));
      else skipped.set(line.peer, line.skipped);
    }
  }
  return { rows: [...rows.values()].sort((a, b) => a.tensor.localeCompare(b.tensor)), skipped };
}

/** Only HQQ may be missing: a gate without its figures is missed, not passed over. */
function ratios(rows, skipped) {
  const speed = (who) => rows.find((row) => row.tensor === GATED && row.who === who)?.mweightsPerS;
  return GATES.map(([our, their, least]) => {
    const gate = { ours: our, theirs: their, least };
    if (speed(our) === undefined || speed(their) === undefined) {
      const excused = their === HQQ_NAME && speed(our) !== undefined;
      return { ...gate, ratio: null, result: excused ? 'skipped' : 'MISS', why: skipped.get(their) ?? 'no figures' };
    }
    const ratio = speed(our) / speed(their);
    return { ...gate, ratio, result: ratio >= least ? 'ok' : 'MISS' };
  });
}

function print(rows, checks) {
  const line = (tensor, who, numbers) =>
    say(tensor.padEnd(8) + who.padEnd(12) + numbers.map((text) => text.padStart(13)).join(''));
  line('tensor', 'who', ['bits/weight', 'SQNR dB', 'Mweights/s']);
  for (const { tensor, who, bpw, sqnrDb, mweightsPerS } of rows) {
    line(tensor, who, [bpw.toFixed(3), sqnrDb?.toFixed(2) ?? '', mweightsPerS.toFixed(1)]);
  }
  for (const { ours: our, theirs: their, ratio, least, result, why } of checks) {
    say(`${result.padEnd(7)} ${our} at least ${least}x as fast as ${their}: ${why ?? `${ratio.toFixed(2)}x`}`);
  }
}

const { values } = parseArgs({ options: { json: { type: 'boolean' }, threads: { type: 'string' } } });
const threads = Number(values.threads ?? Math.min(2, availableParallelism()));
if (!Number.isInteger(threads) || threads < 1) throw new Error(`--threads takes a count, not ${values.threads}`);

const work = mkdtempSync(join(tmpdir(), 'aq-bench-peers-'));
try {
  const python = await pythonPath();
  const cache = cacheFolder();
  const [library, hqq] = [ggmlLibrary(cache), hqqFolder(cache, python)];
  const weights = join(work, 'weights.safetensors');
  run(python, [here('weights.py'), weights, '--rows', `${ROWS}`, '--cols', `${COLS}`]);
  const { rows, skipped } = measure(weights, python, library, hqq, threads);
  const checks = ratios(rows, skipped);
  if (values.json) say(JSON.stringify({ threads, rows, ratios: checks }));
  else print(rows, checks);
  process.exitCode = checks.some(({ result }) => result === 'MISS') ? 1 : 0;
} finally {
  rmSync(work, { recursive: true, force: true });
}
