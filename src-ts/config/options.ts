/** The options as types, each with its meaning, default and unit. What is accepted is decided in option-table.ts. */
import type { DiffusionQuantConfig } from './diffusion-quant-config.js';

export type BitWidth = 2 | 4 | 8;
export type GroupSize = 32 | 64 | 128 | 256;
export type Modality = 'text' | 'code' | 'image' | 'audio' | 'video';
/** `gptq` needs `calibration`; `auto` takes it wherever a layer's inputs are known. */
export type Method = 'auto' | 'rtn' | 'mse' | 'gptq';
export type DeploymentProfile = 'edge' | 'local' | 'cloud';
export type Layout = 'auto' | 'sdnq' | 'compressed-tensors' | 'gguf' | 'comfyui' | 'parquet' | 'plain';
export const LOG_LEVELS = ['off', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
/** `original`: those of the checkpoint that a diffusers model came from, which ComfyUI and stable-diffusion.cpp know. */
export type GgufNames = 'auto' | 'diffusers' | 'original';
/** Kinds of GGUF files, by the names that llama.cpp's tools have for them. */
export const GGUF_TYPES = [
  'Q2_K',
  'Q3_K_S',
  'Q3_K_M',
  'Q4_0',
  'Q4_1',
  'Q4_K_S',
  'Q4_K_M',
  'Q5_0',
  'Q5_1',
  'Q5_K_S',
  'Q5_K_M',
  'Q6_K',
  'Q8_0',
] as const;
export type GgufType = (typeof GGUF_TYPES)[number];
export type PlainDtype = 'source' | 'f32' | 'f16' | 'bf16';

/**
 * Every option is optional; the profile gives the defaults. An unknown key is an error.
 *
 * A value that is not accepted ends the call before anything is opened, as a ConfigurationError with the code `AQ_INVALID_CONFIG` unless the
 * option names another one. What else an option can end a job with is said with it.
 */
export interface DiffusionQuantOptions {
  /** Bits a weight is stored in. Refused with `AQ_INVALID_BIT_WIDTH`. @defaultValue edge 2, local 4, cloud 8 */
  readonly bitWidth?: BitWidth | undefined;
  /**
   * Neighbouring weights along the input channels that share one scale (and zero). Need not divide the row. Layouts `gguf` and `comfyui` have
   * groups of their own. Refused with `AQ_INVALID_GROUP_SIZE`.
   * @defaultValue edge 64, local 64, cloud 128
   */
  readonly groupSize?: GroupSize | undefined;
  /**
   * Ranges of the time axis with statistics of their own, a whole number from 1 to 100. Refused with `AQ_INVALID_TIME_GROUPS`.
   * @defaultValue edge 5, local 10, cloud 20
   */
  readonly numTimeGroups?: number | undefined;
  /**
   * Similarity (a cosine) every layer must reach, 0 to 1. It follows the job's width and stays as it is while a layer is raised. Refused with
   * `AQ_INVALID_ACCURACY`; a layer that misses it at 8 bits ends the job with `AQ_VALIDATION_FAILED`. 0 switches it off.
   * @defaultValue 0.90 at 2 bits, 0.985 at 4 bits, 0.9995 at 8 bits
   */
  readonly minAccuracy?: number | undefined;
  /** What the model makes. Left out, and nothing tells it: `AQ_UNKNOWN_MODALITY`. @defaultValue detected from the model */
  readonly modality?: Modality | undefined;
  /** Supplies the defaults; every explicit option wins over it. @defaultValue 'local' */
  readonly deploymentProfile?: DeploymentProfile | undefined;
  /**
   * File with rows of each layer's input, recorded over the time steps. Layers it knows are judged by their output in
   * the worst time group, the others by their weights. A file that cannot be used is `AQ_ARROW`, `AQ_PARQUET`, `AQ_SERDE`,
   * `AQ_CORRUPT_MODEL`, `AQ_SHAPE_MISMATCH` or `AQ_QUANTIZATION_FAILED`, by what is wrong with it.
   * @defaultValue none
   */
  readonly calibration?: string | undefined;
  /** Calibration rows used per layer and time step, at most, 1 to 1,000,000. @defaultValue edge 32, local 128, cloud 512 */
  readonly calibrationSamples?: number | undefined;
  /** Resolve statistics over the time axis. @defaultValue true */
  readonly enableTimeAware?: boolean | undefined;
  /**
   * Rotate weights where that lowers the error and the layout can carry it: `sdnq`, `parquet` and `plain` at 2 and 4 bits, `comfyui` at 8.
   * @defaultValue edge and local true, cloud false
   */
  readonly enableSpatial?: boolean | undefined;
  /** Store no zero point. @defaultValue false */
  readonly symmetric?: boolean | undefined;
  /**
   * End with a ValidationError (`AQ_VALIDATION_FAILED`) at the first layer below `minAccuracy`, instead of raising its width 2 → 4 → 8.
   * @defaultValue false
   */
  readonly failFast?: boolean | undefined;
  /** Replace an existing output, once the new one is complete. Without it that is `AQ_OUTPUT_EXISTS`. @defaultValue false */
  readonly overwrite?: boolean | undefined;
  /**
   * `rtn`: min/max rounding; `mse`: scale and zero searched; `gptq`: least error of a layer's output, refused without `calibration`; `auto`:
   * `gptq` for layers whose inputs are known, `mse` for the others.
   * @defaultValue 'auto'
   */
  readonly method?: Method | undefined;
  /**
   * What is written: `sdnq` for diffusers, `compressed-tensors` for transformers and vLLM, `gguf` for diffusers, ComfyUI,
   * stable-diffusion.cpp and llama.cpp, `comfyui` for ComfyUI without a custom node, `parquet` for tools that ask about layers, `plain` for
   * any loader. `auto` is `compressed-tensors` for a transformers model, `gguf` for a model in a GGUF file, `sdnq` otherwise. A list writes
   * each into a folder of its own. Refused, too, where a layout has no place for this model.
   * @defaultValue 'auto'
   */
  readonly layout?: Layout | readonly Exclude<Layout, 'auto'>[] | undefined;
  /**
   * Names of the tensors, with layout `gguf` only; `auto` keeps those of the source. Layout `comfyui` has original names always.
   * @defaultValue 'auto'
   */
  readonly ggufNames?: GgufNames | undefined;
  /**
   * The kind of GGUF file, with layout `gguf` only. Layers of the job's width get its type; those that make attention's values or end a
   * feed-forward get more in the `_M` kinds (Q6_K; Q5_K in Q3_K_M). It stands for a `bitWidth`: 2 for Q2_K and Q3_K, 8 for Q8_0, else 4.
   * @defaultValue Q2_K at 2 bits, Q4_K at 4, Q8_0 at 8
   */
  readonly ggufType?: GgufType | undefined;
  /** Element type of decoded layers, with layout `plain` only; `f32` keeps the decoded values exactly. @defaultValue 'f32' */
  readonly plainDtype?: PlainDtype | undefined;
  /** One width more for the blocks that decide the worst step. @defaultValue 'auto' */
  readonly protectBlocks?: 'auto' | 'none' | undefined;
  /**
   * The share of the work to do: `2/8` is the second of eight, cut by the bytes of the model. `outputPath` becomes a folder of that share; `merge`
   * joins all of them into the output of a single job. Not together with several layouts.
   * @defaultValue none: the whole work
   */
  readonly partition?: string | undefined;
  /** Components to quantize, as the model folder names them; others are refused once it is open. @defaultValue the denoiser */
  readonly components?: readonly string[] | undefined;
  /**
   * Width in bits of single layers by name or glob; 16 keeps a layer as it is. A width is refused with `AQ_INVALID_BIT_WIDTH`, a name that
   * matches nothing with `AQ_INVALID_CONFIG` once the model is open.
   * @defaultValue none
   */
  readonly layerBitWidths?: Readonly<Record<string, BitWidth | 16>> | undefined;
  /**
   * Layers left as they are, by name or glob (`*` matches within and across dots). Refused, too, where one matches nothing.
   * @defaultValue none
   */
  readonly skipLayers?: readonly string[] | undefined;
  /**
   * Spend what `targetModelSizeMb` leaves on a larger width for whole blocks: those of the first-block rule, modulation, then
   * by what their error falls for each byte. `target` in the result tells each step.
   * @defaultValue false
   */
  readonly enableMixedPrecision?: boolean | undefined;
  /**
   * MB (10^6 bytes) that the weight files of the quantized components may take. Without `bitWidth` the largest width that fits is
   * taken; where none fits the job ends with `AQ_QUANTIZATION_FAILED` before anything is written. Layers that `minAccuracy` raises may
   * pass it, with a warning.
   * @defaultValue none
   */
  readonly targetModelSizeMb?: number | undefined;
  /** What to do with a tensor that holds NaN or infinity: `error` is `AQ_NON_FINITE_WEIGHTS`. @defaultValue 'error' */
  readonly nonFinite?: 'error' | 'keep' | undefined;
  /**
   * Go on with what an interrupted job to the same output left (`AQ_RESUME_MISMATCH` where its settings differ), and
   * leave it when this one is interrupted. Not together with `overwrite`.
   * @defaultValue false
   */
  readonly resume?: boolean | undefined;
  /**
   * MiB that the buffers of the job may take together, 16 to 16777216; Node itself is not counted. A row that does not fit is
   * `AQ_OUT_OF_MEMORY`.
   * @defaultValue 256, less in a container that has little
   */
  readonly maxMemoryLimitMb?: number | undefined;
  /** What computes: `cuda:1` is the second GPU. All give the same bytes. One that is not there: `AQ_DEVICE_UNAVAILABLE`. @defaultValue 'auto' */
  readonly device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}` | undefined;
  /** Finish on the CPU when the device fails, instead of ending with `AQ_DEVICE_FAILED`. @defaultValue true */
  readonly deviceFallback?: boolean | undefined;
  /** Repeats of a file operation after a transient error, 0 to 10; then the job ends with `AQ_IO`. @defaultValue 4 */
  readonly ioRetries?: number | undefined;
  /** Milliseconds that the job may take, counted from the call, 1 to 2^31 - 1; it ends with `AQ_TIMEOUT`. @defaultValue no limit */
  readonly timeoutMs?: number | undefined;
  /**
   * Milliseconds without a byte read, a block done or a byte written that end the job with `AQ_TIMEOUT`, 1000 to 2^31 - 1; 0: never.
   * @defaultValue 300000
   */
  readonly stallTimeoutMs?: number | undefined;
  /** What is logged on stderr, for the whole process; `ARROW_QUANT_LOG` does the same. @defaultValue 'off' */
  readonly logLevel?: LogLevel | undefined;
  /** Worker threads, 0 to 1024; 0 means one per core. Results do not depend on it. @defaultValue 0 */
  readonly numThreads?: number | undefined;
}

/** A configuration in any of its forms: the name of a profile, options, or a checked configuration. */
export type ConfigInput = DeploymentProfile | DiffusionQuantOptions | DiffusionQuantConfig;
