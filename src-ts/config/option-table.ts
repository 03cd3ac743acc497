/**
 * The options, one row each, in the order in which problems are reported. Every source (call, environment, file,
 * command line) is checked by these rows; nothing else knows what an option accepts.
 */
import {
  boolean,
  type Check,
  device,
  fraction,
  integer,
  layerBitWidths,
  names,
  oneOf,
  oneOfNumbers,
  oneOrSeveral,
  positive,
  share,
} from './checks.js';
import { type DiffusionQuantOptions, GGUF_TYPES, LOG_LEVELS } from './options.js';
import { calibrationPath } from './paths.js';

/** How an option is written where there is only text: environment and command line. */
type TextForm = 'integer' | 'number' | 'boolean' | 'string' | 'list' | 'one-or-list' | 'widths';

export interface OptionRow {
  readonly text: TextForm;
  readonly check: Check<unknown>;
  /** What to do when this option alone is wrong; the code's own hint where there is none. */
  readonly hint?: string;
  /** One line for `--help`. */
  readonly help: string;
}

export type OptionName = keyof DiffusionQuantOptions;

const MODALITIES = ['text', 'code', 'image', 'audio', 'video'] as const;
/** Those that can be asked for; the first follows from the model. */
export const LAYOUTS = ['auto', 'sdnq', 'compressed-tensors', 'gguf', 'comfyui', 'parquet', 'plain'] as const;
const METHODS = ['auto', 'rtn', 'mse', 'gptq'] as const;
/** What a timer can hold. */
const MOST_MILLISECONDS = 2 ** 31 - 1;

const stallTimeout: Check<number> = (value, place) => {
  const expected = 'a whole number of milliseconds, 0 or at least 1000';
  return value === 0 ? 0 : integer(1000, MOST_MILLISECONDS, expected)(value, place);
};

const sixteen = (value: unknown): string | undefined =>
  value === 16 ? '16 keeps a layer as it is and belongs in layerBitWidths.' : undefined;

export const OPTION_TABLE: { readonly [K in OptionName]-?: OptionRow } = {
  bitWidth: {
    text: 'integer',
    check: oneOfNumbers([2, 4, 8], '2, 4, or 8', 'AQ_INVALID_BIT_WIDTH', sixteen),
    help: 'bits a weight is stored in: 2, 4 or 8',
  },
  groupSize: {
    text: 'integer',
    check: oneOfNumbers([32, 64, 128, 256], '32, 64, 128, or 256', 'AQ_INVALID_GROUP_SIZE'),
    help: 'weights that share a scale: 32, 64, 128 or 256',
  },
  numTimeGroups: {
    text: 'integer',
    check: integer(1, 100, 'an integer between 1 and 100', 'AQ_INVALID_TIME_GROUPS'),
    help: 'ranges of the time axis with statistics of their own, 1 to 100',
  },
  minAccuracy: {
    text: 'number',
    check: fraction('a number between 0.0 and 1.0', 'AQ_INVALID_ACCURACY'),
    help: 'similarity every layer must reach, 0 to 1',
  },
  modality: {
    text: 'string',
    check: oneOf(MODALITIES, "'text', 'code', 'image', 'audio' or 'video'"),
    hint: 'Leave modality out to have it detected from the model.',
    help: 'text, code, image, audio or video; detected when left out',
  },
  deploymentProfile: {
    text: 'string',
    check: oneOf(['edge', 'local', 'cloud'], "'edge', 'local' or 'cloud'"),
    hint: 'edge means 2 bits, local 4 bits, cloud 8 bits; every single option overrides its profile.',
    help: 'edge, local or cloud: the defaults of all other options',
  },
  calibration: {
    text: 'string',
    check: calibrationPath,
    hint: 'Rows of the inputs of each layer, recorded over the time steps; see docs/calibration.md.',
    help: 'file with recorded inputs of the layers (.safetensors, .jsonl, .parquet or .arrow)',
  },
  calibrationSamples: {
    text: 'integer',
    check: integer(1, 1_000_000, 'an integer between 1 and 1000000'),
    hint: 'It bounds the calibration rows used per layer and time step; 128 suits most models.',
    help: 'calibration rows used per layer and time step, at most',
  },
  enableTimeAware: {
    text: 'boolean',
    check: boolean,
    hint: 'Leave enableTimeAware out for the default of the profile.',
    help: 'resolve statistics over the time axis',
  },
  enableSpatial: {
    text: 'boolean',
    check: boolean,
    hint: 'Leave enableSpatial out for the default of the profile.',
    help: 'rotate weights where that lowers the error',
  },
  symmetric: {
    text: 'boolean',
    check: boolean,
    hint: 'true stores no zero point, false follows lopsided weights more closely.',
    help: 'no zero point',
  },
  failFast: {
    text: 'boolean',
    check: boolean,
    hint: 'true ends at the first layer below minAccuracy, false raises the width of such layers.',
    help: 'end at the first layer below the threshold instead of raising its width',
  },
  overwrite: {
    text: 'boolean',
    check: boolean,
    hint: 'true replaces an existing output once the new one is complete.',
    help: 'replace an existing output',
  },
  method: {
    text: 'string',
    check: oneOf(METHODS, "'auto', 'rtn', 'mse' or 'gptq'"),
    hint: "Leave method out, or set it to 'mse' (best without calibration), 'rtn' (fastest) or 'gptq' (with calibration).",
    help: 'auto, rtn, mse, or gptq with calibration: how codes are chosen',
  },
  layout: {
    text: 'one-or-list',
    check: oneOrSeveral(LAYOUTS, "'auto' or layout names"),
    hint: `'auto' writes what the model's own ecosystem loads; names are ${LAYOUTS.slice(1).join(', ')}.`,
    help: `${LAYOUTS.join(', ')}; several, separated by commas, get a folder each`,
  },
  ggufNames: {
    text: 'string',
    check: oneOf(['auto', 'diffusers', 'original'], "'auto', 'diffusers' or 'original'"),
    hint: "It names the tensors of layout 'gguf'; 'original' is what ComfyUI and stable-diffusion.cpp want of FLUX, SD3 and others.",
    help: 'auto, diffusers or original: names of the tensors, with layout gguf only',
  },
  ggufType: {
    text: 'string',
    check: oneOf(GGUF_TYPES, "the name of a GGUF type such as 'Q4_K_M'"),
    hint: `The types are ${GGUF_TYPES.join(', ')}; left out, 2 bits are Q2_K, 4 bits Q4_K and 8 bits Q8_0.`,
    help: `${GGUF_TYPES.join(', ')}: the kind of file, with layout gguf only; sets --bit-width`,
  },
  plainDtype: {
    text: 'string',
    check: oneOf(['source', 'f32', 'f16', 'bf16'], "'source', 'f32', 'f16' or 'bf16'"),
    hint: "It sets the element type of layout 'plain'; 'f32' keeps the decoded values as they are.",
    help: 'source, f32, f16 or bf16: element type of decoded layers, with layout plain only',
  },
  protectBlocks: {
    text: 'string',
    check: oneOf(['auto', 'none'], "'auto' or 'none'"),
    hint: "'auto' gives the most sensitive blocks one width more, 'none' treats all blocks alike.",
    help: 'auto or none: one width more for the most sensitive blocks',
  },
  partition: {
    text: 'string',
    check: share,
    hint: "'2/8' does the second of eight shares of the work; arrow-quant merge joins the shares.",
    help: 'the share of the work to do, such as 2/8; merge joins the shares',
  },
  components: {
    text: 'list',
    check: names('an array of component names'),
    hint: "Name components as the model folder does, such as ['transformer'].",
    help: 'components to quantize, separated by commas; the denoiser when left out',
  },
  layerBitWidths: {
    text: 'widths',
    check: layerBitWidths,
    hint: "Give a record such as { 'proj_out': 8, 'blocks.0.*': 4 }.",
    help: 'widths of single layers as NAME=BITS, separated by commas; 16 keeps a layer as it is',
  },
  skipLayers: {
    text: 'list',
    check: names('an array of tensor names or globs'),
    hint: "Give an array such as ['proj_out', 'blocks.0.*'].",
    help: 'layers to leave as they are, names or globs separated by commas',
  },
  enableMixedPrecision: {
    text: 'boolean',
    check: boolean,
    hint: 'true spends what targetModelSizeMb leaves on a larger width for whole blocks.',
    help: 'raise whole blocks as far as --target-model-size-mb allows',
  },
  targetModelSizeMb: {
    text: 'number',
    check: positive('a number greater than 0'),
    hint: 'It bounds the weight files of the quantized components together, in MB of 10^6 bytes.',
    help: 'MB that the weight files of the quantized components may take; chooses the width where --bit-width does not',
  },
  nonFinite: {
    text: 'string',
    check: oneOf(['error', 'keep'], "'error' or 'keep'"),
    hint: "'error' refuses weights that are NaN or infinite, 'keep' leaves such tensors as they are.",
    help: 'error or keep: what to do with tensors that hold NaN or infinity',
  },
  resume: {
    text: 'boolean',
    check: boolean,
    hint: 'true goes on with what an interrupted job left, and leaves it when this one is interrupted.',
    help: 'go on with an interrupted job, and stay resumable',
  },
  maxMemoryLimitMb: {
    text: 'integer',
    check: integer(16, 16_777_216, 'an integer of at least 16'),
    hint: 'It bounds the buffers of the job in MiB, not Node itself; 256 is plenty.',
    help: 'MiB that the buffers of the job may take together',
  },
  device: {
    text: 'string',
    check: device,
    hint: "'auto' uses a GPU where there is one that this version supports, else the CPU.",
    help: 'auto, cpu, cuda or cuda:N: what computes',
  },
  deviceFallback: {
    text: 'boolean',
    check: boolean,
    hint: 'true finishes on the CPU when the device fails, false ends with an error.',
    help: 'finish on the CPU when the device fails',
  },
  ioRetries: {
    text: 'integer',
    check: integer(0, 10, 'an integer between 0 and 10'),
    hint: 'It counts repeats of one file operation after an error that may pass; 4 suits most storage.',
    help: 'repeats of a file operation after an error that may pass',
  },
  timeoutMs: {
    text: 'integer',
    check: integer(1, MOST_MILLISECONDS, 'a whole number of milliseconds, at least 1'),
    hint: 'Leave timeoutMs out for no limit.',
    help: 'milliseconds that the job may take',
  },
  stallTimeoutMs: {
    text: 'integer',
    check: stallTimeout,
    hint: '0 waits for ever, 300000 is the default.',
    help: 'milliseconds without any progress that end the job, 0 for never',
  },
  logLevel: {
    text: 'string',
    check: oneOf(LOG_LEVELS, 'a log level'),
    hint: 'The levels are off, error, warn, info, debug and trace.',
    help: 'off, error, warn, info, debug or trace: what is logged on stderr',
  },
  numThreads: {
    text: 'integer',
    check: integer(0, 1024, 'an integer between 0 and 1024'),
    hint: '0 uses every core.',
    help: 'threads, 0 for one per core',
  },
};

/** The names, in the order of the table. */
export const OPTION_NAMES = Object.keys(OPTION_TABLE) as readonly OptionName[];

/** Whether a name is an option of the table (and not something every object inherits). */
export function isOptionName(name: string): name is OptionName {
  return Object.hasOwn(OPTION_TABLE, name);
}
