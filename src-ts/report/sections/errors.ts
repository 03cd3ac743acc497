/** Bits, errors over time, and the spread of errors over the layers. */
import { drawBits } from '../charts/bits.js';
import type { Drawing } from '../charts/draw.js';
import { drawTime } from '../charts/over-time.js';
import { drawSpread } from '../charts/spread.js';
import { code, figure, section, table } from '../html.js';
import { EXACT_DB, plural } from '../numbers.js';
import type { ReportData } from '../report-data.js';

export function bits(drawing: Drawing, { layers }: ReportData): string {
  if (layers.length === 0) return '';
  return section(
    'bits',
    'Bits of the layers',
    keys(layers),
    figure(
      drawBits(drawing, layers),
      'As wide as a layer has weights, as high as the bits that each takes on disk, scales and zeros counted: areas are bytes.',
      'wide',
    ),
  );
}

export function time(drawing: Drawing, { time: steps, layers }: ReportData): string {
  const [first] = steps;
  if (first === undefined) return '';
  const rows = steps.map((step) => [
    step.first === step.last ? String(step.first) : `${step.first} to ${step.last}`,
    step.least.toFixed(1),
    step.low.toFixed(1),
    step.median.toFixed(1),
    step.high.toFixed(1),
    code(step.worst),
  ]);
  const n = (title: string) => ({ title, number: true });
  const all = first.layers === layers.length;
  const whose = all
    ? 'the layers'
    : `${first.layers} of ${plural(layers.length, 'layer')} (those whose inputs are known at these steps)`;
  const chart =
    steps.length > 1
      ? figure(
          drawTime(drawing, steps),
          'Blue: the median layer, with the range that eight of ten layers lie in. Red: the worst layer of each time group.',
          'wide',
        )
      : '';
  return section(
    'time',
    'Error over time',
    `<p>SQNR of what ${whose} put out, in ${plural(steps.length, 'time group')}.</p>`,
    chart,
    `<details><summary>Figures of the time groups</summary>${table(
      'SQNR of outputs, dB',
      [{ title: 'steps' }, n('worst layer'), n('tenth part'), n('median'), n('ninetieth part'), { title: 'worst is' }],
      rows,
    )}</details>`,
  );
}

export function spread(drawing: Drawing, { layers }: ReportData): string {
  const finite = layers.filter(({ sqnrDb }) => sqnrDb < EXACT_DB);
  if (finite.length === 0) return '';
  const exact = layers.length - finite.length;
  const more =
    exact === 0 ? '' : ` ${plural(exact, 'layer')} without any error ${exact === 1 ? 'is' : 'are'} not in it.`;
  return section(
    'spread',
    'Distribution of weight errors',
    keys(layers),
    figure(drawSpread(drawing, layers), `How many layers have which SQNR of their weights.${more}`, 'wide'),
  );
}

/** What the colours of widths mean. */
function keys(layers: ReportData['layers']): string {
  const widths = [...new Set(layers.map((layer) => layer.bits))].sort((a, b) => a - b);
  return `<p class="keys soft">${widths.map((width) => `<span><span class="key b${width}"></span>${width} bits</span>`).join('')}</p>`;
}
