/**
 * Options written as text (environment, command line) as values. What does not parse is handed on as the text itself,
 * so that the option's own check refuses it with its own words; nothing is skipped and nothing is guessed.
 */
import { OPTION_TABLE, type OptionName } from './option-table.js';

const INTEGER = /^[+-]?\d+$/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
]);

/** The value a text means for an option. Lists and widths are separated by commas; nothing is trimmed. */
export function parseOptionText(name: OptionName, text: string): unknown {
  switch (OPTION_TABLE[name].text) {
    case 'integer':
      return INTEGER.test(text) ? Number(text) : text;
    case 'number':
      return NUMBER.test(text) ? Number(text) : text;
    case 'boolean':
      return BOOLEANS.get(text) ?? text;
    case 'list':
      return text === '' ? [] : text.split(',');
    case 'one-or-list':
      return text.includes(',') ? text.split(',') : text;
    case 'widths':
      return parseWidths(text);
    default:
      return text;
  }
}

/** `blocks.0.*=8,proj_out=16`. A name may hold `=`, so the last one separates. */
function parseWidths(text: string): unknown {
  const widths: Record<string, unknown> = Object.create(null);
  for (const pair of text === '' ? [] : text.split(',')) {
    const at = pair.lastIndexOf('=');
    if (at === -1) return text;
    const bits = pair.slice(at + 1);
    widths[pair.slice(0, at)] = INTEGER.test(bits) ? Number(bits) : bits;
  }
  return widths;
}
