#!/usr/bin/env node
// npm run bench:model [-- [--sizes 1,2,4] [--layouts] [--sdnq] [--json] [FOLDER]]: whole jobs on a model, each in a process of its own: time, peak
// memory, bytes read and written, how far apart the ticks of a 10 ms timer come, and how promptly a job is aborted.
//
// Without a folder, a FLUX-shaped one of 1.6 GiB is made by flux_like.py (needs the interop environment), and one of each further size.
// Fails when the peak is over 450 MiB, when an abort takes over a second or leaves a file, when a job of n times the weights takes more
// memory (10 %) or more than n times the time (15 %), when with --layouts several layouts in one job take longer than alone, and with --sdnq when a job takes more than its share of SDNQ's time.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pythonPath } from '../interop/checker.mjs';

const MIB = 2 ** 20;
const MOST_MEMORY = 450 * MIB;
const MOST_ABORT_MS = 1000;
const THREADS = 2;
/** Those that a diffusers model of a known architecture can have. */
const LAYOUTS = ['sdnq', 'gguf', 'comfyui', 'parquet', 'compressed-tensors', 'plain'];
/** Best of these: the first run also warms the page cache. */
const RUNS = 3;
/** Makes the page cache forget the files that it is given. */
const FORGET = 'import os, sys\nfor p in sys.argv[1:]:\n f = os.open(p, os.O_RDONLY); os.fsync(f); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)';
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sizes: { type: 'string', default: '1' },
    sdnq: { type: 'boolean', default: false },
    layouts: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

/** One job in a child process, aborted at its first progress where that is asked for; what it and its report say of it. */
function job(modelPath, outputPath, config, abort = false) {
  const script = `
    const { quantizeDiffusionModel } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)});
    const { readFileSync } = await import('node:fs');
    const controller = new AbortController();
    let abortedAt, last = performance.now(), widest = 0, ticks = 0, events = 0;
    const timer = setInterval(() => { const now = performance.now(); widest = Math.max(widest, now - last); last = now; ticks += 1; }, 10);
    const onProgress = ({ phase }) => {
      events += 1;
      if (!${abort} || phase !== 'quantize' || abortedAt !== undefined) return;
      abortedAt = performance.now();
      controller.abort();
    };
    const options = { modelPath: ${JSON.stringify(modelPath)}, outputPath: ${JSON.stringify(outputPath)}, signal: controller.signal };
    const cpu = process.cpuUsage(), begun = performance.now();
    const result = await quantizeDiffusionModel({ ...options, onProgress, config: ${JSON.stringify(config)} })
      .catch((error) => ({ error: error.code }));
    const now = performance.now(), { user, system } = process.cpuUsage(cpu);
    clearInterval(timer);
    const io = process.platform === 'linux' ? readFileSync('/proc/self/io', 'utf8') : '';
    const count = (name) => Number(new RegExp('^' + name + ': ([0-9]+)$', 'm').exec(io)?.[1] ?? 0);
    console.log(JSON.stringify({ seconds: (now - begun) / 1000, cpuSeconds: (user + system) / 1e6, abortMs: now - abortedAt,
      error: result.error, megabytes: result.modelSizeMb, sqnrDb: result.sqnrDb, maxRss: process.resourceUsage().maxRSS * 1024,
      bytesRead: count('rchar'), bytesWritten: count('wchar'), widestTickMs: widest, ticks, events }));`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const work = mkdtempSync(join(tmpdir(), 'aq-bench-model-'));
const output = join(work, 'out');
const rows = [];
let failed = 0;
function check(title, ok, figures, row = {}) {
  if (!ok) failed += 1;
  rows.push({ title, ok, figures, ...row });
  if (!values.json) console.log(`${ok ? 'ok  ' : 'FAIL'} ${title}: ${figures}`);
}

function python(...args) {
  const { stdout, stderr, status } = spawnSync(interpreter, args, { encoding: 'utf8', maxBuffer: 64 * MIB });
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}: ${stderr.slice(-500)}`);
  return stdout;
}

/** The fastest of several jobs. */
function best(model, config) {
  const runs = [];
  for (let run = 0; run < RUNS; run += 1) {
    runs.push(job(model, output, { minAccuracy: 0, numThreads: THREADS, ...config }));
    rmSync(output, { recursive: true, force: true });
  }
  return runs.find(({ error }) => error !== undefined) ?? runs.toSorted((a, b) => a.seconds - b.seconds)[0];
}

const bytesOf = (folder) => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
const gb = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

/** Checks one job; returns its figures. */
function measure(title, model, config) {
  const run = best(model, config);
  const times = `${run.seconds.toFixed(2)} s (${run.cpuSeconds.toFixed(2)} s CPU), peak ${(run.maxRss / MIB).toFixed(0)} MiB`;
  const bytes = `read ${gb(run.bytesRead)}, wrote ${gb(run.bytesWritten)}`;
  const loop = `${run.events} events, timer at most ${run.widestTickMs.toFixed(0)} ms late`;
  const figures = `${times}, ${bytes}, ${run.megabytes?.toFixed(1)} MB, ${run.sqnrDb?.toFixed(2)} dB, ${loop}`;
  const ok = run.error === undefined && run.maxRss < MOST_MEMORY && run.widestTickMs < Math.max(100, run.seconds * 250);
  check(title, ok, run.error ?? figures, run);
  return run;
}

let interpreter;
try {
  let [model] = positionals;
  const sizes = values.sizes.split(',').map(Number);
  if (model === undefined || values.sdnq) interpreter = await pythonPath();
  const made = (size) => {
    const folder = join(work, `flux-like-${size}x`);
    python(here('flux_like.py'), folder, '--double', String(size), '--single', String(3 * size));
    return folder;
  };
  model ??= made(1);
  if (!values.json) console.log(`model ${(bytesOf(model) / MIB).toFixed(0)} MiB, ${THREADS} threads`);

  for (const bitWidth of [8, 4, 2]) measure(`${bitWidth} bits`, model, { bitWidth });

  if (values.layouts) {
    const alone = {};
    for (const layout of LAYOUTS) alone[layout] = measure(`layout ${layout}, 4 bits`, model, { bitWidth: 4, layout });
    for (const [layout, { seconds }] of Object.entries(alone)) {
      check(`layout ${layout} / sdnq`, true, `${(seconds / alone.sdnq.seconds).toFixed(3)} of its time`);
    }
    for (const list of [['sdnq', 'parquet', 'plain'], LAYOUTS]) {
      const { seconds } = measure(`layouts ${list.join(', ')} in one job`, model, { bitWidth: 4, layout: list });
      const ratio = seconds / list.reduce((sum, layout) => sum + alone[layout].seconds, 0);
      check(`layouts ${list.join(', ')} / one after the other`, ratio < 1.1, `${ratio.toFixed(3)} of their time`, { ratio });
    }
  }

  if (values.sdnq) {
    const sdnq = JSON.parse(python(here('sdnq_model.py'), model, output, '--threads', String(THREADS)).trim().split('\n').at(-1));
    rmSync(output, { recursive: true, force: true });
    check('SDNQ uint4', true, `${sdnq.seconds.toFixed(2)} s, peak ${(sdnq.maxRss / MIB).toFixed(0)} MiB`, sdnq);
    for (const [title, config, share] of [
      ['rtn 4 bits, no block protected', { method: 'rtn', protectBlocks: 'none' }, 0.25],
      ['mse 4 bits, no block protected', { method: 'mse', protectBlocks: 'none' }, 0.5],
      ['default 4 bits', {}, 1],
    ]) {
      const run = measure(title, model, { bitWidth: 4, ...config });
      const ratio = run.seconds / sdnq.seconds;
      check(`${title} / SDNQ uint4`, ratio <= share, `${ratio.toFixed(3)} of its time, at most ${share}`, { ratio });
    }
  }

  let first;
  for (const size of sizes.length > 1 ? sizes : []) {
    const folder = size === 1 && positionals.length === 0 ? model : made(size);
    const run = measure(`${size}x the weights, 4 bits`, folder, { bitWidth: 4 });
    const weights = bytesOf(folder);
    first ??= { ...run, weights };
    const memory = run.maxRss / first.maxRss;
    const time = run.seconds / first.seconds / (weights / first.weights);
    const figures = `${memory.toFixed(3)} of the memory, ${time.toFixed(3)} of the time per weight`;
    check(`${size}x / ${sizes[0]}x`, memory <= 1.1 && time <= 1.15, figures, { memory, time });
    if (folder !== model) rmSync(folder, { recursive: true, force: true });
  }

  // Only where the means to make the cache forget is at hand; the system may keep what it likes.
  if (interpreter !== undefined && process.platform === 'linux') {
    const config = { bitWidth: 4, minAccuracy: 0, numThreads: THREADS };
    const times = { warm: [], cold: [] };
    for (let run = 0; run < RUNS; run += 1) {
      for (const [state, list] of Object.entries(times)) {
        if (state === 'cold') python('-c', FORGET, ...readdirSync(model).map((name) => join(model, name)));
        list.push(job(model, output, config).seconds);
        rmSync(output, { recursive: true, force: true });
      }
    }
    const [warm, cold] = Object.values(times).map((list) => Math.min(...list));
    check('page cache cold / warm, 4 bits', true, `${(cold / warm).toFixed(3)} of the time`, { ratio: cold / warm });
  }

  const before = readdirSync(work).join();
  const { error, abortMs } = job(model, output, { bitWidth: 4 }, true);
  const left = readdirSync(work).join() === before ? 'nothing left' : `left ${readdirSync(work)}`;
  check('abort', error === 'AQ_ABORTED' && abortMs < MOST_ABORT_MS && left === 'nothing left', `${error}, ${abortMs?.toFixed(0)} ms, ${left}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (values.json) console.log(JSON.stringify(rows));
process.exitCode = failed > 0 ? 1 : 0;
