/** `arrow-quant validate ORIGINAL QUANTIZED` */
import type { Command } from 'commander';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import type { QualityReport, ValidatedLayer } from '../results.js';
import { type ValidateQualityOptions, validateQuality } from '../validate-quality.js';
import { COMPARED_LAYERS, notShown, SHOWN_LAYERS, shownLayers } from './compared-layers.js';
import { BELOW_THRESHOLD } from './exit-codes.js';
import { addCommonFlags, addJobFlags, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { dimHeader, type Line, Output } from './output.js';
import { progressView } from './progress-view.js';
import { withSignals } from './signals.js';
import { megabytes, renderFacts, renderTable } from './table.js';

const OPTIONS = ['minAccuracy', 'numThreads'] as const;
const EXAMPLES = `
Exits with 23 where a layer is below the threshold.

Examples:
  $ arrow-quant validate ./FLUX.1-dev ./FLUX.1-dev-int4
  $ arrow-quant validate ./model ./model-int2 --min-accuracy 0.9 --layers
  $ arrow-quant validate ./model ./model-int8 --json
`;

interface ValidateFlags extends CommonFlags, Readonly<Record<string, unknown>> {
  readonly layers?: boolean;
}

export function addValidate(program: Command, session: Session): void {
  const command = program
    .command('validate')
    .description('compare a quantized model with its original, layer by layer')
    .argument('<ORIGINAL>', 'the model before')
    .argument('<QUANTIZED>', 'what quantizing it made')
    .option('--layers', `list every layer and not only the ${SHOWN_LAYERS} worst`);
  addOptionFlags(command, OPTIONS);
  addJobFlags(command);
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (original: string, quantized: string, flags: ValidateFlags) => {
    session.output = new Output(flags);
    await run(original, quantized, flags, session);
  });
}

async function run(original: string, quantized: string, flags: ValidateFlags, session: Session): Promise<void> {
  const { output } = session;
  const issues = new IssueList();
  const entries = readFlags(flags, OPTIONS, issues);
  issues.throwIfAny({ operation: 'arrow-quant validate', startedAt: performance.now(), callSite: undefined });
  const options = givenValues(entries) as ValidateQualityOptions;
  const onProgress = progressView({ ...output, progress: flags.progress });
  const report = await withSignals((signal) =>
    validateQuality(original, quantized, { ...options, onProgress, signal }),
  );
  for (const { code, message } of report.warnings) output.warning(code, message);
  output.result(report, (width) => describe(report, flags.layers === true, width));
  if (!report.passed) session.exitCode = BELOW_THRESHOLD;
}

function describe(report: QualityReport, withLayers: boolean, width: number): Line[] {
  const shown = shownLayers(report.layers, withLayers);
  const verdict = report.passed
    ? `passed: every layer reaches ${report.threshold}`
    : `failed: ${report.failed.length} of ${report.layers.length} layers below ${report.threshold}`;
  const size = `${megabytes(report.originalSizeMb)} to ${megabytes(report.modelSizeMb)}, ${report.compressionRatio.toFixed(2)} times smaller`;
  const [first = '', ...facts] = renderFacts(
    [
      ['quality', verdict],
      ['cosine', report.cosineSimilarity.toFixed(6)],
      ['SQNR', `${report.sqnrDb.toFixed(2)} dB`],
      ['size', size],
      ['layers', `${report.layers.length} quantized, ${report.unquantized} not`],
    ],
    width,
  );
  return [
    { style: report.passed ? 'green' : 'red', text: first },
    ...facts,
    '',
    ...dimHeader(renderTable(shown, LAYERS, width)),
    ...notShown(report.layers, shown),
  ];
}

const LAYERS = [...COMPARED_LAYERS, { title: '', text: (row: ValidatedLayer) => (row.passed ? '' : 'below') }] as const;
