/** Size and error by component and by what layers are for. */
import type { Drawing } from '../charts/draw.js';
import { drawErrors, drawSizes } from '../charts/sizes.js';
import { code, figure, htmlName, section, table } from '../html.js';
import { decibels, megabytes, similarity, weights } from '../numbers.js';
import type { ReportData } from '../report-data.js';

export function breakdown(drawing: Drawing, { components, roles }: ReportData): string {
  const byComponent = components.map((one) => [
    one.name === '' ? 'the model' : code(one.name),
    one.className === null ? '' : htmlName(one.className),
    weights(one.parameters),
    one.quantized ? String(one.layers) : 'carried over',
    one.originalMb === null ? '' : megabytes(one.originalMb),
    one.modelMb === null ? '' : megabytes(one.modelMb),
    one.cosine === null ? '' : similarity(one.cosine),
    one.worst === null ? '' : `${similarity(one.worst.similarity)} ${code(one.worst.name)}`,
  ]);
  const byRole = roles.map((one) => [
    one.role === null ? 'not in codes' : htmlName(one.role),
    one.role === null ? '' : String(one.layers),
    weights(one.parameters),
    megabytes(one.mb),
    one.bitsPerWeight === null ? '' : one.bitsPerWeight.toFixed(2),
    one.sqnrDb === null ? '' : decibels(one.sqnrDb.least),
    one.sqnrDb === null ? '' : decibels(one.sqnrDb.median),
    one.leastSimilarity === null ? '' : similarity(one.leastSimilarity),
  ]);
  const n = (title: string) => ({ title, number: true });
  return section(
    'parts',
    'Size and error by component and role',
    table(
      'Components; size is that of the weight files',
      [
        { title: 'component' },
        { title: 'class' },
        n('parameters'),
        n('layers in codes'),
        n('before'),
        n('after'),
        n('mean cosine'),
        { title: 'worst layer' },
      ],
      byComponent,
    ),
    '<div class="pair">',
    figure(
      drawSizes(drawing, roles),
      'Bytes written, by what the layers are for. Not in codes: embeddings, norms, biases and layers left in float.',
    ),
    figure(
      drawErrors(drawing, roles),
      'SQNR of the weights: median of the layers (dot, figure) and their range (line). Higher is better; 6 dB halve the error.',
    ),
    '</div>',
    table(
      'The same in figures, largest first',
      [
        { title: 'role' },
        n('layers'),
        n('weights'),
        n('size'),
        n('bits a weight'),
        n('least SQNR, dB'),
        n('median SQNR, dB'),
        n('least similarity'),
      ],
      byRole,
    ),
  );
}
