/** Pieces of HTML. Whatever comes from a file goes through `htmlName` or `htmlText`. */
import { htmlName, htmlText } from '../errors/html-text.js';

export { htmlName, htmlText };

/** A name as code that may be broken after its dots and underscores. */
export function code(name: string): string {
  return `<code>${htmlName(name).replace(/[._/](?=.)/g, '$&<wbr>')}</code>`;
}

/** A part of the page with a title that links lead to. */
export function section(id: string, title: string, ...content: readonly string[]): string {
  return `<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${content.join('')}</section>`;
}

/** A picture that may be wider than the page, and what it says. */
export function figure(svg: string, caption: string, kind = ''): string {
  return `<figure${kind === '' ? '' : ` class="${kind}"`}><div class="scroll">${svg}</div><figcaption>${caption}</figcaption></figure>`;
}

export interface Column {
  readonly title: string;
  /** Figures stand at the right. */
  readonly number?: boolean;
}

/** Rows from which on a table has a window of its own. */
const MANY = 25;

/** A table of cells that are HTML already; the first cell of a row heads it. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const kind = (column: Column | undefined) => (column?.number === true ? ' class="n"' : '');
  const head = columns.map((column) => `<th scope="col"${kind(column)}>${column.title}</th>`).join('');
  const body = rows.map((cells) => {
    const [first, ...rest] = cells;
    const others = rest.map((cell, at) => `<td${kind(columns[at + 1])}>${cell}</td>`).join('');
    return `<tr><th scope="row">${first}</th>${others}</tr>`;
  });
  const broad = columns.length > 5 ? ' class="broad"' : columns.length < 3 ? ' class="small"' : '';
  return (
    `<div class="scroll${rows.length > MANY ? ' tall' : ''}"><table${broad}><caption>${caption}</caption><thead><tr>${head}</tr></thead>` +
    `<tbody>${body.join('')}</tbody></table></div>`
  );
}

/** A value as JSON in a script element: nothing in it can end the element or begin a comment. */
export function embeddedJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
