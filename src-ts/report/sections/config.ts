/** How to open the output, and the options that held. */

import type { OpenLines } from '../../what-opens.js';
import { code, htmlName, htmlText, section, table } from '../html.js';
import type { ReportData } from '../report-data.js';

export function opening(blocks: readonly OpenLines[]): string {
  const content = blocks.map(
    ({ title, language, lines, note }) =>
      `<h3>${htmlText(title)}</h3><pre><code class="language-${language}">${lines.map(htmlText).join('\n')}</code></pre>` +
      (note === undefined ? '' : `<p class="soft">${htmlText(note)}</p>`),
  );
  return section('open', 'How to open it', ...content);
}

export function config({ config: options, version }: ReportData): string {
  const rows = Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [code(name), `<code>${htmlText(textOf(value))}</code>`]);
  return section(
    'config',
    'Configuration',
    table(
      `Options with the values that held, arrow-quant ${htmlName(version)}; those that change no byte of the output are left out`,
      [{ title: 'option' }, { title: 'value' }],
      rows,
    ),
  );
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
