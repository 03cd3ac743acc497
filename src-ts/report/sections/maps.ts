/** The map of the layers, by the error of their weights and, where inputs of most are known, of their outputs. */
import type { Drawing } from '../charts/draw.js';
import { drawLegend, drawMap, mapsOf, steps } from '../charts/layer-map.js';
import { code, figure, section } from '../html.js';
import type { ReportData, ReportedLayer } from '../report-data.js';

export function maps(drawing: Drawing, { layers }: ReportData): string {
  if (layers.length === 0) return '';
  const known = layers.filter(({ outputSqnrDb }) => outputSqnrDb !== null);
  const intro =
    '<p>A cell is a layer, with its SQNR in dB; dark is worse, and each colour has about as many layers. ' +
    'Names and all figures are in the <a href="#layers">table of layers</a>.</p>';
  const content: string[] = [];
  if (known.length * 2 > layers.length) {
    content.push(
      kind(
        drawing,
        known,
        ({ outputSqnrDb }) => outputSqnrDb ?? 0,
        'SQNR of outputs, worst time group',
        'Outputs, in the worst time group',
      ),
    );
  }
  content.push(kind(drawing, layers, ({ sqnrDb }) => sqnrDb, 'SQNR of weights', 'Weights'));
  return section('map', 'Map of the layers', intro, `<div class="maps">${content.join('')}</div>`);
}

function kind(
  drawing: Drawing,
  layers: readonly ReportedLayer[],
  value: (layer: ReportedLayer) => number,
  what: string,
  title: string,
): string {
  const bounds = steps(layers.map(value));
  const all = mapsOf(layers);
  const figures = all.map((map) => {
    const name =
      map.family === ''
        ? all.length === 1
          ? 'All layers, by block'
          : 'Other layers, by block'
        : `${code(map.family)}, by block`;
    return figure(drawMap(drawing, map, value, bounds, what), name, 'map');
  });
  return `<div><h3>${title}</h3>${figure(drawLegend(drawing, bounds), `${what}, dB`, 'map')}${figures.join('')}</div>`;
}
