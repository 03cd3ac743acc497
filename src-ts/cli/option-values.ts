/** The words that options take, for completion and for guessing what a misspelt one was meant to be. */
import { LAYOUTS, OPTION_TABLE, type OptionName } from '../config/option-table.js';
import { type DiffusionQuantOptions, GGUF_TYPES, LOG_LEVELS } from '../config/options.js';
import { suggestName } from '../config/suggest.js';

/** Single values of an option, without those of its list form. */
type Word<K extends OptionName> = Extract<NonNullable<DiffusionQuantOptions[K]>, string | number>;

/** The keys of a record: the compiler sees to it that none is missing or too many. */
const words = <K extends OptionName>(all: Readonly<Record<Word<K>, true>>): readonly string[] => Object.keys(all);

export const OPTION_VALUES: Readonly<Partial<Record<OptionName, readonly string[]>>> = {
  bitWidth: words<'bitWidth'>({ 2: true, 4: true, 8: true }),
  groupSize: words<'groupSize'>({ 32: true, 64: true, 128: true, 256: true }),
  modality: words<'modality'>({ text: true, code: true, image: true, audio: true, video: true }),
  deploymentProfile: words<'deploymentProfile'>({ edge: true, local: true, cloud: true }),
  method: words<'method'>({ auto: true, rtn: true, mse: true, gptq: true }),
  layout: LAYOUTS,
  ggufNames: words<'ggufNames'>({ auto: true, diffusers: true, original: true }),
  ggufType: GGUF_TYPES,
  plainDtype: words<'plainDtype'>({ source: true, f32: true, f16: true, bf16: true }),
  protectBlocks: words<'protectBlocks'>({ auto: true, none: true }),
  nonFinite: words<'nonFinite'>({ error: true, keep: true }),
  device: ['auto', 'cpu', 'cuda'],
  logLevel: LOG_LEVELS,
};

/** Shorter words are near to too many others. */
const LEAST_LETTERS = 2;
const MOST_NAMED = 4;

/**
 * "Did you mean sdnq?", or undefined where no word is near. One that begins as it was written comes before one that differs in letters:
 * Q4_K is no misspelt Q4_0.
 */
export function didYouMean(written: string, known: readonly string[]): string | undefined {
  const begun = known.filter((word) => word.toLowerCase().startsWith(written.toLowerCase()));
  const isUseful = written.length >= LEAST_LETTERS && begun.length > 0 && begun.length <= MOST_NAMED;
  const nearest = isUseful ? begun : [suggestName(written, known)].filter((word) => word !== undefined);
  if (nearest.length === 0 || written.length < LEAST_LETTERS) return undefined;
  const last = nearest.at(-1);
  const named = nearest.length === 1 ? last : `${nearest.slice(0, -1).join(', ')} or ${last}`;
  return `Did you mean ${named}?`;
}

/** A number is no misspelt other one, and for devices the nearest letters mislead: who writes gpu does not want the cpu. */
export function suggestValue(name: OptionName, written: string): string | undefined {
  const known = OPTION_VALUES[name];
  if (known === undefined || OPTION_TABLE[name].text === 'integer') return undefined;
  if (name === 'device') return /gpu|nvidia/i.test(written) ? 'Did you mean cuda?' : undefined;
  const wrong = written.split(',').find((word) => !known.includes(word));
  return wrong === undefined ? undefined : didYouMean(wrong, known);
}
