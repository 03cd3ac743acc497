/** Where a layer stands in its network, by its name: which block, and what it is in there. */

export interface LayerPlace {
  /** Blocks that are alike, such as `transformer_blocks`; empty for a layer outside of blocks. */
  readonly family: string;
  /** Of the block among its family; null where it has none. */
  readonly number: number | null;
  /** Family and number, as in the name. */
  readonly block: string;
  /** The rest of the name. */
  readonly part: string;
}

// Containers of blocks. UNets nest them (down_blocks.1.attentions.0.transformer_blocks.3): the innermost one is the block.
const CONTAINER = /block|layers?$|^blk$|^h$/i;

export function placeOf(name: string): LayerPlace {
  const parts = name.split('.');
  const numbered = (at: number) => /^\d{1,6}$/.test(parts[at + 1] ?? '') && at + 2 < parts.length;
  const inner = parts.findLastIndex((part, at) => CONTAINER.test(part) && numbered(at));
  if (inner >= 0) return split(parts, inner, Number(parts[inner + 1]));
  // A single one, such as mid_block, has no number.
  const single = parts.findIndex((part, at) => /block/i.test(part) && at + 1 < parts.length);
  if (single >= 0) return split(parts, single, null);
  const first = parts.findIndex((_, at) => numbered(at));
  if (first >= 0) return split(parts, first, Number(parts[first + 1]));
  return { family: '', number: null, block: '', part: name };
}

function split(parts: readonly string[], at: number, number: number | null): LayerPlace {
  const family = parts.slice(0, at + 1).join('.');
  const end = number === null ? at + 1 : at + 2;
  return { family, number, block: parts.slice(0, end).join('.'), part: parts.slice(end).join('.') };
}
