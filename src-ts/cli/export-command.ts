/** `arrow-quant export MODEL -o FOLDER --layout NAME` */
import { type Command, Option } from 'commander';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import { LAYOUTS } from '../config/option-table.js';
import { EXPORT_OPTIONS, type ExportModelOptions, exportModel } from '../export-model.js';
import { addCommonFlags, addJobFlags, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
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

interface ExportFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly outputPath: string;
}

export function addExport(program: Command, session: Session): void {
  const command = program
    .command('export')
    .description('write a quantized model in another layout, with the same codes or their values')
    .argument('<MODEL>', 'a quantized model in any layout that is read')
    .requiredOption('-o, --output-path <folder>', 'folder to make');
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
    const issues = new IssueList();
    const entries = readFlags(flags, EXPORT_OPTIONS, issues);
    issues.throwIfAny({ operation: 'arrow-quant export', startedAt: performance.now(), callSite: undefined });
    const options = givenValues(entries) as Pick<ExportModelOptions, (typeof EXPORT_OPTIONS)[number]>;
    const onProgress = progressView({ json: output.json, quiet: output.quiet, progress: flags.progress });
    const report = await withSignals((signal) =>
      exportModel({ ...options, from, to: flags.outputPath, onProgress, signal }),
    );
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
