/**
 * What an option file may hold, looked at in its tokens. The YAML library composes values recursively, so nesting can end the stack and with it
 * the process, which nothing catches; and what a few bytes can make it do grows far faster than they.
 */
import { type CST, type LineCounter, Parser } from 'yaml';

/** Options have lists and records of plain values. */
const MOST_NESTED = 32;
/** Thousands of layers by name. Each token is an object, and an error with a stack where it is out of place. */
const MOST_TOKENS = 32_768;
const MOST_ALIASES = 100;

export interface Excess {
  /** Where it was noticed, in characters. */
  readonly offset: number;
  /** What may be there. */
  readonly expected: string;
}

/** A bound that a text passes. `lines` learns where its lines begin. */
export function findExcess(text: string, lines: LineCounter): Excess | undefined {
  const documents = [...new Parser(lines.addNewLine).parse(text)];
  // The next one is the last: what comes first in the text is met first.
  const pending = documents.toReversed().map((token: CST.Token) => ({ token, depth: 0 }));
  let tokens = 0;
  let aliases = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { token, depth } = next;
    const excess = (expected: string) => ({ offset: token.offset, expected });
    tokens += 1 + lengthOf(token, 'start') + lengthOf(token, 'end') + lengthOf(token, 'props');
    aliases += Number(token.type === 'alias');
    if (tokens > MOST_TOKENS) return excess(`at most ${MOST_TOKENS} words and signs`);
    if (aliases > MOST_ALIASES) return excess(`at most ${MOST_ALIASES} aliases`);
    if (depth > MOST_NESTED) return excess(`lists and records at most ${MOST_NESTED} deep`);
    if (token.type === 'document' && token.value !== undefined) pending.push({ token: token.value, depth });
    if (!('items' in token)) continue;
    for (const item of token.items.toReversed()) {
      tokens += item.start.length + lengthOf(item, 'sep');
      for (const part of [item.value, item.key]) if (part) pending.push({ token: part, depth: depth + 1 });
    }
  }
  return undefined;
}

/** Tokens in a member that is there for some kinds only. */
function lengthOf(token: object, member: string): number {
  const list: unknown = (token as Readonly<Record<string, unknown>>)[member];
  return Array.isArray(list) ? list.length : 0;
}
