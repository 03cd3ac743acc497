#!/usr/bin/env node
// npm run bench:model [-- FOLDER]: peak memory and time of whole jobs in a process of their own, and how promptly one is aborted.
//
// Without a folder, a FLUX-shaped one of 1.6 GiB is made by flux_like.py (needs the interop environment). Fails when the peak is not under
// 900 MiB, when an abort takes over a second, or when it leaves a file.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pythonPath } from '../interop/checker.mjs';

const MIB = 2 ** 20;
const MOST_MEMORY = 900 * MIB;
const MOST_ABORT_MS = 1000;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** One job in a child process; its report's figures, its peak memory, and for an aborted one the time until it settled. */
function job(modelPath, outputPath, config, abortAfterMs) {
  const script = `
    const { quantizeDiffusionModel } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)});
    const controller = new AbortController();
    let abortedAt;
    if (${abortAfterMs} > 0) setTimeout(() => { abortedAt = performance.now(); controller.abort(); }, ${abortAfterMs});
    const begun = performance.now();
    const options = { modelPath: ${JSON.stringify(modelPath)}, outputPath: ${JSON.stringify(outputPath)}, signal: controller.signal };
    const result = await quantizeDiffusionModel({ ...options, config: ${JSON.stringify(config)} }).catch((error) => ({ error: error.code }));
    const now = performance.now();
    console.log(JSON.stringify({ seconds: (now - begun) / 1000, abortMs: now - abortedAt, error: result.error,
      megabytes: result.modelSizeMb, sqnrDb: result.sqnrDb, maxRss: process.resourceUsage().maxRSS * 1024 }));`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

const bytesOf = (folder) => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

const work = mkdtempSync(join(tmpdir(), 'aq-bench-model-'));
let failed = 0;
function check(title, ok, figures) {
  if (!ok) failed += 1;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${title}: ${figures}`);
}

try {
  let model = process.argv[2];
  if (model === undefined) {
    model = join(work, 'flux-like');
    const made = spawnSync(await pythonPath(), [here('flux_like.py'), model], { stdio: 'inherit' });
    if (made.status !== 0) throw new Error(`flux_like.py ended with ${made.status}`);
  }
  console.log(`model ${(bytesOf(model) / MIB).toFixed(0)} MiB`);
  for (const bitWidth of [8, 4, 2]) {
    const output = join(work, 'out');
    const { error, seconds, maxRss, megabytes, sqnrDb } = job(model, output, { bitWidth, minAccuracy: 0 }, 0);
    const figures = `peak ${(maxRss / MIB).toFixed(0)} MiB, ${seconds?.toFixed(1)} s, ${megabytes?.toFixed(1)} MB, ${sqnrDb?.toFixed(2)} dB`;
    check(`${bitWidth} bits`, error === undefined && maxRss < MOST_MEMORY, error ?? figures);
    rmSync(output, { recursive: true, force: true });
  }
  const before = readdirSync(work).join();
  const { error, abortMs } = job(model, join(work, 'out'), { bitWidth: 4 }, 1500);
  const left = readdirSync(work).join() === before ? 'nothing left' : `left ${readdirSync(work)}`;
  check('abort', error === 'AQ_ABORTED' && abortMs < MOST_ABORT_MS && left === 'nothing left', `${error}, ${abortMs?.toFixed(0)} ms, ${left}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = failed > 0 ? 1 : 0;
