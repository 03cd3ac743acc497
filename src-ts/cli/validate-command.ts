/** `arrow-quant validate ORIGINAL QUANTIZED` */
import type { Command } from 'commander';
import { givenValues } from '../config/entries.js';
import { IssueList } from '../config/issues.js';
import type { QualityReport, ValidatedLayer } from '../results.js';
import { type ValidateQualityOptions, validateQuality } from '../validate-quality.js';
import { BELOW_THRESHOLD } from './exit-codes.js';
import { addCommonFlags, addJobFlags, addOptionFlags, type CommonFlags, readFlags } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';
import { progressView } from './progress-view.js';
import { withSignals } from './signals.js';
import { megabytes, renderFacts, renderTable } from './table.js';

const SHOWN_LAYERS = 10;
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
  const onProgress = progressView({ json: output.json, quiet: output.quiet, progress: flags.progress });
  const report = await withSignals((signal) =>
    validateQuality(original, quantized, { ...options, onProgress, signal }),
  );
  for (const { code, message } of report.warnings) output.warning(code, message);
  output.result(report, () => describe(report, flags.layers === true));
  if (!report.passed) session.exitCode = BELOW_THRESHOLD;
}

function describe(report: QualityReport, withLayers: boolean): string[] {
  const worstFirst = [...report.layers].sort((a, b) => a.cosine - b.cosine);
  const shown = withLayers ? report.layers : worstFirst.slice(0, SHOWN_LAYERS);
  const verdict = report.passed
    ? `passed: every layer reaches ${report.threshold}`
    : `failed: ${report.failed.length} of ${report.layers.length} layers below ${report.threshold}`;
  const size = `${megabytes(report.originalSizeMb)} to ${megabytes(report.modelSizeMb)}, ${report.compressionRatio.toFixed(2)} times smaller`;
  return [
    ...renderFacts([
      ['quality', verdict],
      ['cosine', report.cosineSimilarity.toFixed(6)],
      ['SQNR', `${report.sqnrDb.toFixed(2)} dB`],
      ['size', size],
      ['layers', `${report.layers.length} quantized, ${report.unquantized} not`],
    ]),
    '',
    ...renderTable(shown, LAYERS),
    ...(shown.length < report.layers.length
      ? [`… ${report.layers.length - shown.length} better ones; --layers shows all`]
      : []),
  ];
}

const LAYERS = [
  { title: 'layer', text: (row: ValidatedLayer) => row.name },
  { title: 'shape', text: (row: ValidatedLayer) => row.shape.join('×') },
  { title: 'bits', align: 'right', text: (row: ValidatedLayer) => (row.bitWidth === null ? '-' : `${row.bitWidth}`) },
  { title: 'cosine', align: 'right', text: (row: ValidatedLayer) => row.cosine.toFixed(6) },
  { title: 'worst row', align: 'right', text: (row: ValidatedLayer) => row.worstRowCosine.toFixed(6) },
  { title: 'SQNR dB', align: 'right', text: (row: ValidatedLayer) => row.sqnrDb.toFixed(2) },
  { title: 'max error', align: 'right', text: (row: ValidatedLayer) => row.maxAbsError.toExponential(2) },
  { title: '', text: (row: ValidatedLayer) => (row.passed ? '' : 'below') },
] as const;
