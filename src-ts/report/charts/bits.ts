/** Bits a weight over the weights of the model: what is drawn is the space they take. */
import { plural, weights } from '../numbers.js';
import type { ReportedLayer } from '../report-data.js';
import type { Drawing } from './draw.js';

export function drawBits({ plot, draw }: Drawing, layers: readonly ReportedLayer[]): string {
  const total = layers.reduce((sum, { parameters }) => sum + parameters, 0);
  const [unit, name] = total >= 1e9 ? [1e9, 'billions'] : total >= 1e6 ? [1e6, 'millions'] : [1, ''];
  let begin = 0;
  const bars = layers.map((layer) => {
    const x1 = begin / unit;
    begin += layer.parameters;
    const title = `${layer.name}\n${layer.bitsPerWeight.toFixed(2)} bits a weight, ${weights(layer.parameters)} weights`;
    return { x1, x2: begin / unit, y: layer.bitsPerWeight, fill: `var(--bits-${layer.bits})`, title };
  });
  const widths = [...new Set(layers.map(({ bits }) => bits))].sort((a, b) => a - b);
  const parts = widths.map((bits) => {
    const own = layers.filter((layer) => layer.bits === bits);
    return `${plural(own.length, 'layer')} of ${bits} bits`;
  });
  return draw(
    {
      width: 960,
      height: 220,
      marginLeft: 44,
      marginBottom: 40,
      x: { label: `weights${name === '' ? '' : `, ${name}`}, in the order of the file`, ticks: 8 },
      y: { label: 'bits a weight', grid: true, ticks: 5, zero: true },
      marks: [
        plot.rectY(bars, {
          x1: 'x1',
          x2: 'x2',
          y: 'y',
          fill: 'fill',
          title: 'title',
          // A line between bars where there is room for one; else no half pixels, which would look like lines.
          ...(layers.length > 300 ? { shapeRendering: 'crispEdges' } : {}),
          stroke: 'var(--page)',
          strokeWidth: layers.length > 300 ? 0 : 0.8,
        }),
        plot.ruleY([0]),
      ],
    },
    `Bits a weight: ${parts.join(', ')}`,
  );
}
