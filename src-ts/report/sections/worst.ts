/** The worst layers: figures of each, and histograms of the weights where there are some. */
import type { Drawing } from '../charts/draw.js';
import { drawWeightErrors, drawWeights } from '../charts/weights.js';
import { code, figure, htmlName, section, table } from '../html.js';
import { count, decibels, similarity } from '../numbers.js';
import type { ReportData } from '../report-data.js';

export function worst(drawing: Drawing, data: ReportData): string {
  const layers = data.worst.flatMap((name) => data.layers.find((layer) => layer.name === name) ?? []);
  if (layers.length === 0) return '';
  const rows = layers.map((layer) => [
    code(layer.name),
    htmlName(layer.blockType ?? String(layer.bits)),
    similarity(layer.similarity),
    layer.measure,
    decibels(layer.sqnrDb),
    layer.outputSqnrDb === null ? '' : decibels(layer.outputSqnrDb),
    similarity(layer.worstRowCosine),
    layer.maxAbsError.toPrecision(3),
  ]);
  const n = (title: string) => ({ title, number: true });
  const columns = [
    { title: 'layer' },
    n('bits'),
    n('similarity'),
    { title: 'judged by' },
    n('SQNR of weights, dB'),
    n('of outputs, worst group, dB'),
    n('worst row, cosine'),
    n('largest error'),
  ];
  return section('worst', 'Worst layers', table('Least similarity first', columns, rows), pictures(drawing, data));
}

function pictures(drawing: Drawing, { histograms, worst: names }: ReportData): string {
  const known = names.flatMap((name) => histograms.find((one) => one.name === name) ?? []);
  if (known.length === 0) return '';
  const keys =
    '<p class="keys soft"><span><span class="key quiet"></span>weights before</span>' +
    '<span><span class="key alert"></span>after</span><span><span class="key bar"></span>after less before</span></p>';
  const figures = known.map((one) => {
    const [low, high] = [one.low, one.high].map((bound) => bound.toPrecision(3));
    return (
      `<h3>${code(one.name)}</h3><div class="pair">` +
      figure(drawWeights(drawing, one), `${count(one.weights)} weights from ${low} to ${high}`) +
      figure(
        drawWeightErrors(drawing, one),
        `Errors from ${one.error.low.toPrecision(3)} to ${one.error.high.toPrecision(3)}`,
      ) +
      '</div>'
    );
  });
  return keys + figures.join('');
}
