#!/usr/bin/env node
// npm run test:interop [-- WORD ...]: opens what we write with diffusers, transformers and SDNQ, and measures it.
// With words, only checks whose title holds one of them run. One line a check, the last line `N passed, N failed`.

import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Checker, pythonPath } from './checker.mjs';
import { runComfyuiFiles } from './comfyui-files.mjs';
import { runCompressedTensors } from './compressed-tensors.mjs';
import { runGgufFiles } from './gguf-files.mjs';
import { runGgufOriginal } from './gguf-original.mjs';
import { matrixCases, runMatrix } from './matrix.mjs';
import { TRAINED } from './models.mjs';
import { runParquetFiles } from './parquet-files.mjs';
import { runQuality } from './quality.mjs';
import { runTimePath } from './time-path.mjs';
import { runTimeTables } from './time-tables.mjs';

const words = process.argv.slice(2);
const wanted = (title) => words.length === 0 || words.some((word) => title.includes(word));
const count = { passed: 0, failed: 0 };

function report(title, problems, figures = '') {
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : '';
  if (problems.length === 0) {
    count.passed += 1;
    console.log(`ok   ${title}${figures && `: ${figures}`}`);
  } else {
    count.failed += 1;
    console.log(`FAIL ${title}: ${problems.slice(0, 5).join('; ')}${more}`);
  }
}

/** Reports the lines that a script prints, each `ok` or `FAIL` and a title, which `prefix` begins. */
function runScript(python, name, args, prefix) {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const { status, stdout, stderr } = spawnSync(python, [script, ...args], { encoding: 'utf8' });
  const lines = (stdout ?? '').trim().split('\n').filter(Boolean);
  for (const line of lines)
    report(`${prefix}${line.replace(/^\w+\s+/, '')}`, line.startsWith('ok') ? [] : ['see above']);
  if (status !== 0 && !lines.some((line) => line.startsWith('FAIL')))
    report(prefix.trim() || name, [`ended with ${status}: ${(stderr ?? '').slice(-500)}`]);
}

/** The checks damage folders of their own first: a check that cannot fail proves nothing. */
function selfTest(python) {
  const models = [TRAINED['digits-unet'], TRAINED['digits-dit'], TRAINED['verses-dllm']];
  runScript(python, 'selftest.py', ['--damage', ...models], 'self-test ');
}

async function runAll(work) {
  const { quantizeDiffusionModel } = await import('../dist/index.js').catch((error) => {
    throw new Error(`dist/index.js cannot be loaded (run "npm run build" first): ${error.message}`);
  });
  const python = await pythonPath();
  if (wanted('self-test')) selfTest(python);
  if (wanted('original names')) runScript(python, 'original_names.py', [], '');
  const checker = await Checker.start(python);
  try {
    console.log(
      Object.entries(checker.versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
    );
    const cases = (await matrixCases(python, work)).filter((one) => wanted(one.title));
    await runMatrix({ cases, work, quantizeDiffusionModel, checker, report });
    await runQuality({ work, quantizeDiffusionModel, checker, report, wanted });
    await runTimePath({ work, checker, report, wanted });
    await runTimeTables({ work, quantizeDiffusionModel, checker, report, wanted });
    await runGgufFiles({ work, quantizeDiffusionModel, python, checker, report, wanted });
    await runGgufOriginal({ work, quantizeDiffusionModel, checker, report, wanted });
    await runCompressedTensors({ work, quantizeDiffusionModel, checker, report, wanted });
    await runParquetFiles({ work, quantizeDiffusionModel, python, checker, report, wanted });
    await runComfyuiFiles({ work, quantizeDiffusionModel, python, checker, report, wanted });
  } finally {
    checker.stop();
  }
}

const work = await mkdtemp(join(tmpdir(), 'aq-interop-'));
try {
  await runAll(work);
} catch (error) {
  report('interop run', [error.message]);
} finally {
  await rm(work, { recursive: true, force: true });
}
if (count.passed + count.failed === 0) report('interop run', [`no check matches ${words.join(' ')}`]);
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed > 0 ? 1 : 0;
