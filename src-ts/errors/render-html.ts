/** An error as a section of a web page: no script, nothing remote, readable on light and dark pages. */
import { integer } from '../config/checks.js';
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import { isPlainObject, readRecord } from '../config/read-record.js';
import { beginCall } from './call-site.js';
import { flattenCauses } from './causes.js';
import { ArrowQuantError, ConfigurationError } from './classes.js';
import { htmlName, htmlText } from './html-text.js';
import { sentenceOf } from './sentence.js';

export interface ErrorHtmlOptions {
  /** Of the title, 1 to 6. @defaultValue 2 */
  readonly headingLevel?: number | undefined;
}

const MAX_ROWS = 50;
// System colours follow the page, light or dark.
const STYLE =
  'color-scheme:light dark;color:CanvasText;background:Canvas;border:1px solid GrayText;' +
  'border-inline-start:.4em solid #c33;padding:.5em 1em;overflow-wrap:anywhere';

/**
 * Renders an error as one `<section class="aq-error" data-code="…" role="alert">`: title, what was wrong, what to do,
 * details and causes. Every text is escaped; the result may be put into a page as it is.
 *
 * @param error - any error of this package
 * @throws ConfigurationError where it is none, or the heading level is not 1 to 6
 */
export function renderErrorHtml(error: ArrowQuantError, options: ErrorHtmlOptions = {}): string {
  const level = readLevel(error, options);
  const advice = error.suggestions.length > 0 ? error.suggestions : [error.hint];
  const causes = flattenCauses(error).map(
    ({ name, message, code }) =>
      `<li>${htmlName(name)}${code === null ? '' : ` ${htmlName(code)}`}: ${htmlText(message)}</li>`,
  );
  return [
    `<section class="aq-error" data-code="${htmlName(error.code)}" role="alert" style="${STYLE}">`,
    `<h${level}>${htmlText(error.title)}</h${level}>`,
    `<p>${htmlText(sentenceOf(error))}</p>`,
    `<ol>${advice.map((action) => `<li>${htmlText(action)}</li>`).join('')}</ol>`,
    `<dl>${rowsOf(error)
      .map(([term, text]) => `<dt>${htmlName(term)}</dt><dd>${htmlName(text)}</dd>`)
      .join('')}</dl>`,
    causes.length === 0 ? '' : `<details><summary>Causes</summary><ol>${causes.join('')}</ol></details>`,
    '</section>',
  ].join('');
}

/** Term and text; the issues of a configuration each have a row. */
function rowsOf(error: ArrowQuantError): (readonly [string, string])[] {
  const { phase, elapsedMs } = error.context;
  const facts = issueRows(error) ?? Object.entries(error.details).map(([key, value]) => [key, textOf(value)] as const);
  return [['code', error.code], ...facts.slice(0, MAX_ROWS), ['phase', `${textOf(phase)}, ${textOf(elapsedMs)} ms`]];
}

/** A revived error holds whatever its JSON held, so the issues may be missing or of any shape. */
function issueRows(error: ArrowQuantError): (readonly [string, string])[] | undefined {
  if (!(error instanceof ConfigurationError)) return undefined;
  const issues: unknown = error.issues;
  if (!Array.isArray(issues)) return undefined;
  return issues.map((issue: Readonly<Record<string, unknown>> | null) => {
    const { path, expected, received } = issue ?? {};
    return [textOf(path), `expected ${textOf(expected)}, received ${textOf(received)}`];
  });
}

/** Lists without brackets, objects as JSON; no method of the value is called. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  try {
    if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.map(textOf).join(', ');
    return JSON.stringify(value) ?? '';
  } catch {
    return ''; // a cycle or a bigint, which no error of ours holds
  }
}

function readLevel(error: unknown, options: unknown): number {
  const issues = new IssueList();
  if (!(error instanceof ArrowQuantError)) {
    const place = new Place(issues, 'error', 'option', 'isArrowQuantError() tells which errors are.');
    place.refuse('an error of arrow-quant', error);
  }
  const level = readOptions(options, issues);
  issues.throwIfAny(beginCall('renderErrorHtml', renderErrorHtml));
  return level;
}

function readOptions(options: unknown, issues: IssueList): number {
  const place = new Place(issues, 'options', 'option', 'Pass an object such as { headingLevel: 2 }.');
  const placeOf = (name: string) => new Place(issues, name, 'option', 'The only option is headingLevel, 1 to 6.');
  if (!isPlainObject(options)) return place.refuse('a plain object', options) ?? 2;
  const values = readRecord(options, place, placeOf);
  for (const name of values.keys()) {
    if (name !== 'headingLevel') placeOf(name).refuse('a known option', values.get(name));
  }
  if (!values.has('headingLevel')) return 2;
  return integer(1, 6, 'an integer between 1 and 6')(values.get('headingLevel'), placeOf('headingLevel')) ?? 2;
}
