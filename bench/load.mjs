#!/usr/bin/env node
// npm run bench:load [-- [--seconds 600] [--allocator] [--json]]: rounds of 100 jobs, 8 at a time, in one process: several widths and
// layouts, some that overwrite, some that are aborted, some that are aborted and resumed, some that fail with an error of their own.
//
// Fails when an output is not, byte for byte, that of the same job alone; when a job ends otherwise than it has to; when memory after a
// round grows by more than MOST_GROWTH for each job, by least squares over the second half of the time; and when files, threads or handles
// are open in the end that were not after the first rounds.
//
// The allocator of glibc keeps what threads have freed, in one arena for each of many threads, and so takes hours to show that nothing is
// held. It is told to give it back; with --allocator it is left as it is, and growth is told but not judged.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { quantizeDiffusionModel } from '../dist/index.js';

const JOBS = 100;
const AT_A_TIME = 8;
/** Rounds after which everything that is made once has been made. */
const WARM_UP = 2;
/** KiB for each job, of which a result alone has more. Tables of V8 double once in a while, by some MiB, whatever is alive. */
const MOST_GROWTH = 8;
/** The environment in which glibc gives back what is freed. */
const GIVES_BACK = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' };
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const MODEL = here('../testdata/digits-unet');
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    allocator: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
// Memory is measured after a collection, and the allocator reads its environment as the process starts.
if (globalThis.gc === undefined) {
  const env = { ...process.env, ...(values.allocator ? {} : GIVES_BACK) };
  process.exit(spawnSync(process.execPath, ['--expose-gc', ...process.argv.slice(1)], { env, stdio: 'inherit' }).status ?? 1);
}

/** Their number has no factor in common with that of the ways below, so that each meets each. */
const KINDS = {
  'sdnq, 4 bits': { bitWidth: 4 },
  'sdnq, 8 bits': { bitWidth: 8 },
  'sdnq, 2 bits': { bitWidth: 2 },
  'gguf, 4 bits': { bitWidth: 4, layout: 'gguf' },
  'parquet, 4 bits': { bitWidth: 4, layout: 'parquet' },
  'plain, 8 bits': { bitWidth: 8, layout: 'plain' },
  'sdnq and gguf, 8 bits': { bitWidth: 8, layout: ['sdnq', 'gguf'] },
};
const WAYS = ['whole', 'whole', 'whole', 'whole', 'whole', 'overwrite', 'overwrite', 'aborted', 'resumed', 'failing'];

const work = mkdtempSync(join(tmpdir(), 'aq-bench-load-'));
const broken = join(work, 'broken');
const taken = join(work, 'taken');
const FAILURES = {
  AQ_MODEL_NOT_FOUND: { modelPath: join(work, 'nowhere') },
  AQ_INVALID_BIT_WIDTH: { config: { bitWidth: 3 } },
  AQ_INVALID_CONFIG: { config: { skipLayers: ['no.such.layer'] } },
  AQ_VALIDATION_FAILED: { config: { bitWidth: 2, minAccuracy: 1, failFast: true } },
  AQ_OUTPUT_EXISTS: { outputPath: taken },
  AQ_CORRUPT_MODEL: { modelPath: broken },
};

/** A hash of every file below a folder, with its name. */
function hashOf(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const hash = createHash('sha256');
  for (const file of files.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    const bytes = readFileSync(file);
    hash.update(`${relative(folder, file)} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest('hex');
}

const quantize = ({ config, ...options }) =>
  quantizeDiffusionModel({ modelPath: MODEL, numThreads: 2, config: { minAccuracy: 0, ...config }, ...options });
const codeOf = (call) =>
  call.then(
    () => 'done',
    ({ code, message }) => code ?? message,
  );

/** Runs a job that is aborted while it encodes; the code it ends with. */
async function aborted(options, afterMs) {
  const controller = new AbortController();
  let timer;
  const onProgress = ({ phase }) => {
    if (phase === 'quantize') timer ??= setTimeout(() => controller.abort(), afterMs);
  };
  return codeOf(quantize({ ...options, onProgress, signal: controller.signal }));
}

const problems = [];
const endings = {};
function ended(name, context, as) {
  endings[as] = (endings[as] ?? 0) + 1;
  if (name !== as && problems.length < 20) problems.push(`${context}: ended with ${as}`);
}

/** One of a round's jobs, from nothing to nothing. */
async function job(number, wanted) {
  const kinds = Object.entries(KINDS);
  const [kind, config] = kinds[number % kinds.length];
  const way = WAYS[number % WAYS.length];
  const outputPath = join(work, `${way === 'overwrite' ? 'kept' : 'out'}-${number}`);
  const options = { outputPath, config };
  const context = `${number}. ${kind}, ${way}`;
  let expected = 'done';
  let code;
  if (way === 'failing') {
    const failures = Object.entries(FAILURES);
    const [wantedCode, change] = failures[Math.floor(number / WAYS.length) % failures.length];
    expected = wantedCode;
    code = await codeOf(quantize({ ...options, ...change }));
  } else if (way === 'aborted') {
    code = await aborted(options, number % 8);
    if (code !== 'done') expected = 'AQ_ABORTED';
  } else if (way === 'resumed') {
    code = await aborted({ ...options, resume: true }, number % 8);
    if (code !== 'done') ended('AQ_ABORTED', context, code);
    if (code === 'AQ_ABORTED') code = await codeOf(quantize({ ...options, resume: true }));
  } else {
    code = await codeOf(quantize({ ...options, overwrite: way === 'overwrite' }));
  }
  ended(expected, context, code);
  const isThere = existsSync(outputPath);
  if (isThere !== (code === 'done')) problems.push(`${context}: ended with ${code}, output ${isThere ? 'there' : 'absent'}`);
  if (isThere && hashOf(outputPath) !== wanted[kind]) problems.push(`${context}: other bytes than alone`);
  if (way !== 'overwrite') rmSync(outputPath, { recursive: true, force: true });
}

/** All of a round's jobs, so many at a time. */
async function round(wanted) {
  let next = 0;
  const worker = async () => {
    for (; next < JOBS; ) await job(next++, wanted);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

const count = (folder) => (existsSync(folder) ? readdirSync(folder).length : null);
/** What is open. A thread or handle that was told to end may take a moment. */
async function open() {
  await sleep(500);
  return {
    files: count('/proc/self/fd'),
    threads: count('/proc/self/task'),
    handles: process.getActiveResourcesInfo().toSorted().join(', '),
  };
}

async function memory() {
  for (let turn = 0; turn < 3; turn += 1) {
    globalThis.gc();
    await sleep(20);
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed };
}

/** The slope of a line through points, by least squares. */
function slope(points) {
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [x, y] = [mean(points.map((p) => p.x)), mean(points.map((p) => p.y))];
  const above = points.reduce((sum, p) => sum + (p.x - x) * (p.y - y), 0);
  return above / points.reduce((sum, p) => sum + (p.x - x) ** 2, 0);
}

function report({ samples, before, after }) {
  const half = samples.filter(({ at }) => at >= samples.at(-1).at / 2);
  const growth = (of) => (half.length > 2 ? slope(half.map((s) => ({ x: s.jobs, y: s[of] / 1024 }))) : null);
  const figures = { rssKibPerJob: growth('rss'), heapKibPerJob: growth('heapUsed') };
  const left = readdirSync(work).filter((name) => name.startsWith('.') || name.startsWith('out-'));
  if (left.length > 0) problems.push(`left behind: ${left.join(', ')}`);
  if (!values.allocator && figures.rssKibPerJob > MOST_GROWTH) problems.push(`memory grows by ${figures.rssKibPerJob.toFixed(2)} KiB for each job`);
  for (const [what, value] of Object.entries(before)) {
    if (after[what] !== value) problems.push(`${what}: ${value} after the first rounds, ${after[what]} in the end`);
  }
  const { at, jobs } = samples.at(-1);
  if (values.json) {
    console.log(JSON.stringify({ seconds: at, jobs, endings, ...figures, samples, open: { before, after }, problems }));
    return;
  }
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
  console.log(`${jobs} jobs, ${AT_A_TIME} at a time, in ${at.toFixed(0)} s: ${Object.entries(endings).map(([code, n]) => `${code} ${n}`).join(', ')}`);
  console.log(`memory after each round, MiB: ${samples.map(({ rss }) => mib(rss)).join(' ')}`);
  const line = (name, value, most) => `${name} ${value === null ? 'too few rounds to tell' : `${value.toFixed(2)} KiB per job`}${most}`;
  console.log(`growth over the second half: ${line('resident', figures.rssKibPerJob, values.allocator ? '' : ` (at most ${MOST_GROWTH})`)}, ${line('heap', figures.heapKibPerJob, '')}`);
  console.log(`open after the first rounds and in the end: files ${before.files} ${after.files}, threads ${before.threads} ${after.threads}, handles [${before.handles}] [${after.handles}]`);
  for (const problem of problems) console.log(`FAIL ${problem}`);
}

try {
  cpSync(MODEL, broken, { recursive: true });
  truncateSync(join(broken, 'unet/diffusion_pytorch_model.safetensors'), 1_000_000);
  mkdirSync(taken);
  const wanted = {};
  for (const [kind, config] of Object.entries(KINDS)) {
    const outputPath = join(work, 'alone');
    await quantize({ outputPath, config });
    wanted[kind] = hashOf(outputPath);
    rmSync(outputPath, { recursive: true });
  }
  const begun = performance.now();
  const samples = [];
  let before;
  for (let rounds = 1; samples.length < WARM_UP + 1 || samples.at(-1).at < Number(values.seconds); rounds += 1) {
    await round(wanted);
    if (rounds === WARM_UP) before = await open();
    samples.push({ at: (performance.now() - begun) / 1000, jobs: rounds * JOBS, ...(await memory()) });
    if (process.stderr.isTTY) process.stderr.write(`${samples.at(-1).jobs} jobs, ${samples.at(-1).at.toFixed(0)} s\n`);
  }
  report({ samples, before, after: await open() });
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = problems.length > 0 ? 1 : 0;
