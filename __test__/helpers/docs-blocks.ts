/** The code in Markdown: fenced blocks, and commands in the text. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './cli.js';

export interface Block {
  /** Relative to the repository, with slashes. */
  readonly doc: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
}

export const DOCS: readonly string[] = [
  'README.md',
  'examples/README.md',
  ...readdirSync(path.join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

const textOf = (doc: string) => readFileSync(path.join(ROOT, doc), 'utf8');

export function blocksOf(doc: string): Block[] {
  const blocks: Block[] = [];
  let open: { readonly line: number; readonly language: string; readonly lines: string[] } | undefined;
  for (const [index, line] of textOf(doc).split(/\r?\n/).entries()) {
    const fence = /^\s*(?:```|~~~)\s*(\S*)/.exec(line);
    if (fence === null) open?.lines.push(line);
    else if (open === undefined) open = { line: index + 1, language: fence[1] ?? '', lines: [] };
    else {
      blocks.push({ doc, line: open.line, language: open.language, text: open.lines.join('\n') });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`${doc}:${open.line}: the block does not end`);
  return blocks;
}

/** Code spans outside of blocks that are commands of ours or of npm. */
export function inlineCommands(doc: string): string[] {
  const outside = textOf(doc).replace(/^\s*```[\s\S]*?^\s*```/gm, '');
  const spans = [...outside.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code ?? '');
  return [...new Set(spans.filter((code) => /^(?:arrow-quant|npm run|npm test|npx|node) ?/.test(code)))];
}
