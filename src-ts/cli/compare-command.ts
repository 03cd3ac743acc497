/** `arrow-quant compare A B` */
import type { Command } from 'commander';
import { type CompareOptions, compare } from '../compare.js';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import type { Comparison } from '../results.js';
import { COMPARED_LAYERS, notShown, SHOWN_LAYERS, shownLayers } from './compared-layers.js';
import { addCommonFlags, addJobFlags, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { dimHeader, type Line, Output } from './output.js';
import { progressView } from './progress-view.js';
import { withSignals } from './signals.js';
import { megabytes, renderFacts, renderTable } from './table.js';

const OPTIONS = ['numThreads'] as const;
const EXAMPLES = `
Any two models with the same names and shapes, whatever layout each is stored in. Nothing passes or fails; "validate" has a threshold.

Examples:
  $ arrow-quant compare ./model-int4 ./model-int2
  $ arrow-quant compare ./llada-F16.gguf ./llada-Q4_K.gguf --layers
`;

interface CompareFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly layers?: boolean;
}

export function addCompare(program: Command, session: Session): void {
  const command = program
    .command('compare')
    .description('tell how far the weights of two models lie from each other')
    .argument('<A>', 'a model, float or quantized')
    .argument('<B>', 'another of the same architecture')
    .option('--layers', `list every layer and not only the ${SHOWN_LAYERS} farthest`);
  addOptionFlags(command, OPTIONS);
  addJobFlags(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (a: string, b: string, flags: CompareFlags) => {
    session.output = new Output(flags);
    const { output } = session;
    const issues = new IssueList();
    const entries = readFlags(flags, OPTIONS, issues);
    issues.throwIfAny({ operation: 'arrow-quant compare', startedAt: performance.now(), callSite: undefined });
    const options = givenValues(entries) as CompareOptions;
    const onProgress = progressView({ ...output, progress: flags.progress });
    const report = await withSignals((signal) => compare(a, b, { ...options, onProgress, signal }));
    for (const { code, message } of report.warnings) output.warning(code, message);
    output.result(report, (width) => describe(report, flags.layers === true, width));
  });
}

function describe(report: Comparison, withLayers: boolean, width: number): Line[] {
  const shown = shownLayers(report.layers, withLayers);
  return [
    ...renderFacts(
      [
        ['cosine', report.cosineSimilarity.toFixed(6)],
        ['SQNR', `${report.sqnrDb.toFixed(2)} dB`],
        ['size', `${megabytes(report.originalSizeMb)} and ${megabytes(report.modelSizeMb)}`],
        ['layers', `${report.layers.length} compared, ${report.equal} equal floats`],
      ],
      width,
    ),
    '',
    ...dimHeader(renderTable(shown, COMPARED_LAYERS, width)),
    ...notShown(report.layers, shown),
  ];
}
