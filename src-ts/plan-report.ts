/** What `plan` resolves with. Sizes in MB are 10^6 bytes. */
import type { BitWidth, DiffusionQuantOptions, Layout, Modality } from './config/options.js';
import type { ComponentResult, LayerResult, LayerScheme, ReportWarning, SkippedTensor } from './results.js';

/** A layer that a job would quantize. */
export interface PlannedLayer
  extends Pick<LayerResult, 'name' | 'writtenAs' | 'joined' | 'shape' | 'parameters' | 'role' | 'bitsPerWeight'> {
  /** What is tried first. Rotation and the stored type of scales are decided when the weights are read. */
  readonly scheme: LayerScheme;
  /** In the file. */
  readonly bytes: number;
  /** Why it has this width. */
  readonly why: string;
  /** Inputs that its codes would be chosen by: those of the calibration, or computed from the time embedding; null: its weights alone. */
  readonly inputs: 'recorded' | 'computed' | null;
}

/** A block at the next width. */
export interface PlannedRaise {
  /** The part of its layers' names that they share. */
  readonly block: string;
  readonly layers: number;
  readonly from: BitWidth;
  readonly to: BitWidth;
  /** What that would add to the weight files. */
  readonly costMb: number;
  /** Whether that fits what is left of the target. */
  readonly fits: boolean;
}

/** What a target size leaves to be bought. Which blocks are raised is decided by their error, when the weights are read. */
export interface PlannedTarget {
  readonly targetMb: number;
  /** The width that all layers begin at. */
  readonly bitWidth: BitWidth;
  /** The plan at that width. */
  readonly baseMb: number;
  readonly leftMb: number;
  /** In the order of the file; none without `enableMixedPrecision`. */
  readonly raises: readonly PlannedRaise[];
}

export interface JobPlan {
  readonly modelPath: string;
  readonly modality: Modality;
  readonly modalitySource: string;
  readonly layout: Exclude<Layout, 'auto'>;
  readonly bitWidth: BitWidth;
  readonly groupSize: number;
  readonly components: readonly ComponentResult[];
  readonly layers: readonly PlannedLayer[];
  readonly skipped: readonly SkippedTensor[];
  /** Weight files that would be written. */
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  /** Of the weight files of the quantized components. */
  readonly originalSizeMb: number;
  readonly modelSizeMb: number;
  /** Whether `modelSizeMb` is exact unless a layer falls back; not with layout `parquet`, nor where blocks are raised to fill a target. */
  readonly exact: boolean;
  readonly compressionRatio: number;
  readonly bitsPerWeight: number;
  /** What a job takes beside the process itself, and `maxMemoryLimitMb` (MiB). */
  readonly memory: { readonly estimateMb: number; readonly limitMib: number };
  /** On this machine, which was measured for `measuredS` seconds; for weights and inputs of the usual kind. */
  readonly time: { readonly seconds: number; readonly threads: number; readonly measuredS: number };
  /** Room at `outputPath`, for all weight files of all layouts; null where no output was named. */
  readonly disk: { readonly path: string; readonly requiredMb: number; readonly freeMb: number | null } | null;
  readonly target: PlannedTarget | null;
  readonly warnings: readonly ReportWarning[];
  /** Every option with the value that would hold. */
  readonly resolvedConfig: Readonly<DiffusionQuantOptions>;
  /** Where `layout` was a list: the plan of each, in that order. The plan around them is that of the first. */
  readonly outputs?: readonly Omit<JobPlan, 'outputs'>[];
}
