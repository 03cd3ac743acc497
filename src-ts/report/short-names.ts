/** Names of layers come from a file, which may make them as long as it likes (a megabyte was tried); what a page shows of them is bounded. */
import { cutMiddle } from '../errors/text.js';
import type { LayerHistogram } from './histograms.js';
import type { ReportedResult } from './report-data.js';

const MAX_NAME = 200;

const cut = <T extends { readonly name: string }>(named: T): T =>
  named.name.length <= MAX_NAME ? named : { ...named, name: cutMiddle(named.name, MAX_NAME) };

/** A result whose layers have names that can be shown. */
export function withShortNames(result: ReportedResult): ReportedResult {
  const { layers, skipped, target } = result;
  const steps = target?.steps.map((step) => ({ ...step, block: cutMiddle(step.block, MAX_NAME) })) ?? [];
  return {
    ...result,
    layers: layers.map(cut),
    skipped: skipped.map(cut),
    target: target === null ? null : { ...target, steps },
  };
}

/** The same names. */
export function shortHistograms(
  histograms: readonly LayerHistogram[] | undefined,
): readonly LayerHistogram[] | undefined {
  return histograms?.map(cut);
}
