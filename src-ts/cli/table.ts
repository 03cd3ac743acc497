/** Plain tables: columns padded, numbers to the right, nothing drawn. */

export interface Column<T> {
  readonly title: string;
  readonly align?: 'right';
  readonly text: (row: T) => string;
}

/** Lines of a table with a header line. */
export function renderTable<T>(rows: readonly T[], columns: readonly Column<T>[]): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ text }) => text(row)))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells.map((line) =>
    line
      .map((cell, index) => {
        const width = widths[index] ?? 0;
        return columns[index]?.align === 'right' ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** Label and value, one a line. */
export function renderFacts(facts: readonly (readonly [label: string, value: string])[]): string[] {
  const width = Math.max(...facts.map(([label]) => label.length));
  return facts.map(([label, value]) => `${label.padEnd(width)}  ${value}`);
}

/** Megabytes are 10^6 bytes here as everywhere in reports. */
export function megabytes(mb: number): string {
  return `${mb.toFixed(2)} MB`;
}

/** 1,234,567 */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}
