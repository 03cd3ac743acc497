// What the error layer costs a clean run: node bench/error-layer.mjs [MODEL]
//
// One job under callgrind, which counts instructions and so gives the same figure on a busy machine. Debug information tells the source file
// of every instruction, inlined ones too: those of the layer's files are summed up and held against the whole. Done without and with faults
// on purpose, in the build that the tests use. Exit status 1 when either is 1 % or more.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { example } from '../scripts/example.mjs';

const LIMIT = 0.01;
/** With mse: arithmetic that a default job has besides (second moments) would make the layer look cheaper than it is. */
const JOB = { method: 'mse', minAccuracy: 0, numThreads: 1, device: 'cpu' };
const root = path.resolve(import.meta.dirname, '..');
const model = path.resolve(process.argv[2] ?? path.join(root, 'examples/digits-dit'));

/** Retry, faults, stop and clocks, permits, ledger, devices' guard, journal and checksums. */
const LAYER = [
  /crates\/core\/src\/(cancel|error\/)/,
  /crates\/io\/src\/(disk\/|errno|fault)/,
  /crates\/engine\/src\/(control|ledger|guard|supervise|memory|device\/|error\/)/,
  /crates\/engine\/src\/job\/(journal|checksum)/,
  /xxhash-rust/,
];

function count(features) {
  const program = example('quantize_once', features);
  const folder = mkdtempSync(path.join(tmpdir(), 'arrow-quant-cost-'));
  try {
    const dump = path.join(folder, 'callgrind.out');
    const valgrind = ['--tool=callgrind', `--callgrind-out-file=${dump}`, '--compress-strings=no', '--compress-pos=no'];
    execFileSync('valgrind', [...valgrind, program, model, path.join(folder, 'out'), JSON.stringify(JOB)], { stdio: 'ignore' });
    return perFile(readFileSync(dump, 'utf8'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Instructions by source file. A line of positions and cost belongs to the file named last; what a call costs is told apart. */
function perFile(text) {
  const files = new Map();
  let file = '';
  let afterCall = false;
  for (const line of text.split('\n')) {
    const named = /^(?:fl|fi|fe)=(.*)$/.exec(line);
    if (named !== null) file = named[1];
    else if (line.startsWith('calls=')) afterCall = true;
    else if (/^\d+ \d+$/.test(line)) {
      if (!afterCall) files.set(file, (files.get(file) ?? 0) + Number(line.split(' ')[1]));
      afterCall = false;
    }
  }
  return files;
}

let worst = 0;
for (const [build, features] of [
  ['published', ''],
  ['fault', 'aq-engine/fault'],
]) {
  const files = [...count(features)];
  const total = files.reduce((sum, [, cost]) => sum + cost, 0);
  const layer = files.filter(([file]) => LAYER.some((pattern) => pattern.test(file)));
  const cost = layer.reduce((sum, [, n]) => sum + n, 0);
  worst = Math.max(worst, cost / total);
  process.stdout.write(
    `${build.padEnd(10)} ${(total / 1e6).toFixed(1)} million instructions, ${(cost / 1e6).toFixed(2)} in the error layer: ${((100 * cost) / total).toFixed(3)} %\n`,
  );
  for (const [file, n] of layer.sort((a, b) => b[1] - a[1]).slice(0, 6)) {
    process.stdout.write(`  ${((100 * n) / total).toFixed(3).padStart(7)} %  ${file.replace(/^.*?(crates|xxhash)/, '$1')}\n`);
  }
}
if (worst >= LIMIT) {
  process.stdout.write('too much: 1 % is the bound\n');
  process.exitCode = 1;
}
