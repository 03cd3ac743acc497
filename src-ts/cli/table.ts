/** Plain tables: columns padded, numbers to the right, nothing drawn. */
import { shorten, columns as widthOf, wrap } from './terminal-text.js';

export interface Column<T> {
  readonly title: string;
  readonly align?: 'right';
  readonly text: (row: T) => string;
}

/** A column of names or sentences gives way to no less than this. */
const LEAST_COLUMN = 12;
const GAP = 2;

/**
 * Lines of a table with a header line.
 *
 * @param width - columns that there are; the widest texts are cut or broken to fit, numbers never
 */
export function renderTable<T>(rows: readonly T[], columns: readonly Column<T>[], width = Infinity): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ text }) => text(row)))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => widthOf(line[index] ?? ''))));
  squeeze(widths, columns, width);
  return cells.flatMap((line) => {
    const parts = line.map((cell, index) => cellLines(cell, widths[index] ?? 0));
    const height = Math.max(...parts.map((part) => part.length));
    return Array.from({ length: height }, (_, row) =>
      parts
        .map((part, index) => pad(part[row] ?? '', widths[index] ?? 0, columns[index]?.align))
        .join(' '.repeat(GAP))
        .trimEnd(),
    );
  });
}

/** Takes what is too much from the widest texts. */
function squeeze<T>(widths: number[], columns: readonly Column<T>[], width: number): void {
  for (;;) {
    const excess = widths.reduce((sum, one) => sum + one + GAP, -GAP) - width;
    const texts = widths.filter((one, index) => columns[index]?.align === undefined && one > LEAST_COLUMN);
    if (excess <= 0 || texts.length === 0) return;
    const widest = Math.max(...texts);
    const next = Math.max(LEAST_COLUMN, ...texts.filter((one) => one < widest));
    widths[widths.indexOf(widest)] = Math.max(next, widest - excess);
  }
}

/** Sentences are broken at spaces, names cut in the middle. */
function cellLines(cell: string, width: number): string[] {
  return widthOf(cell) <= width ? [cell] : wrap(cell, width).map((line) => shorten(line, width));
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'right' ? space + text : text + space;
}

/** Label and value, one a line; values longer than the columns that there are go on below themselves. */
export function renderFacts(facts: readonly (readonly [label: string, value: string])[], width = Infinity): string[] {
  const left = Math.max(...facts.map(([label]) => label.length)) + GAP;
  return facts.flatMap(([label, value]) =>
    wrap(value, Math.max(LEAST_COLUMN, width - left)).map((line, row) => (row === 0 ? label : '').padEnd(left) + line),
  );
}

/** Megabytes are 10^6 bytes here as everywhere in reports. */
export function megabytes(mb: number): string {
  return `${mb.toFixed(2)} MB`;
}

/** 1,234,567 */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}
