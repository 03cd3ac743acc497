// The tables over time that stand beside a quantized model, opened by safetensors and computed once more by numpy.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TRAINED } from './models.mjs';

const GROUPS = 4;

/** One check a model, and one that wrong tables are noticed. */
export async function runTimeTables({ work, quantizeDiffusionModel, checker, report, wanted }) {
  for (const model of ['digits-dit', 'digits-unet']) {
    const title = `time tables ${model}`;
    if (!wanted(`self-test ${title}`)) continue;
    const original = TRAINED[model];
    const calibration = join(original, 'calibration.safetensors');
    const plain = join(work, `time-tables-${model}`);
    try {
      await quantizeDiffusionModel({
        modelPath: original,
        outputPath: plain,
        layout: 'plain',
        config: { calibration, numTimeGroups: GROUPS, plainDtype: 'f32', minAccuracy: 0 },
      });
      const r = await checker.ask('time_tables', { original, plain, calibration });
      report(title, r.problems, `${r.layers} layers with recorded inputs, ${r.groups} groups`);
      report(
        `self-test ${title}`,
        r.unnoticed.map((what) => `${what}: not noticed`),
        `${r.damages} kinds of damage are noticed`,
      );
    } catch (error) {
      report(title, [error.message]);
    } finally {
      await rm(plain, { recursive: true, force: true });
    }
  }
}
