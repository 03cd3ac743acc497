/** Weights of one layer before and after, and the difference. */
import type { LayerHistogram } from '../histograms.js';
import type { Drawing } from './draw.js';

const FRAME = {
  width: 470,
  height: 170,
  marginLeft: 40,
  marginBottom: 36,
  marginTop: 22,
  marginRight: 18,
};

/** Counts as parts of a hundred of all weights, each with its bin. */
function bins(low: number, high: number, counts: readonly number[], all: number) {
  const width = (high - low) / Math.max(1, counts.length);
  return counts.map((one, at) => ({
    x1: low + width * at,
    x2: low + width * (at + 1),
    y: (100 * one) / Math.max(1, all),
  }));
}

export function drawWeights({ plot, draw }: Drawing, histogram: LayerHistogram): string {
  const { low, high, original, quantized, weights } = histogram;
  const before = bins(low, high, original, weights);
  const after = bins(low, high, quantized, weights);
  const marks = [
    plot.rectY(before, { x1: 'x1', x2: 'x2', y: 'y', fill: 'var(--quiet)' }),
    // Outlines of the bins, one continuous line.
    plot.line(
      after.flatMap(({ x1, x2, y }) => [
        { x: x1, y },
        { x: x2, y },
      ]),
      { x: 'x', y: 'y', stroke: 'var(--alert)', strokeWidth: 1.3 },
    ),
    plot.ruleY([0]),
  ];
  const axes = { x: { label: 'weight', ticks: 4 }, y: { label: '% of weights', grid: true, ticks: 4 } };
  const label = `Weights of ${histogram.name} before and after, from ${low.toPrecision(3)} to ${high.toPrecision(3)}`;
  return draw({ ...FRAME, ...axes, marks } as never, label);
}

export function drawWeightErrors({ plot, draw }: Drawing, { name, error, weights }: LayerHistogram): string {
  const marks = [
    plot.rectY(bins(error.low, error.high, error.counts, weights), { x1: 'x1', x2: 'x2', y: 'y', fill: 'var(--bar)' }),
    plot.ruleY([0]),
  ];
  const axes = { x: { label: 'error of a weight', ticks: 4 }, y: { label: '% of weights', grid: true, ticks: 4 } };
  const label = `Errors of the weights of ${name}, from ${error.low.toPrecision(3)} to ${error.high.toPrecision(3)}`;
  return draw({ ...FRAME, ...axes, marks } as never, label);
}
