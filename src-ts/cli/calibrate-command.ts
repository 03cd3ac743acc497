/** `arrow-quant calibrate FILE --model MODEL` */
import type { Command } from 'commander';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import { CALIBRATION_OPTIONS, type InspectCalibrationOptions, inspectCalibration } from '../inspect-calibration.js';
import type { CalibratedLayer, CalibrationInfo } from '../results.js';
import { addCommonFlags, addConfigFlag, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { dimHeader, type Line, Output } from './output.js';
import { withSignals } from './signals.js';
import { count, megabytes, renderFacts, renderTable } from './table.js';

const SHOWN_LAYERS = 10;
const SHOWN_NAMES = 5;
const EXAMPLES = `
Checks every value of the file and writes nothing. rank: so many of the looked at rows span 99 % of their energy; where it is near
their number, more rows would tell more.

Examples:
  $ arrow-quant calibrate calibration.safetensors --model ./FLUX.1-dev
  $ arrow-quant calibrate calibration.parquet --model ./model --layers
  $ arrow-quant calibrate calibration.jsonl --json | jq '.report.layers[].rows'
`;

interface CalibrateFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly model?: string;
  readonly layers?: boolean;
}

export function addCalibrate(program: Command, session: Session): void {
  const command = program
    .command('calibrate')
    .description('check a calibration file and tell what it holds of each layer of a model')
    .argument('<FILE>', '.safetensors, .parquet, .arrow or .jsonl file')
    .option('--model <MODEL>', 'the model that it is for')
    .option('--layers', `list every layer and not only the ${SHOWN_LAYERS} with the fewest rows for their inputs`);
  addOptionFlags(command, CALIBRATION_OPTIONS);
  addConfigFlag(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (file: string, flags: CalibrateFlags) => {
    session.output = new Output(flags);
    const issues = new IssueList();
    const entries = readFlags(flags, CALIBRATION_OPTIONS, issues);
    issues.throwIfAny({ operation: 'arrow-quant calibrate', startedAt: performance.now(), callSite: undefined });
    const options = givenValues(entries) as InspectCalibrationOptions;
    const modelPath = flags.model;
    const info = await withSignals((signal) => inspectCalibration(file, { ...options, modelPath, signal }));
    for (const { code, message } of info.warnings) session.output.warning(code, message);
    session.output.result(info, (width) => describe(info, flags, width));
  });
}

function describe(info: CalibrationInfo, flags: CalibrateFlags, width: number): Line[] {
  const { layers, steps } = info;
  const share = ({ computed, rows, inFeatures }: CalibratedLayer) => (computed ? 1 : 0) + rows / inFeatures;
  const fewestFirst = [...layers].sort((a, b) => share(a) - share(b));
  const shown = flags.layers === true ? layers : fewestFirst.slice(0, SHOWN_LAYERS);
  const facts: [string, string][] = [
    ['file', `${info.path}, ${megabytes(info.bytes / 1e6)}`],
    ['steps', `${steps.length}, ${info.axis} ${steps.at(0) ?? '-'} to ${steps.at(-1) ?? '-'}`],
    ['rows', `${count(info.rows)} of ${count(layers.length)} layers`],
  ];
  if (flags.model !== undefined) {
    const used = layers.length - info.unknown.length - info.unused.length - layers.filter((l) => l.computed).length;
    const quantized = used + info.computed.length + info.missing.length;
    facts.push([
      'coverage',
      `${count(used)} of ${count(quantized)} layers, ${count(info.computed.length)} more computed`,
    ]);
  }
  for (const list of ['missing', 'unused', 'unknown', 'summarised'] as const)
    if (info[list].length > 0) facts.push([list, names(info[list])]);
  return [
    ...renderFacts(facts, width),
    '',
    ...dimHeader(renderTable(shown, LAYERS, width)),
    ...(shown.length < layers.length ? [`… ${layers.length - shown.length} more; --layers shows all`] : []),
  ];
}

function names(list: readonly string[]): string {
  const more = list.length - SHOWN_NAMES;
  return `${list.slice(0, SHOWN_NAMES).join(', ')}${more > 0 ? ` and ${count(more)} more` : ''}`;
}

const LAYERS = [
  { title: 'layer', text: (row: CalibratedLayer) => row.name },
  { title: 'inputs', align: 'right', text: (row: CalibratedLayer) => count(row.inFeatures) },
  { title: 'steps', align: 'right', text: (row: CalibratedLayer) => count(row.steps) },
  { title: 'rows', align: 'right', text: (row: CalibratedLayer) => count(row.rows) },
  {
    title: 'a step',
    align: 'right',
    text: ({ leastRows, mostRows }: CalibratedLayer) =>
      leastRows === mostRows ? count(mostRows) : `${count(leastRows)} to ${count(mostRows)}`,
  },
  { title: 'rank', align: 'right', text: (row: CalibratedLayer) => `${count(row.rank)} of ${count(row.rankedRows)}` },
  {
    title: '',
    text: ({ computed, fewRows }: CalibratedLayer) => (computed ? 'computed' : fewRows ? 'few rows' : ''),
  },
] as const;
