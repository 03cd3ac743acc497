/** Histograms of single layers' weights, as the engine counts them. */
import type { QuantizationResult } from '../results.js';

/** Weights of one layer in equal bins, before and after. */
export interface LayerHistogram {
  readonly name: string;
  /** Where the first bin begins and the last one ends. */
  readonly low: number;
  readonly high: number;
  /** Counts of equal bins over `low` to `high`. */
  readonly original: readonly number[];
  readonly quantized: readonly number[];
  /** Decoded less original weight. */
  readonly error: { readonly low: number; readonly high: number; readonly counts: readonly number[] };
  readonly weights: number;
}

const SHOWN = 6;

/** Names of the layers with the least similarity, worst first; those that the page shows weights of. */
export function worstLayers({ layers }: Pick<QuantizationResult, 'layers'>): string[] {
  // Equal figures are told in the order of the file, so that the page does not depend on how a sort treats them.
  const ranked = layers.map(({ name, similarity }, index) => ({ name, similarity, index }));
  ranked.sort((a, b) => a.similarity - b.similarity || a.index - b.index);
  return ranked.slice(0, SHOWN).map(({ name }) => name);
}
