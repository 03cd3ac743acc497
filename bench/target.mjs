#!/usr/bin/env node
// npm run bench:target [-- [--models DIR] [--calibrated] [--write]]: prediction error of the digit models at target sizes between those of their
// jobs of 2 and of 4 bits, with mixed widths, opened by diffusers. Needs the package as built and the interop environment.
//
// Models come from the repository; DIR (or AQ_MODELS) holds the full ones. Without --calibrated no data is used. --write puts the table into
// docs/quality.md. Fails when a plan passes its target, or when the largest target gives less than a job of 2 bits.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quantizeDiffusionModel } from '../dist/index.js';
import { Checker, pythonPath } from '../interop/checker.mjs';
import { TRAINED } from '../interop/models.mjs';

const MODELS = ['digits-dit', 'digits-unet'];
/** Parts of the way from the size at 2 bits to that at 4. */
const WAY = [0.2, 0.4, 0.6, 0.8];
const PAGE = new URL('../docs/quality.md', import.meta.url);
const MARKED = /<!-- target -->[^]*<!-- end of target -->/;
const { values } = parseArgs({
  options: {
    models: { type: 'string', default: process.env.AQ_MODELS },
    calibrated: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});

const page = readFileSync(PAGE, 'utf8');
if (values.write && !MARKED.test(page)) throw new Error('docs/quality.md has no markers for target sizes');
const work = mkdtempSync(join(tmpdir(), 'aq-bench-target-'));
const checker = await Checker.start(await pythonPath());
const rows = [];
let failed = 0;

/** One job, opened and measured. */
async function measured(model, folder, options) {
  const outputPath = join(work, 'out');
  const calibration = values.calibrated ? { calibration: join(folder, 'calibration.safetensors') } : {};
  try {
    const result = await quantizeDiffusionModel({ modelPath: folder, outputPath, layout: 'sdnq', minAccuracy: 0, ...calibration, ...options });
    const found = await checker.ask('evaluate', { original: folder, quantized: outputPath });
    const row = { model, size: result.modelSizeMb, target: result.target, mean: found.mean.sqnrDb, worst: found.worstSqnrDb };
    rows.push({ ...row, options });
    return row;
  } finally {
    rmSync(outputPath, { recursive: true, force: true });
  }
}

function table() {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const lines = rows.map(({ model, options, size, target, mean, worst }) => {
    const job = options.bitWidth ? `${options.bitWidth} bits` : `target ${options.targetModelSizeMb.toFixed(2)} MB`;
    const steps = target ? `${target.bitWidth} bits, ${target.steps.length} steps` : '';
    return line([model, job, size.toFixed(2), steps, `${mean.toFixed(1)} / ${worst.toFixed(1)}`]);
  });
  return `${[line(['model', 'job', 'MB', 'widths', 'SQNR, dB']), '| --- | --- | ---: | --- | ---: |', ...lines].join('\n')}\n`;
}

try {
  for (const model of MODELS) {
    const full = values.models === undefined ? undefined : join(values.models, model);
    const folder = full !== undefined && existsSync(full) ? full : TRAINED[model];
    const [two, four] = [await measured(model, folder, { bitWidth: 2 }), await measured(model, folder, { bitWidth: 4 })];
    let last;
    for (const part of WAY) {
      const targetModelSizeMb = Number((two.size + part * (four.size - two.size)).toFixed(2));
      last = await measured(model, folder, { targetModelSizeMb, enableMixedPrecision: true });
      if (last.size > targetModelSizeMb) failed += 1;
    }
    if (!(last.mean > two.mean && last.worst > two.worst)) failed += 1;
  }
} finally {
  checker.stop();
  rmSync(work, { recursive: true, force: true });
}
rows.sort((a, b) => a.model.localeCompare(b.model) || a.size - b.size);
const made = table();
console.log(`${made}\n${failed} failed`);
if (values.write) writeFileSync(PAGE, page.replace(MARKED, () => `<!-- target -->\n\n${made}\n<!-- end of target -->`));
process.exitCode = failed > 0 ? 1 : 0;
