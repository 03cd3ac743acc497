/** What `arrow-quant quantize` tells at its end. */
import type { LayerResult, QuantizationResult, SkippedTensor, TargetResult } from '../results.js';
import { openWords } from '../what-opens.js';
import { dimHeader, type Line } from './output.js';
import { count, megabytes, renderFacts, renderTable } from './table.js';

const SHOWN_STEPS = 4;
const SHOWN_WORST = 3;

type OneLayout = Omit<QuantizationResult, 'outputs' | 'callbackErrors'>;

export function summary(result: QuantizationResult, modelPath: string, width: number): Line[] {
  const worst = [...result.layers].sort((a, b) => a.similarity - b.similarity).slice(0, SHOWN_WORST);
  const lines: Line[] = [
    ...renderFacts(figures(result), width),
    '',
    ...(result.outputs === undefined ? [] : [`layers in ${result.layout}:`]),
    ...dimHeader(renderTable(widths(result), WIDTHS, width)),
  ];
  if (worst.length > 0) lines.push('', ...dimHeader(renderTable(worst, WORST, width)));
  const why = [...raisedReasons(result), ...skippedReasons(result.skipped)];
  if (why.length > 0) lines.push('', ...dimHeader(renderTable(why, REASONS, width)));
  return [...lines, '', ...renderFacts(nextSteps(result, modelPath), width)];
}

function figures(result: QuantizationResult): [string, string][] {
  const { outputs, target, layers, skipped } = result;
  const raised = layers.filter(({ outcome }) => outcome === 'raised').length;
  const size = `${megabytes(result.originalSizeMb)} to ${megabytes(result.modelSizeMb)}, ${smaller(result)}`;
  return [
    ['output', result.quantizedPath],
    ['layout', `${(outputs ?? [result]).map(({ layout }) => layout).join(', ')}, ${result.modality}`],
    ['layers', `${layers.length} quantized, ${raised} of them raised; ${skipped.length} left as they are`],
    ['size', outputs === undefined ? size : outputs.map(sizeOf).join('; ')],
    ...(target === null ? [] : ([['target', targetText(target)]] satisfies [string, string][])),
    ['bits', `${result.bitsPerWeight.toFixed(3)} a weight`],
    ['cosine', result.cosineSimilarity.toFixed(6)],
    ['SQNR', `${result.sqnrDb.toFixed(2)} dB`],
    ['time', `${result.quantizationTimeS.toFixed(1)} s`],
  ];
}

function smaller({ compressionRatio }: Pick<OneLayout, 'compressionRatio'>): string {
  return `${compressionRatio.toFixed(2)} times smaller`;
}

function sizeOf(output: OneLayout): string {
  return `${output.layout} ${megabytes(output.modelSizeMb)}, ${smaller(output)}`;
}

function targetText({ targetMb, bitWidth, plannedMb, steps }: TargetResult): string {
  const raised = steps.map(({ block, to }) => `${block} ${to}`).slice(0, SHOWN_STEPS);
  const more = steps.length > SHOWN_STEPS ? ` and ${steps.length - SHOWN_STEPS} more` : '';
  const blocks = steps.length === 0 ? '' : `; raised: ${raised.join(', ')}${more}`;
  return `${megabytes(targetMb)}, planned ${megabytes(plannedMb)} from ${bitWidth} bits${blocks}`;
}

/** Layers of one width, or of one type of ggml's blocks. */
interface WidthRow {
  readonly bits: string;
  readonly layers: number;
  readonly parameters: number;
  readonly share: number;
  /** Weighted by parameters, as that of the whole model; null for floats. */
  readonly sqnrDb: number | null;
  /** What the layers are for, which is why they have this width. */
  readonly roles: string;
}

const WIDTHS = [
  { title: 'bits', text: (row: WidthRow) => row.bits },
  { title: 'layers', align: 'right', text: (row: WidthRow) => count(row.layers) },
  { title: 'parameters', align: 'right', text: (row: WidthRow) => count(row.parameters) },
  { title: 'share', align: 'right', text: (row: WidthRow) => `${(row.share * 100).toFixed(1)} %` },
  { title: 'SQNR dB', align: 'right', text: ({ sqnrDb }: WidthRow) => (sqnrDb === null ? '-' : sqnrDb.toFixed(2)) },
  { title: 'roles', text: (row: WidthRow) => row.roles },
] as const;

/** ggml's types say more than the width that they stand for. */
function storedAs({ scheme }: LayerResult): string {
  return scheme.blockType ?? `${scheme.bits}`;
}

function widths({ layers, skipped, components, resolvedConfig }: QuantizationResult): WidthRow[] {
  const groups = new Map<string, LayerResult[]>();
  for (const layer of [...layers].sort((a, b) => a.scheme.bits - b.scheme.bits)) {
    const key = storedAs(layer);
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  const sum = (list: readonly { readonly parameters: number }[]) => list.reduce((all, one) => all + one.parameters, 0);
  const coded = sum(layers);
  // What a share does not tell of is in others.
  const isShare = resolvedConfig.partition !== undefined;
  const total = isShare ? coded : Math.max(coded, sum(components.filter(({ quantized }) => quantized)));
  const rows = [...groups].map(([bits, group]) => {
    const parameters = sum(group);
    const sqnrDb = group.reduce((all, layer) => all + layer.sqnrDb * layer.parameters, 0) / parameters;
    const roles = [...new Set(group.map(({ role }) => role))].join(', ');
    return { bits, layers: group.length, parameters, share: parameters / total, sqnrDb, roles };
  });
  const rest = total - coded;
  if (rest === 0) return rows;
  // Biases and norms are among them, and are no layers.
  return [
    ...rows,
    { bits: 'float', layers: skipped.length, parameters: rest, share: rest / total, sqnrDb: null, roles: '' },
  ];
}

const WORST = [
  { title: 'similarity', align: 'right', text: (row: LayerResult) => row.similarity.toFixed(6) },
  { title: 'of', text: (row: LayerResult) => row.measure },
  { title: 'SQNR dB', align: 'right', text: (row: LayerResult) => row.sqnrDb.toFixed(2) },
  { title: 'bits', text: storedAs },
  // Last, since it alone may be long.
  { title: 'worst layers', text: (row: LayerResult) => row.name },
] as const;

interface Reason {
  readonly layers: number;
  readonly what: string;
  readonly why: string;
}

const REASONS = [
  { title: 'layers', align: 'right', text: (row: Reason) => count(row.layers) },
  { title: '', text: (row: Reason) => row.what },
  { title: 'why', text: (row: Reason) => row.why },
] as const;

function raisedReasons({ layers, resolvedConfig }: QuantizationResult): Reason[] {
  const steps = counted(
    layers.flatMap(({ fallback }) => (fallback === undefined ? [] : [fallback])),
    ({ from, to }) => `${from} to ${to}`,
  );
  return [...steps].map(([step, number]) => ({
    layers: number,
    what: `raised, ${step} bits`,
    why: `below ${resolvedConfig.minAccuracy ?? 'the threshold'} at the smaller width`,
  }));
}

function skippedReasons(skipped: readonly SkippedTensor[]): Reason[] {
  return [...counted(skipped, ({ why }) => why)]
    .sort(([, a], [, b]) => b - a)
    .map(([why, layers]) => ({ layers, what: 'left as they are', why }));
}

function counted<T>(list: readonly T[], keyOf: (one: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const one of list) counts.set(keyOf(one), (counts.get(keyOf(one)) ?? 0) + 1);
  return counts;
}

function nextSteps(result: QuantizationResult, modelPath: string): [string, string][] {
  const { partition } = result.resolvedConfig;
  if (partition !== undefined) {
    return [['share', `${partition}; when all are done: arrow-quant merge SHARE... -o FOLDER`]];
  }
  const isText = result.modality === 'text' || result.modality === 'code';
  const opened = (result.outputs ?? [result]).map((output): [string, string] => [
    'open',
    `${output.quantizedPath} with ${openWords(output.layout, isText)}`,
  ]);
  return [
    ...opened,
    [
      'check',
      `arrow-quant validate ${shellWord(modelPath)} ${shellWord((result.outputs?.[0] ?? result).quantizedPath)}`,
    ],
    ['report', result.reportPath],
  ];
}

/** As it has to be typed. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
