/**
 * What the page shows, made of a result alone. Nothing in it differs between two jobs that wrote equal bytes: no times, threads, devices or
 * paths, and no warnings about how the run went.
 */
import type { BitWidth } from '../config/options.js';
import { version } from '../generated/version.js';
import type { QuantizationResult, ReportWarning, SkippedTensor, TargetResult } from '../results.js';
import { type LayerPlace, placeOf } from './blocks.js';
import { componentsOf, type ReportedComponent, type ReportedRole, rolesOf } from './groups.js';
import type { LayerHistogram } from './histograms.js';
import { worstLayers } from './histograms.js';
import { rounded } from './numbers.js';
import { type OutputFolder, UNKNOWN_FOLDER } from './output-folder.js';
import { type ReportedStep, timeOf } from './time.js';
import { reasonsOf } from './why.js';

/** A result, or one of its `outputs`. */
export type ReportedResult = Omit<QuantizationResult, 'outputs' | 'callbackErrors'>;

export interface ReportedLayer extends LayerPlace {
  readonly name: string;
  readonly role: string;
  /** Where there are several components. */
  readonly component: string;
  readonly shape: readonly number[];
  readonly parameters: number;
  readonly outcome: 'quantized' | 'raised' | 'failed';
  readonly bits: BitWidth;
  /** The width that was tried first. */
  readonly firstBits: BitWidth;
  readonly blockType: string | null;
  readonly groupSize: number;
  readonly symmetric: boolean;
  readonly rotation: number | null;
  readonly method: string;
  readonly scaleDtype: string;
  readonly bitsPerWeight: number;
  readonly measure: 'weights' | 'output';
  readonly similarity: number;
  /** Of the weights. */
  readonly cosine: number;
  readonly sqnrDb: number;
  readonly worstRowCosine: number;
  readonly maxAbsError: number;
  /** Of the output in the worst time group; null where the inputs are not known. */
  readonly outputSqnrDb: number | null;
  readonly attempts: readonly { readonly bitWidth: BitWidth; readonly similarity: number }[];
}

export interface ReportData {
  readonly format: 'arrow-quant-report';
  readonly formatVersion: 1;
  readonly version: string;
  readonly model: {
    /** Of the quantized components. */
    readonly classNames: readonly string[];
    readonly modality: string;
    readonly modalitySource: string;
    readonly layout: string;
    readonly bitWidth: BitWidth;
    readonly groupSize: number;
  };
  readonly size: {
    readonly originalMb: number;
    readonly modelMb: number;
    readonly ratio: number;
    readonly bitsPerWeight: number;
  };
  readonly quality: {
    readonly cosineSimilarity: number;
    readonly sqnrDb: number;
    readonly minAccuracy: number | null;
    /** Layers that do not reach it. */
    readonly below: number;
    readonly raised: number;
  };
  /** Why it is as it is, in sentences. */
  readonly reasons: readonly string[];
  readonly components: readonly ReportedComponent[];
  readonly roles: readonly ReportedRole[];
  readonly layers: readonly ReportedLayer[];
  /** Names of the worst layers, worst first. */
  readonly worst: readonly string[];
  readonly time: readonly ReportedStep[];
  readonly skipped: readonly SkippedTensor[];
  readonly target: TargetResult | null;
  readonly warnings: readonly ReportWarning[];
  readonly config: Readonly<Record<string, unknown>>;
  readonly histograms: readonly LayerHistogram[];
}

/** Warnings about how a job went, not about what it wrote: as in the manifest, which leaves these out as well. */
const ABOUT_THE_RUN: ReadonlySet<string> = new Set([
  'AQ_WARN_STALE_STAGING',
  'AQ_WARN_RESUMED',
  'AQ_WARN_RETRIED',
  'AQ_WARN_DEGRADED_MEMORY',
  'AQ_WARN_DEGRADED_DEVICE',
  'AQ_WARN_CALLBACK',
]);
/** Options that change no byte of the output, and a path. */
const HOW_IT_RUNS: ReadonlySet<string> = new Set([
  'calibration',
  'numThreads',
  'timeoutMs',
  'stallTimeoutMs',
  'maxMemoryLimitMb',
  'ioRetries',
  'device',
  'deviceFallback',
  'overwrite',
  'resume',
  'logLevel',
]);

export function reportData(
  result: ReportedResult,
  histograms: readonly LayerHistogram[] = [],
  folder: OutputFolder = UNKNOWN_FOLDER,
): ReportData {
  const several = result.components.filter(({ quantized }) => quantized).length > 1;
  const layers = result.layers.map((layer) => layerOf(layer, several));
  const { minAccuracy = null } = result.resolvedConfig;
  const quantized = result.components.filter((component) => component.quantized);
  return {
    format: 'arrow-quant-report',
    formatVersion: 1,
    version,
    model: {
      classNames: quantized.flatMap(({ className }) => className ?? []),
      modality: result.modality,
      modalitySource: result.modalitySource,
      layout: result.layout,
      bitWidth: result.bitWidth,
      groupSize: result.groupSize,
    },
    size: {
      originalMb: result.originalSizeMb,
      modelMb: result.modelSizeMb,
      ratio: rounded(result.compressionRatio),
      bitsPerWeight: rounded(result.bitsPerWeight),
    },
    quality: {
      cosineSimilarity: rounded(result.cosineSimilarity),
      sqnrDb: rounded(result.sqnrDb),
      minAccuracy,
      below: minAccuracy === null ? 0 : result.layers.filter((layer) => layer.similarity < minAccuracy).length,
      raised: layers.filter(({ outcome }) => outcome === 'raised').length,
    },
    reasons: reasonsOf(result, layers),
    components: componentsOf(result, layers, folder),
    roles: rolesOf(result, layers),
    layers,
    worst: worstLayers(result),
    time: timeOf(result.layers),
    skipped: result.skipped,
    target: result.target,
    warnings: result.warnings.filter(({ code }) => !ABOUT_THE_RUN.has(code)),
    config: Object.fromEntries(Object.entries(result.resolvedConfig).filter(([name]) => !HOW_IT_RUNS.has(name))),
    histograms,
  };
}

function layerOf(layer: QuantizationResult['layers'][number], several: boolean): ReportedLayer {
  const { scheme, attempts } = layer;
  // Names of several components begin with that of theirs.
  const slash = several ? layer.name.indexOf('/') : -1;
  const groups = layer.timeGroups ?? [];
  const { family, number, block, part } = placeOf(layer.name.slice(slash + 1));
  return {
    family,
    number,
    block,
    part,
    name: layer.name,
    role: layer.role,
    component: layer.name.slice(0, Math.max(0, slash)),
    shape: layer.shape,
    parameters: layer.parameters,
    outcome: layer.outcome,
    bits: scheme.bits,
    firstBits: attempts[0]?.bitWidth ?? scheme.bits,
    blockType: scheme.blockType ?? null,
    groupSize: scheme.storedGroupSize,
    symmetric: scheme.symmetric,
    rotation: scheme.rotation,
    method: scheme.method,
    scaleDtype: scheme.scaleDtype,
    bitsPerWeight: rounded(layer.bitsPerWeight),
    measure: layer.measure,
    similarity: layer.similarity,
    cosine: layer.cosine,
    sqnrDb: rounded(layer.sqnrDb),
    worstRowCosine: rounded(layer.worstRowCosine),
    maxAbsError: rounded(layer.maxAbsError),
    outputSqnrDb: groups.length === 0 ? null : rounded(Math.min(...groups.map(({ sqnrDb }) => sqnrDb))),
    attempts,
  };
}
