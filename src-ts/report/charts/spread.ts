/** How many layers have which error. */
import { EXACT_DB } from '../numbers.js';
import type { ReportedLayer } from '../report-data.js';
import type { Drawing } from './draw.js';

export function drawSpread({ plot, draw }: Drawing, layers: readonly ReportedLayer[]): string {
  const finite = layers.filter(({ sqnrDb }) => sqnrDb < EXACT_DB);
  const values = finite.map(({ sqnrDb }) => sqnrDb);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  // Bins of a whole number of dB, thirty at most.
  const width = Math.max(1, Math.ceil((most - least) / 30));
  const sorted = [...finite].sort((a, b) => a.bits - b.bits);
  return draw(
    {
      width: 960,
      height: 220,
      marginLeft: 44,
      marginBottom: 40,
      x: { label: 'SQNR of weights, dB', ticks: 12 },
      y: { label: 'layers', grid: true, ticks: 5 },
      marks: [
        plot.rectY(
          sorted,
          plot.binX({ y: 'count' }, {
            x: 'sqnrDb',
            fill: ({ bits }: ReportedLayer) => `var(--bits-${bits})`,
            interval: width,
          } as never),
        ),
        plot.ruleY([0]),
      ],
    } as never,
    `Layers by the SQNR of their weights, from ${least.toFixed(1)} to ${most.toFixed(1)} dB`,
  );
}
