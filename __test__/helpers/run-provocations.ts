/** Provocations that need calibration, memory, a device or an interrupted run. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { type DiffusionQuantOptions, type ErrorCode, quantizeDiffusionModel } from '../../src-ts/index.js';
import { ROOT } from './cli.js';
import { ditTensors, gaussian, writeModel } from './models.js';
import type { Provocation } from './provocations.js';
import { encode, f32, type Tensor } from './safetensors.js';

const LAYER = 'transformer_blocks.0.attn1.to_q';

/** A job on a good model with these options. */
const job = (
  code: ErrorCode,
  name: string,
  options: (folder: string) => DiffusionQuantOptions,
  make: (folder: string) => string = (folder) => writeModel(folder, ditTensors(2, 64)),
): Provocation => ({
  code,
  name,
  run: async (folder) => {
    const [modelPath, outputPath] = [make(folder), path.join(folder, 'out')];
    return quantizeDiffusionModel({ modelPath, outputPath, minAccuracy: 0, ...options(folder) });
  },
});

/** The same with a calibration file of these bytes. */
const calibrated = (code: ErrorCode, name: string, file: string, bytes: () => string | Uint8Array): Provocation =>
  job(code, name, (folder) => {
    const calibration = path.join(folder, file);
    writeFileSync(calibration, bytes());
    return { calibration };
  });

const METADATA = { format: 'arrow-quant-calibration', version: '1', axis: 'timestep' };

/** A safetensors calibration. */
function calibration(tensors: Readonly<Record<string, Tensor>>): Uint8Array {
  return encode(tensors, METADATA);
}

/** Two steps of rows for the first layer of `ditTensors(…, width)`. */
function goodCalibration(width: number): Uint8Array {
  const rows = (seed: number) => f32([4, width], gaussian(4 * width, seed));
  return calibration({ [`${LAYER}@0`]: rows(1), [`${LAYER}@500`]: rows(2) });
}

/** A file with one tensor of two rows of 32 MB that takes no space on the disk. */
function sparseModel(folder: string): string {
  const model = writeModel(folder);
  const columns = 8_000_000;
  const bytes = 2 * columns * 4;
  const header = { [`${LAYER}.weight`]: { dtype: 'F32', shape: [2, columns], data_offsets: [0, bytes] } };
  const text = Buffer.from(JSON.stringify(header).padEnd(136));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path.join(model, 'diffusion_pytorch_model.safetensors'), 'w');
  writeSync(file, Buffer.concat([length, text]));
  ftruncateSync(file, 8 + text.length + bytes);
  closeSync(file);
  return model;
}

const record = (layer: string, timestep: number, data = [1, 2]): string =>
  `${JSON.stringify({ layer, timestep, shape: [1, data.length], data })}\n`;

export const RUN_PROVOCATIONS: readonly Provocation[] = [
  calibrated('AQ_ARROW', 'no Arrow file', 'c.arrow', () => 'not arrow at all, really'),
  calibrated('AQ_PARQUET', 'no Parquet file', 'c.parquet', () => 'PAR1'),
  calibrated('AQ_PARQUET', 'a Parquet file cut short', 'c.parquet', () =>
    readFileSync(path.join(ROOT, 'testdata/calibration/pyarrow.parquet')).subarray(0, 300),
  ),
  calibrated('AQ_SERDE', 'a calibration line is no JSON', 'c.jsonl', () => `${record(LAYER, 5)}{"layer": x}\n`),
  calibrated('AQ_QUANTIZATION_FAILED', 'a negative time step', 'c.jsonl', () => record(LAYER, -1)),
  calibrated('AQ_QUANTIZATION_FAILED', 'calibration of another model', 'c.parquet', () =>
    readFileSync(path.join(ROOT, 'testdata/calibration/pyarrow.parquet')),
  ),
  calibrated('AQ_SHAPE_MISMATCH', 'calibration rows of another length', 'c.safetensors', () =>
    calibration({ [`${LAYER}@0`]: f32([1, 7], new Float32Array(7)) }),
  ),
  job('AQ_INVALID_CONFIG', 'no calibration file there', (folder) => ({ calibration: path.join(folder, 'c.parquet') })),
  {
    code: 'AQ_VALIDATION_FAILED',
    name: 'the output in a time group',
    run: async (folder) => {
      const file = path.join(folder, 'c.safetensors');
      writeFileSync(file, goodCalibration(64));
      const modelPath = writeModel(folder, ditTensors(1, 64));
      const gate = { bitWidth: 2, minAccuracy: 0.9999, failFast: true, protectBlocks: 'none' } as const;
      return quantizeDiffusionModel({ modelPath, outputPath: path.join(folder, 'out'), calibration: file, ...gate });
    },
  },
  job('AQ_DEVICE_UNAVAILABLE', 'cuda:99', () => ({ device: 'cuda:99' })),
  job('AQ_OUT_OF_MEMORY', 'a row beyond the limit', () => ({ maxMemoryLimitMb: 16 }), sparseModel),
  job('AQ_INVALID_CONFIG', 'resume with overwrite', () => ({ resume: true, overwrite: true })),
  {
    code: 'AQ_RESUME_MISMATCH',
    name: 'other settings',
    run: async (folder) => {
      const modelPath = writeModel(folder, ditTensors(24, 512));
      const job = { modelPath, outputPath: path.join(folder, 'out'), minAccuracy: 0, resume: true };
      const controller = new AbortController();
      const onProgress = ({ phase }: { phase: string }) => {
        if (phase === 'quantize') controller.abort();
      };
      await quantizeDiffusionModel({ ...job, onProgress, signal: controller.signal }).catch(() => undefined);
      return quantizeDiffusionModel({ ...job, groupSize: 32, symmetric: true });
    },
  },
];
