/** The table of all layers, which sorts by each column and filters. */
import { code, htmlName } from '../html.js';
import { count, decibels, plural, similarity } from '../numbers.js';
import type { ReportData, ReportedLayer } from '../report-data.js';

interface LayerColumn {
  readonly title: string;
  /** What it sorts by; columns without it sort by their text. NaN: no figure. */
  readonly value?: (layer: ReportedLayer) => number;
  readonly text: (layer: ReportedLayer) => string;
}

const COLUMNS: readonly LayerColumn[] = [
  { title: 'layer', text: ({ name }) => code(name) },
  { title: 'bits', value: ({ bits }) => bits, text: ({ bits, blockType }) => htmlName(blockType ?? String(bits)) },
  { title: 'similarity', value: (layer) => layer.similarity, text: (layer) => similarity(layer.similarity) },
  { title: 'SQNR, dB', value: ({ sqnrDb }) => sqnrDb, text: ({ sqnrDb }) => decibels(sqnrDb) },
  {
    title: 'outputs, dB',
    value: ({ outputSqnrDb }) => outputSqnrDb ?? Number.NaN,
    text: ({ outputSqnrDb }) => (outputSqnrDb === null ? '' : decibels(outputSqnrDb)),
  },
  { title: 'worst row', value: (layer) => layer.worstRowCosine, text: (layer) => similarity(layer.worstRowCosine) },
  { title: 'role', text: ({ role }) => htmlName(role) },
  { title: 'outcome', text: ({ outcome }) => outcome },
  { title: 'bits a weight', value: (layer) => layer.bitsPerWeight, text: (layer) => layer.bitsPerWeight.toFixed(2) },
  { title: 'shape', value: ({ parameters }) => parameters, text: ({ shape }) => shape.join('×') },
  { title: 'codes', text: codes },
  { title: 'judged by', text: ({ measure }) => measure },
];

export function layerTable({ layers }: ReportData): string {
  const columns = COLUMNS.filter(
    ({ value }) => value === undefined || layers.some((layer) => !Number.isNaN(value(layer))),
  );
  const head = columns.map(
    ({ title, value }) =>
      `<th scope="col"${value === undefined ? '' : ' class="n"'}><button type="button">${title}</button></th>`,
  );
  const rows = layers.map((layer) => {
    const cells = columns.map(({ value, text }, at) => {
      if (at === 0) return `<th scope="row" class="name">${text(layer)}</th>`;
      return value === undefined
        ? `<td>${text(layer)}</td>`
        : `<td class="n" data-v="${value(layer)}">${text(layer)}</td>`;
    });
    return `<tr data-outcome="${layer.outcome}" data-role="${htmlName(layer.role)}">${cells.join('')}</tr>`;
  });
  return (
    '<section id="layers" aria-labelledby="layers-title"><h2 id="layers-title">All layers</h2>' +
    '<p>Similarity is the figure held against minAccuracy: the cosine of the weights, or of the output in the worst time group. ' +
    'SQNR is that of the weights; that of outputs is of the worst time group.</p>' +
    controls(layers) +
    '<div id="layer-table" class="scroll" role="region" aria-label="Table of layers" tabindex="0">' +
    `<table><caption>${plural(layers.length, 'layer')}, in the order of the file<span class="screen">; a click on a title sorts</span></caption>` +
    `<thead><tr>${head.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div></section>`
  );
}

/** Hidden until the script that they need has begun. */
function controls(layers: readonly ReportedLayer[]): string {
  const choices = (of: (layer: ReportedLayer) => string) => {
    const values = [...new Set(layers.map(of))].sort();
    return `<option value="">all</option>${values.map((value) => `<option>${htmlName(value)}</option>`).join('')}`;
  };
  return (
    '<div id="layer-controls" class="controls" hidden>' +
    '<p><label for="layer-search">Name contains</label><input id="layer-search" type="search" autocomplete="off" spellcheck="false"></p>' +
    `<p><label for="layer-outcome">Outcome</label><select id="layer-outcome">${choices(({ outcome }) => outcome)}</select></p>` +
    `<p><label for="layer-role">Role</label><select id="layer-role">${choices(({ role }) => role)}</select></p>` +
    `<p id="layer-count" role="status">${count(layers.length)} layers</p></div>`
  );
}

/** How it is stored: method, group, and what is not the rule. */
function codes({ method, groupSize, symmetric, rotation }: ReportedLayer): string {
  const more = [symmetric ? 'symmetric' : '', rotation === null ? '' : `rotated ${rotation}`].filter(
    (one) => one !== '',
  );
  return htmlName([`${method}, ${groupSize}`, ...more].join(', '));
}
