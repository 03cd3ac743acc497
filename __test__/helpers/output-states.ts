/** What may stand at and beside an output after a job that was cut off. */
import path from 'node:path';
import { expect } from 'vitest';
import {
  type QuantizationResult,
  type QuantizeDiffusionModelOptions,
  quantizeDiffusionModel,
} from '../../src-ts/index.js';
import { tempDir } from './temp.js';
import { hashes, listing } from './tree.js';

/** The files that an undisturbed run of a job makes. */
export async function undisturbed(options: Omit<QuantizeDiffusionModelOptions, 'outputPath'>): Promise<Files> {
  const outputPath = path.join(tempDir(), 'out');
  await quantizeDiffusionModel({ ...options, outputPath });
  return hashes(outputPath);
}

export type Files = Readonly<Record<string, string>>;

const PAGE = path.join('arrow-quant', 'report.html');

export interface Place {
  readonly folder: string;
  readonly outputPath: string;
  /** The output that stood there before, if any. */
  readonly old: Files | undefined;
  readonly before: readonly string[];
}

/** A folder with the name for an output, and perhaps an output of 8 bits at it. */
export async function placeFor(modelPath: string, overwrite: boolean): Promise<Place> {
  const folder = tempDir();
  const outputPath = path.join(folder, 'out');
  if (overwrite) await quantizeDiffusionModel({ modelPath, outputPath, bitWidth: 8, minAccuracy: 0 });
  return { folder, outputPath, old: overwrite ? hashes(outputPath) : undefined, before: listing(folder) };
}

/** As if there had been no job. */
export function expectAsBefore({ folder, outputPath, old, before }: Place, context?: string): void {
  expect(listing(folder), context).toEqual(before);
  if (old !== undefined) expect(hashes(outputPath), context).toEqual(old);
}

/** A job that is cut off after its commit leaves a whole output without its page, or with the beginning of one under another name. */
function expectWhole(found: Files, wanted: Files, context?: string): void {
  const pages = Object.keys(found).filter((file) => file.startsWith(PAGE) && file !== PAGE);
  const rest = Object.fromEntries(Object.entries(found).filter(([file]) => !pages.includes(file)));
  const { [PAGE]: page, ...without } = wanted;
  expect(page, context).toBeDefined();
  expect(rest, context).toEqual(PAGE in found ? wanted : without);
}

/** Whether the new output is there, where only old, absent and complete are allowed. */
export function isNew(place: Place, wanted: Files, context?: string): boolean {
  const names = listing(place.folder);
  const staged = names.filter((name) => name.startsWith('.out.aq-partial'));
  if (!names.includes('out')) {
    // Between its two renames a job has the old output in the staging; the next run puts it back.
    const kept = place.old === undefined || staged.includes(path.join('.out.aq-partial', 'replaced'));
    expect(kept, `${context}: ${names.join(', ')}`).toBe(true);
    return false;
  }
  const found = hashes(place.outputPath);
  const isOld = place.old !== undefined && JSON.stringify(found) === JSON.stringify(place.old);
  if (!isOld) expectWhole(found, wanted, context);
  return !isOld;
}

/** Runs the job again, over whatever is there (or goes on with it, where that is asked for); only the complete new output remains. */
export async function expectNextRun(
  place: Place,
  wanted: Files,
  options: Omit<QuantizeDiffusionModelOptions, 'outputPath'>,
  context?: string,
): Promise<QuantizationResult> {
  const { outputPath, folder } = place;
  const staged = listing(folder).some((name) => name === '.out.aq-partial');
  const result = await quantizeDiffusionModel({ overwrite: options.resume !== true, ...options, outputPath });
  expect(hashes(outputPath), context).toEqual(wanted);
  expect(
    listing(folder).filter((name) => !name.startsWith('out')),
    context,
  ).toEqual([]);
  if (!staged) expect(result.warnings.map(({ code }) => code)).not.toContain('AQ_WARN_STALE_STAGING');
  return result;
}
