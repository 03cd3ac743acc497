/** Small calibration files, always the same. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { gaussian } from './models.js';
import { encode, f32 } from './safetensors.js';

export const CALIBRATION = { format: 'arrow-quant-calibration', version: '1', axis: 'timestep' } as const;

/** Writes rows for the layers of `bigModel` and `ditTensors` and returns the path of the file. */
export function writeCalibration(folder: string, blocks: number, width: number, steps = [999, 500, 0]): string {
  const rows = 8;
  const names = Array.from({ length: blocks }, (_, block) => `transformer_blocks.${block}.attn1.to_q`);
  const records = steps.map((step) => [step, f32([rows, width], gaussian(rows * width, step + 1))] as const);
  const tensors = names.flatMap((name) => records.map(([step, data]) => [`${name}@${step}`, data] as const));
  const file = path.join(folder, 'calibration.safetensors');
  writeFileSync(file, encode(Object.fromEntries(tensors), CALIBRATION));
  return file;
}
