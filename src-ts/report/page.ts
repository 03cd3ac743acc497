/** The page as a whole: one file, nothing from the network, and a policy that would refuse it. */
import { createHash } from 'node:crypto';
import type { OpenLines } from '../what-opens.js';
import { BEHAVIOUR } from './behaviour.js';
import type { Drawing } from './charts/draw.js';
import { embeddedJson, htmlText } from './html.js';
import type { ReportData } from './report-data.js';
import { breakdown } from './sections/breakdown.js';
import { config, opening } from './sections/config.js';
import { bits, spread, time } from './sections/errors.js';
import { layerTable } from './sections/layers.js';
import { maps } from './sections/maps.js';
import { notes } from './sections/notes.js';
import { summary, titleOf } from './sections/summary.js';
import { worst } from './sections/worst.js';
import { STYLE } from './style.js';

// Only what stands in this file may act; the icon is an empty one, which keeps browsers from asking a server for another.
const POLICY = [
  "default-src 'none'",
  `style-src ${hash(STYLE)}`,
  `script-src ${hash(BEHAVIOUR)}`,
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const LINKS: readonly (readonly [id: string, text: string])[] = [
  ['parts', 'Size and error'],
  ['map', 'Map'],
  ['bits', 'Bits'],
  ['time', 'Over time'],
  ['spread', 'Distribution'],
  ['worst', 'Worst'],
  ['notes', 'Fallbacks'],
  ['open', 'Opening'],
  ['config', 'Options'],
  ['layers', 'All layers'],
];

export function pageOf(drawing: Drawing, data: ReportData, lines: readonly OpenLines[]): string {
  const main = [
    breakdown(drawing, data),
    maps(drawing, data),
    bits(drawing, data),
    time(drawing, data),
    spread(drawing, data),
    worst(drawing, data),
    notes(data),
    opening(lines),
    config(data),
    layerTable(data),
  ].join('\n');
  const links = LINKS.filter(([id]) => main.includes(`<section id="${id}"`));
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    '<meta name="referrer" content="no-referrer">',
    '<link rel="icon" href="data:,">',
    `<title>${htmlText(titleOf(data))} – arrow-quant</title>`,
    `<style>${STYLE}</style>`,
    '</head>',
    '<body>',
    '<a class="skip" href="#content">To the content</a>',
    `<nav aria-label="Parts of the report"><ul>${links.map(([id, text]) => `<li><a href="#${id}">${text}</a></li>`).join('')}</ul></nav>`,
    '<main id="content">',
    summary(data),
    main,
    '</main>',
    `<script type="application/json" id="report-data">${embeddedJson(data)}</script>`,
    `<script>${BEHAVIOUR}</script>`,
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function hash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
