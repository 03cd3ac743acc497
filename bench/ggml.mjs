#!/usr/bin/env node
// npm run bench:ggml [-- --json] [--golden]: our GGUF block types beside ggml's own library (see peers.mjs for where it comes from): random blocks
// decoded by both must be equal bit for bit; on the benchmark matrices and those of the trained models the error of our blocks, as ggml decodes them, must not be above that
// of ggml's own, at three times its speed on one thread. --golden writes the file that the kernels' test reads.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pythonPath } from '../interop/checker.mjs';
import { cacheFolder, ggmlLibrary, jsonLines, run } from './peer-libraries.mjs';

const SEARCHED = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'];
const LEAST_SPEED = 3;
const [ROWS, COLS] = [512, 3072];
const TRAINED = ['examples/digits-dit/transformer', 'testdata/digits-unet/unet', 'testdata/verses-dllm'];
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({ options: { json: { type: 'boolean' }, golden: { type: 'boolean' } } });
const example = (...args) =>
  run('cargo', ['run', '--locked', '-q', '--profile', 'measure', '-p', 'aq-engine', '--example', 'ggml_blocks', '--', ...args]);

const work = mkdtempSync(join(tmpdir(), 'aq-bench-ggml-'));
try {
  const python = await pythonPath();
  const library = ggmlLibrary(cacheFolder());
  const ggml = (...args) => run(python, [here('ggml.py'), ...args, '--ggml', library]);
  if (values.golden) ggml('--golden', here('../crates/kernels/tests/ggml.txt'));

  ggml('--random', work);
  const different = [];
  const types = readdirSync(work).flatMap((name) => (name.endsWith('.blocks') ? [name.slice(0, -'.blocks'.length)] : []));
  for (const type of types) {
    const out = join(work, `${type}.ours`);
    example('decode', type, join(work, `${type}.blocks`), out);
    if (!readFileSync(out).equals(readFileSync(join(work, `${type}.f32`)))) different.push(type);
  }

  const weights = join(work, 'weights.safetensors');
  const sizes = ['--rows', `${ROWS}`, '--cols', `${COLS}`];
  run(python, [here('weights.py'), weights, ...sizes, '--trained', ...TRAINED.map((model) => here(`../${model}`))]);
  const ours = jsonLines(example('encode', weights, work));
  const theirs = jsonLines(ggml(weights, '--ours', work));
  const rows = ours.map(({ tensor, type, bpw, mweightsPerS }) => {
    const peer = theirs.find((row) => row.tensor === tensor && row.type === type);
    const speed = mweightsPerS / peer.mweightsPerS;
    const ok = !SEARCHED.includes(type) || (peer.ours >= peer.sqnrDb && speed >= LEAST_SPEED);
    return { tensor, type, bpw, ours: peer.ours, theirs: peer.sqnrDb, mweightsPerS, speed, ok };
  });
  if (values.json) console.log(JSON.stringify({ different, rows }));
  else {
    console.log(`${types.length} types decoded, ${different.length === 0 ? 'all bits equal' : `DIFFERENT: ${different}`}`);
    console.log('matrix       type   bits/weight   ours dB   ggml dB  Mweights/s  times ggml');
    for (const { tensor, type, bpw, ours: our, theirs: their, mweightsPerS, speed, ok } of rows) {
      const cells = [bpw.toFixed(4), our.toFixed(2), their.toFixed(2), mweightsPerS.toFixed(1), speed.toFixed(1)];
      const [a, b, c, d, e] = cells;
      const numbers = a.padStart(11) + b.padStart(10) + c.padStart(10) + d.padStart(12) + e.padStart(12);
      console.log(`${tensor.padEnd(12)} ${type.padEnd(6)}${numbers}${ok ? '' : '  MISS'}`);
    }
  }
  process.exitCode = different.length > 0 || rows.some(({ ok }) => !ok) ? 1 : 0;
} finally {
  rmSync(work, { recursive: true, force: true });
}
