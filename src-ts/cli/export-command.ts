/** `arrow-quant export MODEL -o FOLDER --layout NAME` */
import { type Command, Option } from 'commander';
import { givenValues } from '../config/entries.js';
import { LAYOUTS } from '../config/option-table.js';
import { Place } from '../config/place.js';
import { EXPORT_OPTIONS, type ExportModelOptions, exportModel } from '../export-model.js';
import { addCommonFlags, addJobFlags, addOptionFlags, addOutputFlag, type CommonFlags, readWriting } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';
import { progressView } from './progress-view.js';
import { withSignals } from './signals.js';
import { megabytes, renderFacts } from './table.js';

const EXAMPLES = `
Nothing is rounded a second time: codes that a layout cannot hold as they are refuse the export.

Examples:
  $ arrow-quant export ./model-int4 -o ./model-decoded --layout plain --plain-dtype bf16
  $ arrow-quant export ./flux1-Q8_0.gguf -o ./flux1-f32 --layout plain
  $ arrow-quant export ./model-int4-symmetric -o ./model-ct --layout compressed-tensors
`;

type ExportFlags = CommonFlags & Readonly<Record<string, unknown>>;

export function addExport(program: Command, session: Session): void {
  const command = program
    .command('export')
    .description('write a quantized model in another layout, with the same codes or their values')
    .argument('<MODEL>', 'a quantized model in any layout that is read');
  addOutputFlag(command);
  command.addOption(new Option('--layout <name>', `${LAYOUTS.slice(1).join(', ')}; required`));
  addOptionFlags(
    command,
    EXPORT_OPTIONS.filter((name) => name !== 'layout'),
  );
  addJobFlags(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (from: string, flags: ExportFlags) => {
    session.output = new Output(flags);
    const { output } = session;
    const { entries, outputPath: to } = readWriting('export', flags, EXPORT_OPTIONS, (given, issues) => {
      if (given.has('layout') || flags.layout !== undefined) return;
      const place = new Place(issues, '--layout', 'cli', `Name the layout to write: ${LAYOUTS.slice(1).join(', ')}.`);
      place.refuse('a layout name', undefined, { received: 'nothing' });
    });
    const options = givenValues(entries) as Pick<ExportModelOptions, (typeof EXPORT_OPTIONS)[number]>;
    const onProgress = progressView({ ...output, progress: flags.progress });
    const report = await withSignals((signal) => exportModel({ ...options, from, to, onProgress, signal }));
    for (const { code, message } of report.warnings) output.warning(code, message);
    output.result(report, () =>
      renderFacts([
        ['output', report.exportedPath],
        ['layout', report.layout],
        ['layers', `${report.layers} in codes`],
        ['size', `${megabytes(report.sourceSizeMb)} to ${megabytes(report.modelSizeMb)}`],
      ]),
    );
  });
}
