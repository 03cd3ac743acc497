/** The page about a finished job. The model is complete without it, so nothing that goes wrong here fails the job. */
import type { CallInfo } from './errors/create.js';
import { displayName } from './errors/text.js';
import { ask, newJobId } from './job.js';
import type { LayerHistogram } from './report/histograms.js';
import type { QuantizationResult, ReportWarning } from './results.js';

type Output = Omit<QuantizationResult, 'outputs' | 'callbackErrors'>;

/** The result with the path of its page, or with a warning that says why there is none. */
export async function withReport(
  result: QuantizationResult,
  modelPath: string,
  call: CallInfo,
): Promise<QuantizationResult> {
  const { outputs } = result;
  if (outputs === undefined) return { ...result, ...(await page(result, modelPath, call)) };
  const pages: (typeof outputs)[number][] = [];
  for (const output of outputs) pages.push({ ...output, ...(await page(output, modelPath, call)) });
  const [first] = pages;
  if (first === undefined) return result;
  // What a list resolves with is the first output's, and what was told of the job as a whole.
  const more = first.warnings.slice(outputs[0]?.warnings.length);
  return { ...result, reportPath: first.reportPath, warnings: [...result.warnings, ...more], outputs: pages };
}

async function page(
  output: Output,
  modelPath: string,
  call: CallInfo,
): Promise<{ readonly reportPath: string } | { readonly warnings: readonly ReportWarning[] }> {
  try {
    // Charts are drawn by a library that whoever only imports this package need not wait for.
    const { worstLayers } = await import('./report/histograms.js');
    const { writeReport } = await import('./report/write-report.js');
    const drawn = await histograms(output, modelPath, worstLayers(output), call);
    return { reportPath: await writeReport(output, drawn) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `The report's page could not be written: ${displayName(reason)}`;
    return { warnings: [...output.warnings, { code: 'AQ_WARN_REPORT', message, details: { reason } }] };
  }
}

/** Without them the page lacks a section: a source that is gone by now, or names that differ, are no reason to have none. */
async function histograms(
  output: Output,
  originalPath: string,
  layers: readonly string[],
  call: CallInfo,
): Promise<readonly LayerHistogram[] | undefined> {
  const { quantizedPath } = output;
  const request = { operation: 'weightHistograms', jobId: newJobId(), originalPath, quantizedPath, layers };
  try {
    return (await ask(request, call)) as LayerHistogram[];
  } catch {
    return undefined;
  }
}
