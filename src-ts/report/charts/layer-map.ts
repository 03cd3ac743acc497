/** A map of the layers: blocks from left to right, what a layer is in its block from top to bottom, error as colour and number. */
import { quantile } from '../numbers.js';
import type { ReportedLayer } from '../report-data.js';
import type { Drawing } from './draw.js';

export interface MapOf {
  /** Empty: blocks that have fewer than a map is worth, and layers outside of blocks. */
  readonly family: string;
  readonly layers: readonly ReportedLayer[];
}

const WORTH_A_MAP = 6;
const CELL = { width: 30, height: 21 };
const NO_BLOCK = 'no block';
// viridis: even steps to the eye, in print and for every kind of colour vision, the same on light and dark pages.
const RAMP = ['#440154', '#46327e', '#365c8d', '#277f8e', '#1fa187', '#4ac16d', '#a0da39', '#fde725'];
/** From here on the ramp is light, and numbers on it are dark. */
const LIGHT_FROM = 4;

/** Families in the order of the file, those without a map of their own together and last. */
export function mapsOf(layers: readonly ReportedLayer[]): MapOf[] {
  const families = new Map<string, ReportedLayer[]>();
  const key = (layer: ReportedLayer) => (layer.component === '' ? layer.family : `${layer.component}/${layer.family}`);
  for (const layer of layers) families.set(key(layer), [...(families.get(key(layer)) ?? []), layer]);
  const own = [...families].filter(([, of]) => new Set(of.map(({ block }) => block)).size >= WORTH_A_MAP);
  const named = new Set(own.map(([family]) => family));
  const rest = layers.filter((layer) => !named.has(key(layer)));
  const maps = own.map(([family, of]) => ({ family, layers: of }));
  return rest.length === 0 ? maps : [...maps, { family: '', layers: rest }];
}

/**
 * Bounds between the colours, whole dB. Each colour has about as many layers as the others, since widths are far apart in dB and even steps
 * would show nothing but these; yet no step is under 1 dB, which is noise of rounding.
 */
export function steps(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const bounds: number[] = [];
  for (let at = 1; at < RAMP.length; at += 1) {
    const wanted = Math.round(quantile(sorted, at / RAMP.length));
    bounds.push(Math.max(wanted, (bounds.at(-1) ?? Number.NEGATIVE_INFINITY) + 1));
  }
  return bounds;
}

function colourOf(value: number, bounds: readonly number[]): { readonly fill: string; readonly text: string } {
  const at = bounds.filter((bound) => value >= bound).length;
  return { fill: RAMP[at] ?? '', text: at >= LIGHT_FROM ? '#000' : '#fff' };
}

/** The colours and what they stand for. */
export function drawLegend({ plot, draw }: Drawing, bounds: readonly number[]): string {
  const boxes = RAMP.map((fill, at) => ({ at, fill }));
  const marks = [
    plot.rect(boxes, { x1: 'at', x2: (box) => box.at + 1, y1: 0, y2: 1, fill: 'fill' }),
    plot.text(bounds, { x: (_, at) => at + 1, y: 0, text: (bound) => String(bound), dy: 10, fill: 'currentColor' }),
  ];
  const options = {
    width: 300,
    height: 38,
    margin: 2,
    marginBottom: 18,
    marginTop: 4,
    x: { axis: null },
    y: { axis: null },
  };
  const label = `Colours: dark is under ${bounds[0]} dB, light from ${bounds.at(-1)} dB`;
  return draw({ ...options, fontSize: 11, marks } as never, label);
}

export function drawMap(
  { plot, draw }: Drawing,
  { family, layers }: MapOf,
  value: (layer: ReportedLayer) => number,
  bounds: readonly number[],
  what: string,
): string {
  const column = (layer: ReportedLayer) => {
    if (family !== '') return String(layer.number ?? layer.block);
    const block = layer.block === '' ? NO_BLOCK : layer.block;
    return layer.component === '' ? block : `${layer.component}/${block}`;
  };
  const cells = layers.map((layer) => {
    const db = value(layer);
    const { fill, text } = colourOf(db, bounds);
    const title = `${layer.name}\n${what} ${db.toFixed(1)} dB, ${layer.bits} bits`;
    return { x: column(layer), y: shortened(layer.part), fill, text, title, number: db >= 100 ? '' : db.toFixed(0) };
  });
  // Layers outside of blocks have a column, and rows, of their own: at the end.
  const outside = new Set(
    layers.filter(({ block }) => block === '').flatMap((layer) => [column(layer), shortened(layer.part)]),
  );
  const ordered = (a: string, b: string) => Number(outside.has(a)) - Number(outside.has(b)) || natural(a, b);
  const columns = [...new Set(cells.map(({ x }) => x))].sort(ordered);
  const rows = [...new Set(cells.map(({ y }) => y))].sort(ordered);
  const left = widest(rows) + 14;
  const top = family === '' ? widest(columns) + 12 : 34;
  const least = layers.reduce((a, b) => (value(b) < value(a) ? b : a));
  const label =
    `${family === '' ? 'Layers' : family}: ${columns.length} blocks by ${rows.length} layers, ${what}; ` +
    `least ${value(least).toFixed(1)} dB, ${least.name}`;
  return draw(
    {
      width: left + columns.length * CELL.width + 6,
      height: top + rows.length * CELL.height + 6,
      marginLeft: left,
      marginTop: top,
      marginRight: 6,
      marginBottom: 6,
      padding: 0.06,
      x: {
        domain: columns,
        label: family === '' ? null : 'block',
        tickSize: 0,
        tickRotate: family === '' ? -90 : 0,
        axis: 'top',
      },
      y: { domain: rows, label: null, tickSize: 0 },
      marks: [
        plot.cell(cells, { x: 'x', y: 'y', fill: 'fill', stroke: 'currentColor', strokeOpacity: 0.35, title: 'title' }),
        plot.text(cells, { x: 'x', y: 'y', text: 'number', fill: 'text', fontSize: 11, pointerEvents: 'none' }),
      ],
    },
    label,
  );
}

/** Numbers in names by their size, all others by their characters, the same everywhere. */
function natural(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/(\d+)/));
  for (const [at, one] of (left ?? []).entries()) {
    const other = right?.[at];
    if (other === undefined) return 1;
    if (one === other) continue;
    return at % 2 === 1 ? Number(one) - Number(other) : one < other ? -1 : 1;
  }
  return (left?.length ?? 0) - (right?.length ?? 0);
}

function shortened(part: string): string {
  return part.length <= 44 ? part : `${part.slice(0, 20)}…${part.slice(-23)}`;
}

/** Of 12-pixel text, about: there is no font to measure with. */
function widest(texts: readonly string[]): number {
  return texts.reduce((most, { length }) => Math.max(most, length), 0) * 7.3;
}
