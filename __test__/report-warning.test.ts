/** A page that cannot be written is no failure of the job. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { openQuantizedModel, quantizeDiffusionModel } from '../src-ts/index.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';

vi.mock('../src-ts/report/write-report.js', () => ({
  writeReport: async () => {
    throw new Error('the disk is\u001b[31m full');
  },
}));

test.each(['sdnq', ['sdnq', 'plain']] as const)('layout %s', async (layout) => {
  const folder = tempDir();
  const modelPath = writeModel(folder, ditTensors(2, 128));
  const outputPath = path.join(folder, 'out');
  const result = await quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0, layout });
  for (const output of [result, ...(result.outputs ?? [])]) {
    expect(output.reportPath).toBe(output.manifestPath);
    expect(output.warnings.at(-1)).toEqual({
      code: 'AQ_WARN_REPORT',
      message: "The report's page could not be written: the disk is\\u{1b}[31m full",
      details: { reason: 'the disk is\u001b[31m full' },
    });
  }
  for (const { quantizedPath } of result.outputs ?? [result]) {
    expect(existsSync(path.join(quantizedPath, 'arrow-quant/report.html'))).toBe(false);
    (await openQuantizedModel(quantizedPath)).close();
  }
});
