/** What the public functions resolve with. Sizes in MB are 10^6 bytes. */
import type { BitWidth, DiffusionQuantOptions, Layout, Modality } from './config/options.js';
import type { AnyArrowQuantError } from './errors/classes.js';
import type { DiagnosticEvents } from './events.js';
import type { CallbackErrors } from './progress.js';

/** Something worth knowing that did not stop the job. */
export interface ReportWarning {
  readonly code: string;
  readonly message: string;
  readonly details: unknown;
}

/** Everything needed to encode one layer. */
export interface LayerScheme {
  readonly bits: BitWidth;
  /** The size that was wanted; 0 where the layout has one group a row. */
  readonly groupSize: number;
  /** The size that was stored, where `groupSize` does not divide the row. */
  readonly storedGroupSize: number;
  readonly symmetric: boolean;
  readonly method: 'rtn' | 'mse' | 'gptq';
  readonly scaleDtype: string;
  /** Values that were rotated together before they were encoded (Hadamard); null: none. */
  readonly rotation: number | null;
  /** ggml's blocks, with layout `gguf`; `bits` is the width that they stand for. */
  readonly blockType?: string;
}

/** How far decoded weights lie from the original ones, computed from the bytes that were written. */
export interface Fidelity {
  readonly cosine: number;
  /** Decibels. */
  readonly sqnrDb: number;
  readonly worstRowCosine: number;
  readonly maxAbsError: number;
}

export interface LayerResult extends Fidelity {
  readonly name: string;
  /** The tensor's name in the file, where that is not the source's. */
  readonly writtenAs?: string;
  /** The layers that its rows come from, in order, where they are several. */
  readonly joined?: readonly string[];
  readonly shape: readonly number[];
  readonly parameters: number;
  readonly role: string;
  readonly outcome: 'quantized' | 'raised' | 'failed';
  readonly scheme: LayerScheme;
  /** Bytes on disk × 8 / weights. */
  readonly bitsPerWeight: number;
  /** By what the layer was judged: its weights, or its output in the worst time group. */
  readonly measure: 'weights' | 'output';
  /** The figure that was held against `minAccuracy`. */
  readonly similarity: number;
  /** Quality of the output over time; absent where the layer's inputs are not known. */
  readonly timeGroups?: readonly TimeGroupQuality[];
  readonly attempts: readonly { readonly bitWidth: BitWidth; readonly similarity: number }[];
  readonly fallback?: { readonly from: BitWidth; readonly to: BitWidth };
  /** What was made of the layer's inputs to choose its codes by; absent where they were not known. */
  readonly secondMoments?: SecondMoments;
}

/** The inputs that decided about a layer's codes. */
export interface SecondMoments {
  /**
   * `full`: all second moments, factored (compensation, then a sweep); `sweeps`: all of them, where they had no factor; `factored`: rows
   * that span the inputs (sweeps).
   */
  readonly form: 'full' | 'sweeps' | 'factored';
  /** Recorded in the calibration file; computed from the model's time embedding; or computed with samples for what is not in the file. */
  readonly inputs: 'recorded' | 'computed' | 'sampled';
  readonly rows: number;
  /** Rows that span them; with `factored`. */
  readonly rank?: number;
  /** The part of the inputs' energy that these hold; with `factored`. */
  readonly kept?: number;
  /** Bytes that this took at most, beside the rows themselves. */
  readonly bytes: number;
}

/** Quality of a layer's output in a range of the recorded steps. */
export interface TimeGroupQuality {
  /** Number of the group, from 0. */
  readonly index: number;
  readonly first: number;
  readonly last: number;
  readonly cosine: number;
  /** Decibels. */
  readonly sqnrDb: number;
}

export interface SkippedTensor {
  readonly name: string;
  readonly why: string;
  readonly bytes: number;
}

export interface ComponentResult {
  readonly name: string;
  readonly className: string | null;
  readonly quantized: boolean;
  readonly layers: number;
  readonly parameters: number;
}

/** What `quantizeDiffusionModel` resolves with. */
export interface QuantizationResult {
  readonly quantizedPath: string;
  readonly manifestPath: string;
  readonly reportPath: string;
  readonly modality: Modality;
  /** Which source told the modality. */
  readonly modalitySource: string;
  readonly layout: Exclude<Layout, 'auto'>;
  readonly bitWidth: BitWidth;
  readonly groupSize: number;
  /** Of the weight files of the quantized components. */
  readonly compressionRatio: number;
  /** Mean over the quantized layers, weighted by parameters. */
  readonly cosineSimilarity: number;
  readonly sqnrDb: number;
  readonly bitsPerWeight: number;
  readonly modelSizeMb: number;
  readonly originalSizeMb: number;
  readonly quantizationTimeS: number;
  /** What computed, and why it was that. */
  readonly backend: {
    readonly device: string;
    readonly reason: string;
    readonly simd: string;
    readonly threads: number;
  };
  readonly components: readonly ComponentResult[];
  readonly layers: readonly LayerResult[];
  readonly skipped: readonly SkippedTensor[];
  /** How `targetModelSizeMb` was met; null without one. */
  readonly target: TargetResult | null;
  /** File operations that were repeated after a transient error. */
  readonly retries: readonly DiagnosticEvents['retry'][];
  /** Steps down in memory or device, none of which changed the output. */
  readonly degradations: readonly DiagnosticEvents['degrade'][];
  readonly warnings: readonly ReportWarning[];
  /** Every option with the value that held. */
  readonly resolvedConfig: Readonly<DiffusionQuantOptions>;
  /**
   * Where `layout` was a list: the result of each, in that order, each in a folder of its own under `quantizedPath`. The result around
   * them is that of the first.
   */
  readonly outputs?: readonly Omit<QuantizationResult, 'outputs' | 'callbackErrors'>[];
  /** Present where there was a callback. */
  readonly callbackErrors?: CallbackErrors;
}

/** A block at a larger width. */
export interface TargetStep {
  /** The part of its layers' names that they share. */
  readonly block: string;
  /** Layers that are raised. */
  readonly layers: number;
  readonly from: BitWidth;
  readonly to: BitWidth;
  /** What that adds to the weight files. */
  readonly costMb: number;
  /** Why it came before others. */
  readonly why: string;
  /**
   * Relative squared error of its layers before and after, added up: of outputs where inputs are known, else of weights.
   * null where it did not decide.
   */
  readonly error: readonly [before: number, after: number] | null;
}

/** How a target size was met. */
export interface TargetResult {
  readonly targetMb: number;
  /** The width that all layers begin at. */
  readonly bitWidth: BitWidth;
  /** The plan at that width. */
  readonly baseMb: number;
  /** The plan after all steps. */
  readonly plannedMb: number;
  /** In the order in which they were taken; none without `enableMixedPrecision`. */
  readonly steps: readonly TargetStep[];
}

/** What a failed job had done, in `error.report`: absent where it failed before its options were known. */
export interface PartialReport {
  readonly resolvedConfig?: Readonly<DiffusionQuantOptions>;
  /** Layers that were finished. */
  readonly layers: readonly LayerResult[];
  /** Other layers that failed, in the order of the file. */
  readonly failures: readonly { readonly layer: string; readonly code: string; readonly message: string }[];
  readonly retries: QuantizationResult['retries'];
  readonly degradations: QuantizationResult['degradations'];
  readonly warnings: readonly ReportWarning[];
  readonly callbackErrors?: CallbackErrors;
}

export interface ValidatedLayer extends Fidelity {
  readonly name: string;
  readonly shape: readonly number[];
  /** null where the layout keeps no codes (plain). */
  readonly bitWidth: number | null;
  readonly passed: boolean;
}

/** What `validateQuality` resolves with, whether the quality suffices or not. */
export interface QualityReport {
  /** Whether every layer reaches the threshold. */
  readonly passed: boolean;
  readonly threshold: number;
  readonly cosineSimilarity: number;
  readonly sqnrDb: number;
  readonly worstLayer: { readonly name: string; readonly cosine: number } | null;
  readonly originalSizeMb: number;
  readonly modelSizeMb: number;
  readonly compressionRatio: number;
  readonly layers: readonly ValidatedLayer[];
  /** Names of the layers below the threshold. */
  readonly failed: readonly string[];
  /** Number of weights that are equal to the original's. */
  readonly unquantized: number;
  readonly warnings: readonly ReportWarning[];
  readonly callbackErrors?: CallbackErrors;
}

/** A layer of `compare`. */
export type ComparedLayer = Omit<ValidatedLayer, 'passed'>;

/** What `compare` resolves with. Sizes are those of the first model and the second. */
export interface Comparison extends Omit<QualityReport, 'passed' | 'threshold' | 'failed' | 'layers' | 'unquantized'> {
  /** Layers that differ, or hold codes. */
  readonly layers: readonly ComparedLayer[];
  /** Number of float weights that are equal. */
  readonly equal: number;
}

/** What `exportModel` resolves with. */
export interface ExportResult {
  readonly exportedPath: string;
  readonly layout: Exclude<Layout, 'auto'>;
  /** Layers in codes. */
  readonly layers: number;
  /** Of the weight files that were read, and of those that were written. */
  readonly sourceSizeMb: number;
  readonly modelSizeMb: number;
  /** The manifest of the run that made the codes; null where there is none. */
  readonly report: Readonly<Record<string, unknown>> | null;
  readonly warnings: readonly ReportWarning[];
  readonly callbackErrors?: CallbackErrors;
}

/** A layer of an open model. */
export interface OpenedLayer {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of the tensor that holds its codes, or its values. */
  readonly dtype: string;
  /** The layout that decodes it; null for floats. */
  readonly layout: Exclude<Layout, 'auto' | 'plain'> | null;
  /** Bits of a code. */
  readonly bits: number | null;
  readonly groupSize: number | null;
  readonly symmetric: boolean | null;
  readonly rotation: number | null;
  /** Bytes on disk × 8 / weights. */
  readonly bitsPerWeight: number;
}

export interface InspectedLayer {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly role: string;
  readonly parameters: number;
  /** What quantizing with the default options would do with it. */
  readonly plan: 'quantize' | 'keep8' | 'float';
  readonly why: string;
}

export interface InspectedComponent {
  readonly name: string;
  readonly className: string | null;
  readonly denoiser: boolean;
  readonly parameters: number;
  readonly bytes: number;
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly tensors: number }[];
  /** Number of parameters by number type. */
  readonly dtypes: Readonly<Record<string, number>>;
  readonly quantization: null | { readonly method: string; readonly bits: number; readonly groupSize: number };
  readonly layers: readonly InspectedLayer[];
}

/** What `inspect` resolves with; only headers are read. */
export interface ModelInfo {
  readonly path: string;
  readonly kind: 'pipeline' | 'component' | 'transformers' | 'file';
  readonly className: string | null;
  readonly modality: Modality | null;
  readonly modalitySource: string | null;
  /** Where a modality was looked for. */
  readonly lookedAt: readonly string[];
  readonly parameters: number;
  readonly bytes: number;
  readonly components: readonly InspectedComponent[];
}

/** Rows of one layer in a calibration file. */
export interface CalibratedLayer {
  readonly name: string;
  readonly inFeatures: number;
  readonly steps: number;
  /** Over all steps. */
  readonly rows: number;
  /** Of the step that has fewest. */
  readonly leastRows: number;
  readonly mostRows: number;
  /** So many of `rankedRows` rows, spread over the steps, span 99 % of their energy. */
  readonly rank: number;
  readonly rankedRows: number;
  /** Importance of each step where the file says that they differ. */
  readonly weights: readonly number[] | null;
  /** A job computes the inputs of this layer itself and does not use these. */
  readonly computed: boolean;
  /** Fewer rows than an eighth of the inputs. */
  readonly fewRows: boolean;
}

/** What `inspectCalibration` resolves with. */
export interface CalibrationInfo {
  readonly path: string;
  readonly bytes: number;
  readonly axis: 'timestep' | 'mask_ratio' | 'sigma';
  readonly steps: readonly number[];
  /** Over all layers and steps. */
  readonly rows: number;
  readonly layers: readonly CalibratedLayer[];
  /** Layers that a job would quantize and that have no rows; empty without a model. */
  readonly missing: readonly string[];
  /** Layers whose inputs a job computes itself, so that they need no rows. */
  readonly computed: readonly string[];
  /** Layers of the model that a job leaves in float. */
  readonly unused: readonly string[];
  /** Names in the file that the model does not have. */
  readonly unknown: readonly string[];
  /** Layers with summaries and no rows. */
  readonly summarised: readonly string[];
  readonly warnings: readonly ReportWarning[];
}

/** One tensor quantized in memory. */
export interface QuantizedTensor extends Fidelity {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parameters: number;
  readonly bitWidth: BitWidth;
  readonly groupSize: number;
  readonly storedGroupSize: number;
  /** Number of groups in a row. */
  readonly groups: number;
  readonly symmetric: boolean;
  readonly method: 'rtn' | 'mse' | 'gptq';
  readonly scaleDtype: string;
  readonly bitsPerWeight: number;
  /** Packed lowest bits first, in C order; one byte a code at 8 bits. */
  readonly codes: Uint8Array;
  /** In [out, groups(, taps)] order, already rounded to `scaleDtype`. */
  readonly scales: Float32Array;
  /** As `scales`; absent where `symmetric`. */
  readonly zeros?: Float32Array;
}

/** What `quantize` resolves with, in the order of sorted names. */
export interface InMemoryResult {
  readonly layers: readonly QuantizedTensor[];
  /** Empty unless `continueOnError`. */
  readonly failures: readonly { readonly layer: string; readonly error: AnyArrowQuantError }[];
}
