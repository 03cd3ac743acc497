/** Layers of two models side by side, as tables show them. */
import type { ComparedLayer } from '../results.js';

/** Rows of a table without `--layers`. */
export const SHOWN_LAYERS = 10;

export const COMPARED_LAYERS = [
  { title: 'layer', text: (row: ComparedLayer) => row.name },
  { title: 'shape', text: (row: ComparedLayer) => row.shape.join('×') },
  { title: 'bits', align: 'right', text: (row: ComparedLayer) => (row.bitWidth === null ? '-' : `${row.bitWidth}`) },
  { title: 'cosine', align: 'right', text: (row: ComparedLayer) => row.cosine.toFixed(6) },
  { title: 'worst row', align: 'right', text: (row: ComparedLayer) => row.worstRowCosine.toFixed(6) },
  { title: 'SQNR dB', align: 'right', text: (row: ComparedLayer) => row.sqnrDb.toFixed(2) },
  { title: 'max error', align: 'right', text: (row: ComparedLayer) => row.maxAbsError.toExponential(2) },
] as const;

/** All of them in the order of the file, or the worst. */
export function shownLayers<T extends ComparedLayer>(layers: readonly T[], all: boolean): readonly T[] {
  return all ? layers : [...layers].sort((a, b) => a.cosine - b.cosine).slice(0, SHOWN_LAYERS);
}

/** A last line, where there are more. */
export function notShown(layers: readonly ComparedLayer[], shown: readonly ComparedLayer[]): string[] {
  const left = layers.length - shown.length;
  return left > 0 ? [`… ${left} better ones; --layers shows all`] : [];
}
