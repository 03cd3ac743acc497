#!/usr/bin/env node
// npm run bench:plan [-- --json] [--runs N]: `plan` beside real runs. Sizes must be those of the files that are written, but where a layer
// falls back; the time that is foretold must be within twice the median of N runs, either way.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { plan, quantizeDiffusionModel } from '../dist/index.js';

const { values } = parseArgs({ options: { json: { type: 'boolean' }, runs: { type: 'string', default: '5' } } });
const MOST_TIMES = 2;
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const MODELS = {
  'digits-dit': here('../examples/digits-dit'),
  'digits-unet': here('../testdata/digits-unet'),
  'verses-dllm': here('../testdata/verses-dllm'),
};
const calibration = (model) => here(`../testdata/${model}/calibration.safetensors`);
const CASES = Object.entries(MODELS).flatMap(([name, modelPath]) => [
  ...[2, 4, 8].map((bitWidth) => ({ name: `${name}, ${bitWidth} bits`, modelPath, config: { bitWidth } })),
  { name: `${name}, gguf`, modelPath, config: { bitWidth: 4, layout: 'gguf' } },
  { name: `${name}, compressed-tensors`, modelPath, config: { bitWidth: 4, layout: 'compressed-tensors' } },
  { name: `${name}, parquet`, modelPath, config: { bitWidth: 4, layout: 'parquet' } },
  ...(existsSync(calibration(name))
    ? [2, 4].map((bitWidth) => ({
        name: `${name}, calibrated, ${bitWidth} bits`,
        modelPath,
        config: { bitWidth, calibration: calibration(name) },
      }))
    : []),
]);

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const work = mkdtempSync(join(tmpdir(), 'aq-bench-plan-'));
const rows = [];
try {
  for (const { name, modelPath, config } of CASES) {
    const planned = await plan({ modelPath, config });
    const seconds = [];
    let result;
    for (let i = 0; i < Number(values.runs); i += 1) {
      const before = performance.now();
      result = await quantizeDiffusionModel({ modelPath, outputPath: join(work, 'out'), config, overwrite: true });
      seconds.push((performance.now() - before) / 1000);
    }
    const fallbacks = result.layers.filter(({ fallback, scheme }, i) => fallback !== undefined || scheme.scaleDtype !== planned.layers[i].scheme.scaleDtype).length;
    const sizeOk = planned.exact && fallbacks === 0 ? planned.modelSizeMb === result.modelSizeMb : null;
    const took = median(seconds);
    const times = planned.time.seconds / took;
    const timeOk = times <= MOST_TIMES && times >= 1 / MOST_TIMES;
    rows.push({ name, plannedMb: planned.modelSizeMb, writtenMb: result.modelSizeMb, fallbacks, sizeOk, foretoldS: planned.time.seconds, tookS: took, times, timeOk });
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (values.json) console.log(JSON.stringify({ rows }));
else {
  console.log('case                                 planned MB  written MB  fallbacks  size    foretold / took');
  for (const r of rows) {
    const size = r.sizeOk === null ? 'about' : r.sizeOk ? 'exact' : 'WRONG';
    console.log(
      `${r.name.padEnd(36)} ${r.plannedMb.toFixed(6).padStart(10)}  ${r.writtenMb.toFixed(6).padStart(10)}  ${String(r.fallbacks).padStart(9)}  ${size.padEnd(6)}  ${r.times.toFixed(2).padStart(6)}${r.timeOk ? '' : '  MISS'}`,
    );
  }
}
process.exitCode = rows.some(({ sizeOk, timeOk }) => sizeOk === false || !timeOk) ? 1 : 0;
