/** What did not go as asked: layers at a larger width, what was left alone, warnings, and how a target size was met. */
import { code, htmlText, section, table } from '../html.js';
import { count, megabytes, plural, similarity } from '../numbers.js';
import type { ReportData } from '../report-data.js';

const RAISED = 'AQ_WARN_BITS_RAISED';
const n = (title: string) => ({ title, number: true });

export function notes(data: ReportData): string {
  return section('notes', 'Fallbacks, skips and warnings', raised(data), target(data), skipped(data), warnings(data));
}

function raised({ layers, quality }: ReportData): string {
  const rows = layers
    .filter(({ outcome }) => outcome !== 'quantized')
    .map((layer) => [
      code(layer.name),
      `${layer.firstBits} → ${layer.bits}`,
      layer.attempts.map(({ bitWidth, similarity: at }) => `${bitWidth} bits: ${similarity(at)}`).join('<br>'),
      layer.outcome === 'failed' ? '<span class="alert">failed</span>' : layer.outcome,
    ]);
  if (rows.length === 0) return '<p>No layer had to be raised.</p>';
  const caption = `Layers under ${quality.minAccuracy ?? 'minAccuracy'} at their first width`;
  return table(
    caption,
    [{ title: 'layer' }, n('bits'), { title: 'similarity of each attempt' }, { title: 'outcome' }],
    rows,
  );
}

function target({ target: met }: ReportData): string {
  if (met === null) return '';
  const head =
    `<h3>Target size</h3><p>${met.targetMb} MB asked for. At ${met.bitWidth} bits the plan takes ${megabytes(met.baseMb)}, ` +
    `after all steps ${megabytes(met.plannedMb)}.</p>`;
  if (met.steps.length === 0) return head;
  const rows = met.steps.map((step) => [
    code(step.block),
    count(step.layers),
    `${step.from} → ${step.to}`,
    megabytes(step.costMb),
    htmlText(step.why),
    step.error === null ? '' : `${step.error[0].toPrecision(3)} → ${step.error[1].toPrecision(3)}`,
  ]);
  const columns = [
    { title: 'block' },
    n('layers'),
    n('bits'),
    n('adds'),
    { title: 'why' },
    n('relative squared error'),
  ];
  return head + table('Steps, in their order', columns, rows);
}

function skipped({ skipped: left }: ReportData): string {
  if (left.length === 0) return '';
  const rows = left.map(({ name, why, bytes }) => [code(name), htmlText(why), count(bytes)]);
  return table(
    'Left as it is, or left out of the output',
    [{ title: 'tensor or file' }, { title: 'why' }, n('bytes')],
    rows,
  );
}

/** Those of raised layers say what the table of these says: one line for all. */
function warnings({ warnings: all }: ReportData): string {
  if (all.length === 0) return '<p>No warnings.</p>';
  const others = all.filter((one) => one.code !== RAISED);
  const rows = others.map((one) => [code(one.code), htmlText(one.message)]);
  const raises = all.length - others.length;
  if (raises > 0) rows.push([code(RAISED), `${plural(raises, 'layer')}, in the table above`]);
  return table('Warnings', [{ title: 'code' }, { title: 'message' }], rows);
}
