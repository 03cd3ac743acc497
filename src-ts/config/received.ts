/** How a refused value is named in a message. No user code runs here: no toString, no getter, no iterator. */
import { escapeText } from '../errors/text.js';

const MAX_TEXT = 60;
const MAX_SHOWN = 120;

/** `3 (number)`, `"4" (string)`, `array of length 2`, `object`. */
export function describeReceived(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return `${Object.is(value, -0) ? 0 : value} (number)`;
    case 'string':
      return `"${shown(value)}" (string)`;
    case 'bigint':
      return `${shown(value.toString())}n (bigint)`;
    case 'boolean':
      return `${value} (boolean)`;
    case 'undefined':
      return 'undefined';
    case 'function':
      return 'function';
    case 'symbol':
      return 'symbol';
    case 'object':
      return value === null ? 'null' : describeObject(value);
    default:
      return typeof value;
  }
}

function describeObject(value: object): string {
  try {
    // Both throw on a revoked proxy. Another proxy may say that its length is a text, and the next time another one.
    if (!Array.isArray(value)) return 'object';
    const { length } = value;
    return Number.isSafeInteger(length) ? `array of length ${length}` : 'object';
  } catch {
    return 'object';
  }
}

function shown(text: string): string {
  // Cut before the code points are taken apart: the text may be of any length.
  const cut = [...text.slice(0, 2 * MAX_TEXT)].slice(0, MAX_TEXT).join('');
  return escapeText(cut).slice(0, MAX_SHOWN);
}
