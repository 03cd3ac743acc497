// Prediction error of default runs on the trained models, held against thresholds.json. Alone: `node interop/quality.mjs`.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Checker, pythonPath } from './checker.mjs';
import { TRAINED } from './models.mjs';

const BITS = [2, 4, 8];
const COLUMNS = [
  'model',
  'bits',
  'bytes',
  'SDNQ bytes',
  'SQNR mean',
  'worst',
  'SDNQ mean',
  'worst',
  'KL mean',
  'SDNQ KL',
];

/** What of `found` misses the row `want`; a figure that is not a number misses too. */
function shortfalls(want, found) {
  const misses = [];
  const atLeast = (name, value, bound) =>
    bound !== undefined && !(value >= bound) && misses.push(`${name} ${value} is below ${bound}`);
  const atMost = (name, value, bound) =>
    bound !== undefined && !(value <= bound) && misses.push(`${name} ${value} is above ${bound}`);
  atLeast('mean SQNR', found.mean.sqnrDb, want.minMeanSqnrDb);
  atLeast('worst SQNR', found.worstSqnrDb, want.minWorstSqnrDb);
  atMost('mean KL', found.mean.kl, want.maxMeanKl);
  atMost('bytes', found.bytes, want.maxBytes);
  for (const [kind, names] of Object.entries(found.loading))
    if (names.length > 0) misses.push(`${kind}: ${names.slice(0, 3)}`);
  return misses;
}

function tableRow(model, bits, want, found) {
  const kl = (x) => (x === undefined ? '' : x.toFixed(5));
  const db = (x) => x.toFixed(1);
  return [
    model,
    bits,
    found.bytes,
    want.peerBytes,
    db(found.mean.sqnrDb),
    db(found.worstSqnrDb),
    db(want.peerMeanSqnrDb),
    db(want.peerWorstSqnrDb),
    kl(found.mean.kl),
    kl(want.peerMeanKl),
  ];
}

function formatTable(rows) {
  const cells = [COLUMNS, ...rows].map((row) => row.map(String));
  const widths = COLUMNS.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  return cells
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '))
    .join('\n');
}

/** Quantizes each trained model at each width with defaults and group size 64, and reports one check for each. */
export async function runQuality({ work, quantizeDiffusionModel, checker, report, wanted = () => true }) {
  const { models } = JSON.parse(await readFile(new URL('thresholds.json', import.meta.url), 'utf8'));
  const rows = [];
  for (const [model, original] of Object.entries(TRAINED))
    for (const bitWidth of BITS) {
      const title = `quality ${model} ${bitWidth} bits`;
      if (!wanted(title)) continue;
      const outputPath = join(work, `quality-${model}-${bitWidth}`);
      try {
        await quantizeDiffusionModel({
          modelPath: original,
          outputPath,
          layout: 'sdnq',
          config: { bitWidth, groupSize: 64 },
        });
        const found = await checker.ask('evaluate', { original, quantized: outputPath });
        rows.push(tableRow(model, bitWidth, models[model][bitWidth], found));
        report(title, shortfalls(models[model][bitWidth], found));
      } catch (error) {
        report(title, [error.message]);
      } finally {
        await rm(outputPath, { recursive: true, force: true });
      }
    }
  if (rows.length > 0) console.log(`\n${formatTable(rows)}\n(SQNR of the prediction in dB; SDNQ: thresholds.json)\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { quantizeDiffusionModel } = await import('../dist/index.js');
  const work = await mkdtemp(join(tmpdir(), 'aq-quality-'));
  const checker = await Checker.start(await pythonPath());
  let failed = 0;
  const report = (title, problems) => {
    if (problems.length > 0) failed += 1;
    console.log(problems.length > 0 ? `FAIL ${title}: ${problems.join('; ')}` : `ok   ${title}`);
  };
  try {
    await runQuality({ work, quantizeDiffusionModel, checker, report });
  } finally {
    checker.stop();
    await rm(work, { recursive: true, force: true });
  }
  process.exitCode = failed > 0 ? 1 : 0;
}
