/** `arrow-quant quantize MODEL -o OUT` */
import type { Command } from 'commander';
import { fromEntries } from '../config/diffusion-quant-config.js';
import { checkComplete } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import { OPTION_NAMES } from '../config/option-table.js';
import { Place } from '../config/place.js';
import { quantizeDiffusionModel } from '../quantize-diffusion-model.js';
import type { LayerResult, QuantizationResult, TargetResult } from '../results.js';
import { addCommonFlags, addJobFlags, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';
import { progressView } from './progress-view.js';
import { withSignals } from './signals.js';
import { megabytes, renderFacts } from './table.js';

const SHOWN_STEPS = 4;
const EXAMPLES = `
Examples:
  $ arrow-quant quantize ./FLUX.1-dev -o ./FLUX.1-dev-int4
  $ arrow-quant quantize ./sd15 -o ./sd15-int2 --profile edge --min-accuracy 0.85
  $ arrow-quant quantize ./model -o ./out --bit-width 4 --skip-layers 'proj_out,blocks.0.*' --layer-bit-widths 'norm_out*=8'
  $ arrow-quant quantize ./FLUX.1-dev -o ./FLUX.1-dev-4bit --layout sdnq,gguf
  $ arrow-quant quantize ./model -o ./out --config options.yaml --json --progress
`;

interface QuantizeFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly outputPath?: string;
}

export function addQuantize(program: Command, session: Session): void {
  const command = program
    .command('quantize')
    .description('quantize a model folder, .safetensors or .gguf file')
    .argument('<MODEL>', 'pipeline folder, component folder, transformers folder, .safetensors or .gguf file')
    .option('-o, --output-path <folder>', 'folder to make');
  addOptionFlags(command, OPTION_NAMES);
  addJobFlags(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (model: string, flags: QuantizeFlags) => {
    session.output = new Output(flags);
    await run(model, flags, session);
  });
}

async function run(model: string, flags: QuantizeFlags, session: Session): Promise<void> {
  const { output } = session;
  const issues = new IssueList();
  const entries = readFlags(flags, OPTION_NAMES, issues);
  checkComplete(entries, (name) => new Place(issues, `--${name}`, 'cli'));
  const { outputPath } = flags;
  if (outputPath === undefined) {
    new Place(issues, '--output-path', 'cli', 'Name the folder to make with -o.').refuse('a path', undefined, {
      received: 'nothing',
    });
  }
  const call = { operation: 'arrow-quant quantize', startedAt: performance.now(), callSite: undefined };
  issues.throwIfAny(call);
  if (outputPath === undefined) throw issues.toError(call);

  const config = fromEntries(entries);
  const onProgress = progressView({ json: output.json, quiet: output.quiet, progress: flags.progress });
  const result = await withSignals((signal) =>
    quantizeDiffusionModel({ modelPath: model, outputPath, config, onProgress, signal }),
  );
  for (const { code, message } of result.warnings) output.warning(code, message);
  output.result(result, () => summary(result));
}

function targetText({ targetMb, bitWidth, plannedMb, steps }: TargetResult): string {
  const raised = steps.map(({ block, to }) => `${block} ${to}`).slice(0, SHOWN_STEPS);
  const more = steps.length > SHOWN_STEPS ? ` and ${steps.length - SHOWN_STEPS} more` : '';
  const blocks = steps.length === 0 ? '' : `; raised: ${raised.join(', ')}${more}`;
  return `${megabytes(targetMb)}, planned ${megabytes(plannedMb)} from ${bitWidth} bits${blocks}`;
}

function sizeOf({
  layout,
  modelSizeMb,
  compressionRatio,
}: Pick<QuantizationResult, 'layout' | 'modelSizeMb' | 'compressionRatio'>): string {
  return `${layout} ${megabytes(modelSizeMb)}, ${compressionRatio.toFixed(2)} times smaller`;
}

function summary(result: QuantizationResult): string[] {
  const worst = result.layers.reduce<LayerResult | undefined>(
    (low, layer) => (low === undefined || layer.cosine < low.cosine ? layer : low),
    undefined,
  );
  const raised = result.layers.filter(({ outcome }) => outcome === 'raised').length;
  const size = `${megabytes(result.originalSizeMb)} to ${megabytes(result.modelSizeMb)}, ${result.compressionRatio.toFixed(2)} times smaller`;
  return renderFacts([
    ['output', result.quantizedPath],
    ['layout', `${(result.outputs ?? [result]).map(({ layout }) => layout).join(', ')}, ${result.modality}`],
    [
      'layers',
      `${result.layers.length} quantized, ${raised} of them raised; ${result.skipped.length} left as they are`,
    ],
    ['size', result.outputs === undefined ? size : result.outputs.map(sizeOf).join('; ')],
    ...(result.target === null ? [] : ([['target', targetText(result.target)]] as const)),
    ['bits', `${result.bitsPerWeight.toFixed(3)} a weight`],
    ['cosine', result.cosineSimilarity.toFixed(6)],
    ['SQNR', `${result.sqnrDb.toFixed(2)} dB`],
    ...(worst === undefined ? [] : ([['worst', `${worst.name}, cosine ${worst.cosine.toFixed(6)}`]] as const)),
    ['time', `${result.quantizationTimeS.toFixed(1)} s`],
    ['report', result.reportPath],
  ]);
}
