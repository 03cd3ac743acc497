/** How the error of outputs goes over the recorded steps, over all layers whose inputs are known. */
import type { LayerResult } from '../results.js';
import { quantile, rounded } from './numbers.js';

/** One range of steps. */
export interface ReportedStep {
  readonly first: number;
  readonly last: number;
  /** Layers that have it. */
  readonly layers: number;
  /** SQNR of outputs, dB: of all layers in order, the least, the tenth, the middle, the ninetieth part. */
  readonly least: number;
  readonly low: number;
  readonly median: number;
  readonly high: number;
  readonly worst: string;
}

/**
 * Layers with recorded inputs and those with computed ones have groups of different steps. The page shows those that most layers have; of
 * equal numbers the first.
 */
export function timeOf(layers: readonly LayerResult[]): ReportedStep[] {
  const kinds = new Map<string, LayerResult[]>();
  for (const layer of layers) {
    if (layer.timeGroups === undefined || layer.timeGroups.length === 0) continue;
    const key = layer.timeGroups.map(({ first, last }) => `${first}-${last}`).join();
    const of = kinds.get(key);
    if (of === undefined) kinds.set(key, [layer]);
    else of.push(layer);
  }
  const most = [...kinds.values()].reduce<LayerResult[]>((a, b) => (b.length > a.length ? b : a), []);
  return (most[0]?.timeGroups ?? []).map(({ first, last }, at) => stepOf(most, at, first, last));
}

function stepOf(layers: readonly LayerResult[], at: number, first: number, last: number): ReportedStep {
  const values = layers.map(({ name, timeGroups }) => ({ name, sqnrDb: timeGroups?.[at]?.sqnrDb ?? Number.NaN }));
  values.sort((a, b) => a.sqnrDb - b.sqnrDb);
  const sorted = values.map(({ sqnrDb }) => sqnrDb);
  const of = (part: number) => rounded(quantile(sorted, part));
  return {
    first,
    last,
    layers: layers.length,
    least: of(0),
    low: of(0.1),
    median: of(0.5),
    high: of(0.9),
    worst: values[0]?.name ?? '',
  };
}
