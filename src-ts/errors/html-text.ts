/** Text for HTML. Whatever stands in a name or message, it stays text. */
import { displayName, escapeText } from './text.js';

const MAX_TEXT = 2_000;
const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Prose, for elements and quoted attributes alike. Characters that act are shown as `\u{…}`; cut at 2,000. */
export function htmlText(text: string): string {
  const cut = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 1)}…`;
  return entities(escapeText(cut));
}

/** A name, path or value: as above, and cut in the middle at 200 characters. */
export function htmlName(text: string): string {
  return entities(displayName(text));
}

function entities(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
