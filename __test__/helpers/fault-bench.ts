/** A small job under the fault build, and the files it makes undisturbed. */
import path from 'node:path';
import { expect } from 'vitest';
import { type QuantizeDiffusionModelOptions, quantizeDiffusionModel } from '../../src-ts/index.js';
import { openBelow, outcomeOf, setFaults, stateOf } from './fault.js';
import { ditTensors, writeModel } from './models.js';
import { tempDir } from './temp.js';

export interface FaultBench {
  readonly folder: string;
  readonly modelPath: string;
  readonly outputPath: string;
  /** The files of an undisturbed run. */
  readonly wanted: Record<string, string>;
  /** Runs the job under a plan. */
  run(plan: string, options?: Partial<QuantizeDiffusionModelOptions>): ReturnType<typeof runUnder>;
  /** The output is the undisturbed one. */
  expectOutput(): void;
  /** Nothing is there that was not there before the job. */
  expectClean(): void;
}

/** A job of some layers on the CPU with two threads; `options` for every run. */
export async function faultBench(
  options: Partial<QuantizeDiffusionModelOptions> = {},
  tensors = ditTensors(4, 64),
): Promise<FaultBench> {
  const folder = tempDir();
  const modelPath = writeModel(folder, tensors);
  const outputPath = path.join(folder, 'out');
  const common = { modelPath, minAccuracy: 0, numThreads: 2, device: 'cpu', ...options } as const;
  const reference = path.join(tempDir(), 'reference');
  setFaults('');
  await quantizeDiffusionModel({ ...common, outputPath: reference });
  const wanted = stateOf(reference).files;
  const before = stateOf(folder);
  return {
    folder,
    modelPath,
    outputPath,
    wanted,
    run: (plan, more = {}) => runUnder(plan, { ...common, outputPath, ...more }),
    expectOutput: () => {
      expect(stateOf(outputPath).files).toEqual(wanted);
      expect(stateOf(folder).names.filter((name) => name.includes('aq-partial'))).toEqual([]);
      expect(openBelow(folder) ?? []).toEqual([]);
    },
    expectClean: () => {
      expect(stateOf(folder)).toEqual(before);
      expect(openBelow(folder) ?? []).toEqual([]);
    },
  };
}

async function runUnder(plan: string, options: QuantizeDiffusionModelOptions) {
  setFaults(plan);
  const outcome = await outcomeOf(() => quantizeDiffusionModel(options));
  setFaults('');
  return outcome;
}
