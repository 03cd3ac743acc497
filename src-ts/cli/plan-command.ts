/** `arrow-quant plan MODEL` */
import type { Command } from 'commander';
import { fromEntries } from '../config/diffusion-quant-config.js';
import { checkComplete } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import { OPTION_NAMES } from '../config/option-table.js';
import { Place } from '../config/place.js';
import { plan } from '../plan.js';
import type { JobPlan, PlannedLayer, PlannedRaise, PlannedTarget } from '../plan-report.js';
import { addCommonFlags, addConfigFlag, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { dimHeader, type Line, Output } from './output.js';
import { withSignals } from './signals.js';
import { count, megabytes, renderFacts, renderTable } from './table.js';

const SHOWN_RAISES = 12;
const EXAMPLES = `
Examples:
  $ arrow-quant plan ./FLUX.1-dev --bit-width 4
  $ arrow-quant plan ./FLUX.1-dev -o /mnt/models/FLUX.1-dev-int4 --layers
  $ arrow-quant plan ./FLUX.1-dev --target-model-size-mb 5000 --enable-mixed-precision
  $ arrow-quant plan ./model --config options.yaml --json | jq .report.modelSizeMb
`;

interface PlanFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly outputPath?: string;
  readonly layers?: boolean;
}

export function addPlan(program: Command, session: Session): void {
  const command = program
    .command('plan')
    .description('tell what quantize would do, from headers alone; writes nothing')
    .argument('<MODEL>', 'pipeline folder, component folder, transformers folder, .safetensors or .gguf file')
    .option('-o, --output-path <folder>', 'folder that would be made, to tell whether there is room')
    .option('--layers', 'list every layer');
  addOptionFlags(command, OPTION_NAMES);
  addConfigFlag(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (model: string, flags: PlanFlags) => {
    session.output = new Output(flags);
    const issues = new IssueList();
    const entries = readFlags(flags, OPTION_NAMES, issues);
    checkComplete(entries, (name) => new Place(issues, `--${name}`, 'cli'));
    issues.throwIfAny({ operation: 'arrow-quant plan', startedAt: performance.now(), callSite: undefined });
    const { outputPath } = flags;
    const config = fromEntries(entries);
    const report = await withSignals((signal) => plan({ modelPath: model, outputPath, config, signal }));
    for (const { code, message } of report.warnings) session.output.warning(code, message);
    session.output.result(report, (width) => describe(report, flags.layers === true, width));
  });
}

function describe(report: JobPlan, withLayers: boolean, width: number): Line[] {
  const { disk, memory, time, target } = report;
  const outputs = report.outputs ?? [report];
  const size = (one: Omit<JobPlan, 'outputs'>) =>
    `${megabytes(one.originalSizeMb)} to ${one.exact ? '' : 'about '}${megabytes(one.modelSizeMb)}, ${one.compressionRatio.toFixed(2)} times smaller`;
  const seconds = outputs.reduce((sum, one) => sum + one.time.seconds, 0);
  const facts: (readonly [string, string])[] = [
    ['model', report.modelPath],
    ['layout', `${outputs.map(({ layout }) => layout).join(', ')}, ${report.modality} (${report.modalitySource})`],
    ['layers', `${count(report.layers.length)} to quantize, ${count(report.skipped.length)} left as they are`],
    ['size', outputs.length === 1 ? size(report) : outputs.map((one) => `${one.layout} ${size(one)}`).join('; ')],
    ['bits', `${report.bitsPerWeight.toFixed(3)} a weight`],
    ['memory', `about ${megabytes(memory.estimateMb)} beside the process, limit ${memory.limitMib} MiB`],
    ['time', `about ${duration(seconds)} with ${time.threads} thread${time.threads === 1 ? '' : 's'} of this machine`],
    ...(disk === null ? [] : [['disk', diskText(disk)] as const]),
    ...(target === null ? [] : [['target', targetText(target)] as const]),
  ];
  const lines: Line[] = renderFacts(facts, width);
  lines.push('', ...dimHeader(renderTable(schemes(report.layers), SCHEMES, width)));
  if (target !== null && target.raises.length > 0) lines.push('', ...trade(target, width));
  if (withLayers) lines.push('', ...dimHeader(renderTable(report.layers, LAYERS, width)));
  return lines;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function diskText({ path, requiredMb, freeMb }: NonNullable<JobPlan['disk']>): string {
  const needed = `${megabytes(requiredMb)} needed at ${path}`;
  if (freeMb === null) return needed;
  return `${needed}, ${megabytes(freeMb)} free${freeMb < requiredMb ? ': NOT ENOUGH' : ''}`;
}

function targetText({ targetMb, bitWidth, baseMb, leftMb }: PlannedTarget): string {
  return `${megabytes(targetMb)}: ${megabytes(baseMb)} at ${bitWidth} bits, ${megabytes(leftMb)} left`;
}

function trade({ raises }: PlannedTarget, width: number): Line[] {
  const more = raises.length > SHOWN_RAISES ? [`and ${raises.length - SHOWN_RAISES} more`] : [];
  return [
    'What is left can raise some of these blocks; which, their error decides when the weights are read.',
    ...dimHeader(renderTable(raises.slice(0, SHOWN_RAISES), RAISES, width)),
    ...more,
  ];
}

const RAISES = [
  { title: 'block', text: (row: PlannedRaise) => row.block },
  { title: 'layers', align: 'right', text: (row: PlannedRaise) => count(row.layers) },
  { title: 'bits', text: (row: PlannedRaise) => `${row.from} to ${row.to}` },
  { title: 'adds', align: 'right', text: (row: PlannedRaise) => megabytes(row.costMb) },
  { title: 'fits', text: (row: PlannedRaise) => (row.fits ? 'yes' : 'no') },
] as const;

const LAYERS = [
  { title: 'layer', text: (row: PlannedLayer) => row.name },
  { title: 'shape', text: (row: PlannedLayer) => row.shape.join('×') },
  { title: 'scheme', text: (row: PlannedLayer) => schemeText(row) },
  { title: 'bytes', align: 'right', text: (row: PlannedLayer) => count(row.bytes) },
  { title: 'why', text: (row: PlannedLayer) => row.why },
] as const;

interface SchemeRow {
  readonly scheme: string;
  readonly why: string;
  layers: number;
  parameters: number;
  bytes: number;
}

const SCHEMES = [
  { title: 'scheme', text: (row: SchemeRow) => row.scheme },
  { title: 'layers', align: 'right', text: (row: SchemeRow) => count(row.layers) },
  { title: 'parameters', align: 'right', text: (row: SchemeRow) => count(row.parameters) },
  { title: 'size', align: 'right', text: (row: SchemeRow) => megabytes(row.bytes / 1e6) },
  { title: 'why', text: (row: SchemeRow) => row.why },
] as const;

function schemeText({ scheme, inputs }: PlannedLayer): string {
  const kind = scheme.blockType ?? `${scheme.bits} bits${scheme.symmetric ? ' symmetric' : ''}`;
  const group =
    scheme.blockType !== undefined ? '' : scheme.groupSize === 0 ? ', whole rows' : `, groups of ${scheme.groupSize}`;
  return `${kind}${group}, ${scheme.method}${inputs === null ? '' : ` on ${inputs} inputs`}`;
}

function schemes(layers: readonly PlannedLayer[]): SchemeRow[] {
  const rows = new Map<string, SchemeRow>();
  for (const layer of layers) {
    const [scheme, { why }] = [schemeText(layer), layer];
    const row = rows.get(`${scheme}\n${why}`) ?? { scheme, why, layers: 0, parameters: 0, bytes: 0 };
    row.layers += 1;
    row.parameters += layer.parameters;
    row.bytes += layer.bytes;
    rows.set(`${scheme}\n${why}`, row);
  }
  return [...rows.values()].sort((a, b) => b.parameters - a.parameters);
}
