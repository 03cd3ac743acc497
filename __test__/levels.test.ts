/** Kernel levels forced from outside: same bytes out, and the report says which was used. */
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProgram } from './helpers/child.js';
import { ROOT } from './helpers/cli.js';
import { undisturbed } from './helpers/output-states.js';
import { tempDir } from './helpers/temp.js';
import { hashes } from './helpers/tree.js';

const MODELS = ['examples/digits-dit', 'testdata/digits-unet'];

const JOB = `const { backend } = await aq.quantizeDiffusionModel(data);
  console.log(backend.simd);`;

/** Whether this machine has the level; what it lacks is printed and left out. */
async function has(level: string): Promise<boolean> {
  const { stdout } = await runProgram('console.log(JSON.stringify(await aq.diagnose()));', null, {
    env: { ARROW_QUANT_SIMD: level },
  });
  const there = stdout.includes(`"${level}"`);
  if (!there) process.stdout.write(`left out: this machine has no ${level}\n`);
  return there;
}

describe.each(MODELS)('%s', (model) => {
  test.each(['generic', 'avx2', 'avx512'])('%s', async (level) => {
    if (!(await has(level))) return;
    for (const [bitWidth, method, symmetric] of [
      [2, 'mse', false],
      [4, 'mse', true],
      [4, 'rtn', false],
      [8, 'mse', false],
    ] as const) {
      const job = { modelPath: path.join(ROOT, model), bitWidth, method, symmetric, minAccuracy: 0 };
      const outputPath = path.join(tempDir(), 'out');
      const { stdout, stderr } = await runProgram(JOB, { ...job, outputPath }, { env: { ARROW_QUANT_SIMD: level } });
      expect({ stdout: stdout.trim(), stderr }).toEqual({ stdout: level, stderr: '' });
      expect(hashes(outputPath)).toEqual(await undisturbed(job));
    }
  });
});
