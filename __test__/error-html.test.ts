/** Errors as HTML: what is in it, and that nothing in an error becomes markup. */
import { describe, expect, test } from 'vitest';
import { instantiate } from '../src-ts/errors/create.js';
import {
  type ArrowQuantError,
  ConfigurationError,
  DiffusionQuantConfig,
  ERROR_CODES,
  errorFromJSON,
  renderErrorHtml,
} from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { failure } from './helpers/stub-native.js';

const io = (more: object = {}, options: object = {}): ArrowQuantError =>
  instantiate(
    failure('AQ_IO', 'QuantizationError', {
      title: 'File operation failed',
      message: 'I/O error: open /m failed with EACCES after 1 attempt(s). Suggestions: (1) do this, (2) or that.',
      hint: 'do this',
      suggestions: ['do this', 'or that'],
      details: { op: 'open', path: '/m', errno: 'EACCES', attempts: 1, shape: [2, 3] },
      context: { phase: 'open', elapsedMs: 12 },
      ...more,
    }).error as never,
    options,
  );

/** The tags of a text, without attributes. */
const tags = (html: string) => [...html.matchAll(/<(\/?[a-z0-9]+)[^>]*>/g)].map(([, name]) => name);

test('title, sentence, suggestions, details, causes', () => {
  const cause = Object.assign(new Error('permission denied'), { code: 'EACCES' });
  const html = renderErrorHtml(io({}, { cause }));
  expect(html).toMatch(/^<section class="aq-error" data-code="AQ_IO" role="alert" style="[^"<>]+">/);
  expect(html).toContain('<h2>File operation failed</h2>');
  expect(html).toContain('<p>I/O error: open /m failed with EACCES after 1 attempt(s).</p>');
  expect(html).toContain('<ol><li>do this</li><li>or that</li></ol>');
  expect(html).toContain('<dt>path</dt><dd>/m</dd>');
  expect(html).toContain('<dt>shape</dt><dd>2, 3</dd>');
  expect(html).toContain('<dt>phase</dt><dd>open, 12 ms</dd>');
  expect(html).toContain(
    '<details><summary>Causes</summary><ol><li>Error EACCES: permission denied</li></ol></details></section>',
  );
});
test('without causes there is no details element; one hint is a list of one', () => {
  const html = renderErrorHtml(io({ message: 'It failed. Hint: do this', suggestions: ['do this'] }));
  expect(html).not.toContain('<details>');
  expect(html).toContain('<p>It failed.</p><ol><li>do this</li></ol>');
});
test('each issue of a configuration has a row', async () => {
  const error = await caught(() => new DiffusionQuantConfig({ bitWidth: 3, groupSize: '<b>' } as never));
  const html = renderErrorHtml(error);
  expect(html).toContain('<dt>bitWidth</dt><dd>expected 2, 4, or 8, received 3 (number)</dd>');
  expect(html).toContain('received &quot;&lt;b&gt;&quot; (string)');
});
test('no script and nothing remote', () => {
  const html = renderErrorHtml(io());
  expect(html).not.toMatch(/<script|<link|<img|url\(|https?:|javascript:|\son[a-z]+=/i);
});

describe('hostile texts stay text', () => {
  const plain = tags(renderErrorHtml(io({}, { cause: new Error('x') })));
  test.each([
    ['<img src=x onerror=alert(1)>'],
    ['</section></dl><script>alert(1)</script>'],
    [`" onmouseover="alert(1)" x='`],
    [`' style='x`],
    ['&lt;script&gt;&#x3c;'],
    ['<!-- --!> <![CDATA[ ]]>'],
    ['__proto__'],
  ])('%s', (text) => {
    const cause = Object.assign(new Error(text), { name: text, code: text });
    const error = io(
      {
        title: text,
        message: text,
        hint: text,
        suggestions: [text, text],
        details: { path: text, [`k${text}`]: text, list: [text], nested: { [text]: [text] } },
        context: { phase: text, elapsedMs: text },
      },
      { cause },
    );
    const html = renderErrorHtml(error);
    const expected = [...plain];
    const rows = (found: typeof plain) => found.filter((name) => name === 'dt').length;
    expect(tags(html).filter((name) => !/^\/?d[td]$/.test(name ?? ''))).toEqual(
      expected.filter((name) => !/^\/?d[td]$/.test(name ?? '')),
    );
    expect(rows(tags(html))).toBe(6);
    const outside = html.replace(/<[^>]*>/g, '');
    expect(outside).not.toMatch(/[<>"']/);
    expect(outside.replace(/&(amp|lt|gt|quot|#39);/g, '')).not.toContain('&');
    expect(html.match(/<section/g)).toHaveLength(1);
  });
  test('a code from elsewhere cannot leave its attribute', () => {
    const error = errorFromJSON({ code: 'AQ_"><script>', message: 'x' });
    expect(renderErrorHtml(error)).toContain('data-code="AQ_&quot;&gt;&lt;script&gt;"');
  });
  test('characters that act are shown, names are cut in the middle, prose at its end', () => {
    const acting = 'a\u001b[2J\u0000\u009b\u202e\u200b\u2066\ufeff\u007fb';
    const html = renderErrorHtml(
      io({ title: acting, message: 'm'.repeat(100_000), details: { path: acting, layer: 'x'.repeat(1_000_000) } }),
    );
    expect(html).toContain('a\\u{1b}[2J\\u{0}\\u{9b}\\u{202e}\\u{200b}\\u{2066}\\u{feff}\\u{7f}b');
    expect(html).not.toMatch(/[\p{Cc}\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u);
    expect(html).toContain(`<dd>${'x'.repeat(100)}…${'x'.repeat(99)}</dd>`);
    expect(html.length).toBeLessThan(5_000);
  });
});

describe('arguments', () => {
  test.each([1, 2, 3, 4, 5, 6])('heading level %i', (headingLevel) => {
    const html = renderErrorHtml(io(), { headingLevel });
    expect(html).toContain(`<h${headingLevel}>File operation failed</h${headingLevel}>`);
  });
  test.each([
    [{ headingLevel: 0 }],
    [{ headingLevel: 7 }],
    [{ headingLevel: '2' }],
    [{ headingLevel: 1.5 }],
    [{ headinglevel: 2 }],
    [null],
    ['x'],
  ])('options %j are refused', (options) => {
    expect(() => renderErrorHtml(io(), options as never)).toThrow(ConfigurationError);
  });
  test.each([[undefined], [null], ['x'], [new Error('x')], [{}]])('%s is no error of this package', (error) => {
    expect(() => renderErrorHtml(error as never)).toThrow(ConfigurationError);
  });
  test.each([
    [{ issues: [null, 5, {}, { path: { toString: 1 }, expected: ['<'], received: null }] }],
    [{ issues: 'x' }],
    [{ path: { toString: 1 }, list: [{ a: 1 }, null] }],
  ])('details from elsewhere, %j', (details) => {
    const error = errorFromJSON({ code: 'AQ_INVALID_CONFIG', message: 'x', details, context: { phase: { a: '<' } } });
    expect(renderErrorHtml(error).replace(/<[^>]*>/g, '')).not.toContain('<');
  });
  test.each([...ERROR_CODES])('%s can be rendered from as little as code and message', (code) => {
    expect(renderErrorHtml(errorFromJSON({ code, message: 'It failed.' }))).toContain(`data-code="${code}"`);
  });
});
