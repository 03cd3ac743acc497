/** `arrow-quant quantize MODEL -o OUT` */
import type { Command } from 'commander';
import { fromEntries } from '../config/diffusion-quant-config.js';
import { checkComplete } from '../config/entries.js';
import { OPTION_NAMES } from '../config/option-table.js';
import { Place } from '../config/place.js';
import { quantizeDiffusionModel } from '../quantize-diffusion-model.js';
import { addCommonFlags, addJobFlags, addOptionFlags, addOutputFlag, type CommonFlags, readWriting } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';
import { progressView } from './progress-view.js';
import { summary } from './quantize-summary.js';
import { withSignals } from './signals.js';

const EXAMPLES = `
Examples:
  $ arrow-quant quantize ./FLUX.1-dev -o ./FLUX.1-dev-int4
  $ arrow-quant quantize ./sd15 -o ./sd15-int2 --profile edge --min-accuracy 0.85
  $ arrow-quant quantize ./model -o ./out --bit-width 4 --skip-layers 'proj_out,blocks.0.*' --layer-bit-widths 'norm_out*=8'
  $ arrow-quant quantize ./FLUX.1-dev -o ./FLUX.1-dev-4bit --layout sdnq,gguf
  $ arrow-quant quantize ./model -o ./out --config options.yaml --json --progress
`;

type QuantizeFlags = CommonFlags & Readonly<Record<string, unknown>>;

export function addQuantize(program: Command, session: Session): void {
  const command = program
    .command('quantize')
    .description('quantize a model folder, .safetensors or .gguf file')
    .argument('<MODEL>', 'pipeline folder, component folder, transformers folder, .safetensors or .gguf file');
  addOutputFlag(command);
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
  const { entries, outputPath } = readWriting('quantize', flags, OPTION_NAMES, (given, issues) =>
    checkComplete(given, (name) => new Place(issues, `--${name}`, 'cli')),
  );
  const config = fromEntries(entries);
  const logLevel = entries.get('logLevel')?.value;
  const onProgress = progressView({ ...output, progress: flags.progress, logLevel });
  const result = await withSignals((signal) =>
    quantizeDiffusionModel({ modelPath: model, outputPath, config, onProgress, signal }),
  );
  for (const { code, message } of result.warnings) output.warning(code, message);
  output.result(result, (width) => summary(result, model, width));
}
