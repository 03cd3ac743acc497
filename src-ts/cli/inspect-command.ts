/** `arrow-quant inspect MODEL` */
import type { Command } from 'commander';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import { type InspectOptions, inspect } from '../inspect.js';
import type { InspectedComponent, InspectedLayer, ModelInfo } from '../results.js';
import { addCommonFlags, addConfigFlag, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { dimHeader, type Line, Output } from './output.js';
import { withSignals } from './signals.js';
import { count, megabytes, renderFacts, renderTable } from './table.js';

const EXAMPLES = `
Examples:
  $ arrow-quant inspect ./FLUX.1-dev
  $ arrow-quant inspect ./model.safetensors --modality image --layers
  $ arrow-quant inspect ./model --json | jq '.report.components[].name'
`;

interface InspectFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly layers?: boolean;
}

export function addInspect(program: Command, session: Session): void {
  const command = program
    .command('inspect')
    .description('tell what a model is made of and what quantizing would do with it')
    .argument('<MODEL>', 'pipeline folder, component folder, transformers folder, .safetensors or .gguf file')
    .option('--layers', 'list every layer');
  addOptionFlags(command, ['modality']);
  addConfigFlag(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (model: string, flags: InspectFlags) => {
    session.output = new Output(flags);
    const issues = new IssueList();
    const entries = readFlags(flags, ['modality'], issues);
    issues.throwIfAny({ operation: 'arrow-quant inspect', startedAt: performance.now(), callSite: undefined });
    const options = givenValues(entries) as InspectOptions;
    const info = await withSignals((signal) => inspect(model, { ...options, signal }));
    session.output.result(info, (width) => describe(info, flags.layers === true, width));
  });
}

function describe(info: ModelInfo, withLayers: boolean, width: number): Line[] {
  const modality =
    info.modality === null
      ? `unknown; looked at ${info.lookedAt.join(', ')}`
      : `${info.modality} (${info.modalitySource})`;
  const facts: [string, string][] = [
    ['model', info.path],
    ['kind', info.className === null ? info.kind : `${info.kind}, ${info.className}`],
    ['modality', modality],
    ['size', `${count(info.parameters)} parameters, ${megabytes(info.bytes / 1e6)}`],
  ];
  const lines: Line[] = renderFacts(facts, width);
  lines.push('', ...dimHeader(renderTable(info.components, COMPONENTS, width)));
  for (const component of info.components.filter(({ layers }) => layers.length > 0)) {
    lines.push(
      '',
      `${component.name === '' ? 'model' : component.name}: what quantizing would do`,
      ...dimHeader(renderTable(plans(component), PLANS, width)),
    );
    if (withLayers) lines.push('', ...dimHeader(renderTable(component.layers, LAYERS, width)));
  }
  return lines;
}

const COMPONENTS = [
  { title: 'component', text: (row: InspectedComponent) => row.name },
  { title: 'class', text: (row: InspectedComponent) => row.className ?? '' },
  { title: 'denoiser', text: (row: InspectedComponent) => (row.denoiser ? 'yes' : '') },
  { title: 'parameters', align: 'right', text: (row: InspectedComponent) => count(row.parameters) },
  { title: 'size', align: 'right', text: (row: InspectedComponent) => megabytes(row.bytes / 1e6) },
  { title: 'types', text: (row: InspectedComponent) => Object.keys(row.dtypes).join(' ') },
  {
    title: 'quantized',
    text: ({ quantization }: InspectedComponent) =>
      quantization === null ? '' : `${quantization.method} ${quantization.bits} bits`,
  },
] as const;

const LAYERS = [
  { title: 'layer', text: (row: InspectedLayer) => row.name },
  { title: 'shape', text: (row: InspectedLayer) => row.shape.join('×') },
  { title: 'type', text: (row: InspectedLayer) => row.dtype },
  { title: 'role', text: (row: InspectedLayer) => row.role },
  { title: 'plan', text: (row: InspectedLayer) => row.plan },
  { title: 'why', text: (row: InspectedLayer) => row.why },
] as const;

interface PlanRow {
  readonly plan: string;
  readonly role: string;
  layers: number;
  parameters: number;
}

const PLANS = [
  { title: 'plan', text: (row: PlanRow) => row.plan },
  { title: 'role', text: (row: PlanRow) => row.role },
  { title: 'layers', align: 'right', text: (row: PlanRow) => count(row.layers) },
  { title: 'parameters', align: 'right', text: (row: PlanRow) => count(row.parameters) },
] as const;

function plans(component: InspectedComponent): PlanRow[] {
  const rows = new Map<string, PlanRow>();
  for (const { plan, role, parameters } of component.layers) {
    const key = `${plan} ${role}`;
    const row = rows.get(key) ?? { plan, role, layers: 0, parameters: 0 };
    row.layers += 1;
    row.parameters += parameters;
    rows.set(key, row);
  }
  return [...rows.values()].sort((a, b) => b.parameters - a.parameters);
}
