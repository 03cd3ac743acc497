#!/usr/bin/env node
// npm run bench:second [-- [--size 3072] [--rows 480] [--prototype DIR] [--json]]: speed of encoding one layer under second moments on one
// thread (crates/engine/examples/second_speed.rs), beside the gemm crate's products in the same run.
//
// --prototype: also beside the Python prototype of the methods, no part of the repository, whose cost.py prints the processor's seconds of
// each step of such a layer. Fails when rows run at less than half the library's speed, and when a layer takes over 0.4 of the prototype's
// time.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pythonPath } from '../interop/checker.mjs';

const LEAST_SPEED = 0.5;
const MOST_OF_PROTOTYPE = 1 / 2.5;
const EXAMPLE = ['run', '--locked', '-q', '--profile', 'measure', '-p', 'aq-engine', '--example', 'second_speed', '--', '--json'];
const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '3072' },
    rows: { type: 'string', default: '480' },
    prototype: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const { size, rows } = values;

/** Steps of cost.py that make up a layer: at 2 bits columns as they stand, at 4 by energy, which it times with codes of 2 bits as well. */
const STEPS = Object.fromEntries(
  [
    [2, 'dynamic'],
    [4, 'order, static'],
  ].map(([bits, how]) => [bits, [`second moment, ${rows} rows f32`, `gptq 2b whole (${how})`, 'coordinate descent, 1 sweep + refit']]),
);

/** Runs a command and gives its stdout; what it says on stderr goes through. */
function run(command, args, options) {
  const { stdout, status, error } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], ...options });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${status}`);
  return stdout;
}

/** Seconds of each step that the prototype times. */
async function steps() {
  const env = { ...process.env, OMP_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' };
  const args = [join(values.prototype, 'cost.py'), '--threads', '1', '--n', size, '--rows', rows];
  const printed = run(await pythonPath(), args, { env });
  const lines = printed.split('\n').map((line) => /^(.+?) +([0-9.]+) cpu s$/.exec(line));
  return new Map(lines.filter(Boolean).map(([, what, seconds]) => [what, Number(seconds)]));
}

/** What the prototype takes for the layer of `total`, and ours as a part of that. */
function beside({ bits, seconds }, times) {
  const parts = STEPS[bits].map((what) => {
    if (!times.has(what)) throw new Error(`cost.py printed no line "${what}"`);
    return times.get(what);
  });
  const theirs = parts.reduce((sum, part) => sum + part, 0);
  return { bits, seconds: theirs, ratio: seconds / theirs };
}

const measured = JSON.parse(run('cargo', [...EXAMPLE, '--size', size, '--rows', rows], { cwd: root }));
const { list, total } = measured;
if (!values.json) {
  for (const { what, seconds, gflops } of list) {
    console.log(`${what.padEnd(52)} ${seconds.toFixed(3).padStart(8)} s ${gflops.toFixed(1).padStart(8)} GFLOP/s`);
  }
  for (const { bits, seconds, speedOfLibrary } of total) {
    const speed = `${(100 * speedOfLibrary).toFixed(0)} % of the library's speed`;
    console.log(`${bits} bits, whole layer: ${seconds.toFixed(2)} s; rows at ${speed}`);
  }
}
const failures = total
  .filter(({ speedOfLibrary }) => !(speedOfLibrary >= LEAST_SPEED))
  .map(({ bits }) => `${bits} bits: rows at less than ${100 * LEAST_SPEED} % of the library's speed`);

let prototype;
if (values.prototype !== undefined) {
  const times = await steps();
  prototype = total.map((ours) => beside(ours, times));
  for (const { bits, seconds, ratio } of prototype) {
    const figures = `${ratio.toFixed(3)} of the prototype's ${seconds.toFixed(2)} s`;
    if (!values.json) console.log(`${bits} bits, whole layer: ${figures}, at most ${MOST_OF_PROTOTYPE}`);
    if (!(ratio <= MOST_OF_PROTOTYPE)) failures.push(`${bits} bits: ${figures}, more than ${MOST_OF_PROTOTYPE}`);
  }
}
if (values.json) console.log(JSON.stringify({ ...measured, prototype }));
for (const failure of failures) console.error(`FAIL ${failure}`);
process.exitCode = failures.length > 0 ? 1 : 0;
