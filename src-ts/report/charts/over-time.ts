/** SQNR of outputs over the recorded steps. */
import type { ReportedStep } from '../time.js';
import type { Drawing } from './draw.js';

export function drawTime({ plot, draw }: Drawing, steps: readonly ReportedStep[]): string {
  const points = steps.map((step) => ({ ...step, x: (step.first + step.last) / 2 }));
  const last = points.slice(-1);
  const named = (y: 'least' | 'median', text: string, fill: string) =>
    plot.text(last, { x: 'x', y, text: () => text, textAnchor: 'start', dx: 8, fill });
  const line = (y: 'least' | 'median', stroke: string) => [
    plot.line(points, { x: 'x', y, stroke, strokeWidth: 2 }),
    plot.dot(points, { x: 'x', y, fill: stroke, r: 3.5, title: (p) => titleOf(p) }),
  ];
  const worst = steps.reduce((a, b) => (b.least < a.least ? b : a));
  return draw(
    {
      width: 960,
      height: 280,
      marginLeft: 44,
      marginRight: 96,
      marginBottom: 40,
      x: { label: 'step (middle of its time group)', ticks: 10 },
      y: { label: 'SQNR of outputs, dB', grid: true, nice: true },
      marks: [
        plot.areaY(points, { x: 'x', y1: 'low', y2: 'high', fill: 'var(--bar)', fillOpacity: 0.22 }),
        ...line('median', 'var(--bar)'),
        ...line('least', 'var(--alert)'),
        named('median', 'median layer', 'var(--bar)'),
        named('least', 'worst layer', 'var(--alert)'),
      ],
    } as never,
    `SQNR of outputs over ${steps.length} time groups; least ${worst.least.toFixed(1)} dB in steps ${worst.first} to ${worst.last}`,
  );
}

function titleOf({ first, last, least, median, worst }: ReportedStep): string {
  return `steps ${first} to ${last}\nmedian ${median.toFixed(1)} dB\nworst ${least.toFixed(1)} dB, ${worst}`;
}
