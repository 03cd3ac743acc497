/** The report for people: a page in the output folder, beside what programs read. */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openLines } from '../what-opens.js';
import { openDrawing } from './charts/draw.js';
import type { LayerHistogram } from './histograms.js';
import { type OutputFolder, readOutputFolder, UNKNOWN_FOLDER } from './output-folder.js';
import { pageOf } from './page.js';
import { type ReportedResult, reportData } from './report-data.js';
import { shortHistograms, withShortNames } from './short-names.js';

/**
 * Makes the page.
 *
 * @param histograms - of the layers that `worstLayers` names; without them the page has no pictures of weights
 * @param folder - what was written, where it is known
 */
export async function renderReport(
  result: ReportedResult,
  histograms?: readonly LayerHistogram[],
  folder: OutputFolder = UNKNOWN_FOLDER,
): Promise<string> {
  const shown = withShortNames(result);
  const data = reportData(shown, shortHistograms(histograms), folder);
  return pageOf(await openDrawing(), data, openLines(shown, folder));
}

/** Writes the page into the output of a job, or of one of its layouts, and resolves with its path. */
export async function writeReport(result: ReportedResult, histograms?: readonly LayerHistogram[]): Promise<string> {
  const folder = await readOutputFolder(result.quantizedPath, result.manifestPath);
  const page = await renderReport(result, histograms, folder);
  const target = path.join(result.quantizedPath, 'arrow-quant', 'report.html');
  // Only in an output that is there: else a folder would be made that looks like one.
  await mkdir(path.dirname(target)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  // A reader sees the old page or the new one.
  const begun = `${target}.${process.pid}.tmp`;
  try {
    await writeFile(begun, page);
    await rename(begun, target);
  } catch (error) {
    await rm(begun, { force: true });
    throw error;
  }
  return target;
}
