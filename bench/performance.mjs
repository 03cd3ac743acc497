#!/usr/bin/env node
// npm run bench:docs: runs every benchmark and writes docs/performance.md from what they print. Needs perf, cargo and the interop environment;
// takes some minutes, on a machine that does nothing else.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pythonPath } from '../interop/checker.mjs';

const THREADS = 2;
/** Symbols with a smaller share are added up. */
const LEAST_SHARE = 1;
const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a command and gives its stdout. A benchmark that misses a gate ends with 1, and what it printed still counts. */
function run(command, args, allowed = [0]) {
  process.stderr.write(`${command} ${args.join(' ')}\n`);
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'inherit'] };
  const { stdout, status, error } = spawnSync(command, args, options);
  if (error) throw error;
  if (!allowed.includes(status)) throw new Error(`${command} ended with ${status}`);
  return stdout;
}

const lines = (text) => text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
const table = (head, rows) => [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map((r) => `| ${r.join(' | ')} |`).join('\n');
const fixed = (value, digits) => (value === undefined || value === null ? '' : value.toFixed(digits));

function kernels() {
  const example = ['run', '--locked', '-q', '--profile', 'measure', '-p', 'aq-engine', '--example', 'kernels', '--'];
  const rows = lines(run('cargo', [...example, '--json', '--threads', '1']));
  const levels = [...new Set(rows.map(({ level }) => level).filter(Boolean))];
  const read = rows.find(({ name }) => name === 'summing read').gbPerS;
  const title = (row) => (row.kind === 'encode' ? `${row.method} ${row.bits} bits` : row.name);
  const body = [...new Set(rows.map(title))].map((name) => {
    const of = (level) => rows.find((row) => title(row) === name && (row.level === level || row.level === ''));
    const first = of(levels[0]);
    const speeds = levels.map((level) => fixed(of(level).mweightsPerS, 0));
    return [name, ...speeds, fixed(first.gbPerS, 1), `${fixed((100 * first.gbPerS) / read, 0)} %`, fixed(first.sqnrDb, 2)];
  });
  return table(['kernel', ...levels.map((level) => `${level}, Mweights/s`), `${levels[0]}, GB/s`, 'of a summing read', 'SQNR dB'], body);
}

function peers() {
  const { rows, ratios } = JSON.parse(run('node', ['bench/peers.mjs', '--json', '--threads', String(THREADS)], [0, 1]));
  const speeds = table(
    ['matrix', 'quantizer', 'bits/weight', 'SQNR dB', 'Mweights/s'],
    rows.map((row) => [row.tensor, row.who, fixed(row.bpw, 3), fixed(row.sqnrDb, 2), fixed(row.mweightsPerS, 0)]),
  );
  const gates = table(
    ['ours / theirs', 'measured', 'at least'],
    ratios.map((row) => [`${row.ours} / ${row.theirs}`, row.why ?? `${fixed(row.ratio, 1)}x`, `${row.least}x`]),
  );
  return `${speeds}\n\n${gates}`;
}

/** ggml's block types, ours and its own. */
function blocks() {
  const { rows, different } = JSON.parse(run('node', ['bench/ggml.mjs', '--json'], [0, 1]));
  if (different.length > 0) throw new Error(`decoded otherwise than by ggml: ${different}`);
  return table(
    ['matrix', 'type', 'bits/weight', 'ours, dB', 'ggml, dB', 'ours, Mweights/s', 'times ggml'],
    rows.map((row) => [
      row.tensor,
      row.type,
      fixed(row.bpw, 4),
      fixed(row.ours, 2),
      fixed(row.theirs, 2),
      fixed(row.mweightsPerS, 0),
      fixed(row.speed, 1),
    ]),
  );
}

function second() {
  const { list, total } = JSON.parse(run('node', ['bench/second.mjs', '--json'], [0, 1]));
  const layers = total.map(({ bits, seconds, speedOfLibrary }) => {
    return [`a layer at ${bits} bits`, `${fixed(seconds, 2)} s`, `rows at ${fixed(100 * speedOfLibrary, 0)} % of the library`];
  });
  return table(['step', 'time', 'speed'], [...list.map((row) => [row.what, `${fixed(row.seconds, 3)} s`, `${fixed(row.gflops, 0)} GFLOP/s`]), ...layers]);
}

function models() {
  const rows = JSON.parse(run('node', ['bench/model.mjs', '--json', '--sdnq', '--sizes', '1,2,4'], [0, 1]));
  return table(
    ['job', 'figures', ''],
    rows.map(({ title, figures, ok }) => [title, figures, ok ? 'ok' : 'missed']),
  );
}

function profile(model, work) {
  run('cargo', ['build', '-q', '--locked', '--profile', 'profiling', '-p', 'aq-engine', '--example', 'quantize_once']);
  const [data, job] = [join(work, 'perf.data'), 'target/profiling/examples/quantize_once'];
  run('perf', ['record', '-q', '-o', data, job, model, join(work, 'out')]);
  const report = run('perf', ['report', '-i', data, '--stdio', '--sort', 'sym']);
  const found = [...report.matchAll(/^ +([0-9.]+)% +\[(.)\] (.+?) *$/gm)].map(([, share, where, symbol]) => ({ share: Number(share), where, symbol }));
  const kernel = found.filter(({ where }) => where === 'k').reduce((sum, { share }) => sum + share, 0);
  const ours = found.filter(({ where, share }) => where !== 'k' && share >= LEAST_SHARE);
  const rest = 100 - kernel - ours.reduce((sum, { share }) => sum + share, 0);
  const rows = ours.map(({ share, symbol }) => [`\`${symbol}\``, fixed(share, 1)]);
  return table(['where', '% of samples'], [...rows, ['the operating system (reading, writing)', fixed(kernel, 1)], ['everything else', fixed(rest, 1)]]);
}

const work = mkdtempSync(join(tmpdir(), 'aq-bench-docs-'));
try {
  const model = join(work, 'flux-like');
  run(await pythonPath(), ['bench/flux_like.py', model]);
  const text = `# Performance

Written by \`npm run bench:docs\`; the tables are what the benchmarks printed in one run. Machines differ, ratios hold.

${cpus()[0].model.trim()}, ${availableParallelism()} cores. GPUs were not measured (gpu.md says how).

## Kernels

\`npm run bench\`: one thread, 2048 x 3072 Gaussian weights, groups of 64, without gain and magnitude weights, F16 scales. GB/s count the
weights as f32. Every level gives the same bytes.

${kernels()}

## Beside others

\`npm run bench:peers\`: the same matrices, ${THREADS} threads, rounds taken in turns. Ours write packed codes into a buffer of 64 rows, ggml its blocks
into one of the whole matrix. HQQ's speed depends on how free the cores are, since torch's threads wait by spinning: it had its best of one
and ${THREADS} threads.

${peers()}

## ggml's blocks

\`npm run bench:ggml\`: 512 x 3072 weights, one thread each, our blocks decoded by ggml's own library.

${blocks()}

## Second moments

\`npm run bench:second\`: a layer of 3072 x 3072 with 480 rows of inputs, one thread, beside products of the gemm crate.

${second()}

## Whole models

\`npm run bench:model -- --sdnq --sizes 1,2,4\`: a FLUX-shaped transformer with random weights in bf16, ${THREADS} threads, page cache warm, the best of
three runs, each in a process of its own.

${models()}

## Where the time goes

\`perf\` on one job at 4 bits (\`crates/engine/examples/quantize_once.rs\`), one thread.

${profile(model, work)}

Half goes to sweeps of the layers that the time embedding drives and to the search of all layers: a pass of that is a
short chain of instructions for sixteen weights with nothing left to fold, so it becomes faster with fewer candidates only. Then come the
operating system's copies, and judging layers by their outputs.
`;
  writeFileSync(join(root, 'docs', 'performance.md'), text);
} finally {
  rmSync(work, { recursive: true, force: true });
}
