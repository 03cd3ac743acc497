/**
 * Text that is safe to print. Names and paths come from files and callers; a terminal sequence or a bidirectional
 * override inside one must not reach a terminal or a log.
 */

const MAX_NAME = 200;

// Control characters (C0, DEL, C1), zero-width and bidirectional ones, line separators, lone surrogates.
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** Replaces every character that could act instead of being shown by `\u{…}`. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** Escapes a name or path and cuts it in the middle at 200 characters. */
export function displayName(text: string): string {
  // Cut first as well: escaping a megabyte to throw it away would be work given to whoever wrote the file.
  const escaped = escapeText(cutMiddle(text, MAX_NAME));
  return cutMiddle(escaped, MAX_NAME);
}

/** A text of at most `limit` characters: its beginning and its end. */
export function cutMiddle(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const head = Math.ceil((limit - 1) / 2);
  const tail = limit - 1 - head;
  return `${text.slice(0, head)}…${text.slice(text.length - tail)}`;
}
