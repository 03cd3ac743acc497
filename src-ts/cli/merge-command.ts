/** `arrow-quant merge SHARE... -o OUT` */
import { type Command, Option } from 'commander';
import { givenValues } from '../config/entries.js';
import { MERGE_OPTIONS, type MergeOptions, merge } from '../merge.js';
import { addCommonFlags, addJobFlags, addOptionFlags, addOutputFlag, type CommonFlags, readWriting } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';
import { progressView } from './progress-view.js';
import { summary } from './quantize-summary.js';
import { withSignals } from './signals.js';

const EXAMPLES = `
The output is that of a job without --partition, byte for byte. The model's headers and small files are read, not its weights.

Examples:
  $ arrow-quant quantize ./FLUX.1-dev -o ./shares/1 --partition 1/2    # on one machine
  $ arrow-quant quantize ./FLUX.1-dev -o ./shares/2 --partition 2/2    # on another
  $ arrow-quant merge ./shares/* -o ./FLUX.1-dev-int4
  $ arrow-quant merge ./shares/* -o ./FLUX.1-dev-int4 --model /mnt/models/FLUX.1-dev
`;

type MergeFlags = CommonFlags & Readonly<Record<string, unknown>> & { readonly model?: string };

export function addMerge(program: Command, session: Session): void {
  const command = program
    .command('merge')
    .description('join the shares that quantize --partition has written')
    .argument('<SHARE...>', 'the folders of all shares');
  addOutputFlag(command);
  command.addOption(new Option('--model <path>', 'the model, where it is no longer where the first share found it'));
  addOptionFlags(command, MERGE_OPTIONS);
  addJobFlags(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (shares: string[], flags: MergeFlags) => {
    session.output = new Output(flags);
    const { output } = session;
    const { entries, outputPath } = readWriting('merge', flags, MERGE_OPTIONS);
    const options = givenValues(entries) as Pick<MergeOptions, (typeof MERGE_OPTIONS)[number]>;
    const onProgress = progressView({ ...output, progress: flags.progress });
    const result = await withSignals((signal) =>
      merge({ ...options, shares, outputPath, modelPath: flags.model, onProgress, signal }),
    );
    for (const { code, message } of result.warnings) output.warning(code, message);
    output.result(result, (width) => summary(result, result.modelPath, width));
  });
}
