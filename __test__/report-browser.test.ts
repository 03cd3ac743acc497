/** The report page in a real browser: it opens in silence, sorts, filters, and passes axe. */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { worstLayers } from '../src-ts/report/histograms.js';
import { renderReport } from '../src-ts/report/write-report.js';
import { findChromium, launch } from './helpers/browser.js';
import { madeHistograms, madeResult } from './helpers/report-result.js';
import { tempDir } from './helpers/temp.js';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const found = findChromium();
if (found === undefined)
  process.stderr.write('report-browser.test.ts is skipped: no Chromium (AQ_CHROMIUM names one)\n');

interface Opened {
  readonly page: Page;
  /** What the console and failed scripts told, and what was asked for besides the page. */
  readonly trouble: string[];
}

describe.skipIf(found === undefined)('in Chromium', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launch(found ?? '');
  });
  afterAll(() => browser?.close());

  async function open(
    layers: number,
    options: { readonly dark?: boolean; readonly width?: number } = {},
  ): Promise<Opened> {
    const result = madeResult(layers, 5);
    const file = path.join(tempDir(), 'report.html');
    writeFileSync(file, await renderReport(result, madeHistograms(worstLayers(result))));
    const context = await browser.newContext({
      colorScheme: options.dark === true ? 'dark' : 'light',
      viewport: { width: options.width ?? 1200, height: 800 },
      // axe is put into the page from here, which its policy would refuse; whether that holds is a test of its own.
      bypassCSP: options.dark !== undefined,
    });
    const page = await context.newPage();
    const trouble: string[] = [];
    const own = pathToFileURL(file).href;
    page.on('console', (message) => trouble.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => trouble.push(error.message));
    page.on('request', (request) => {
      if (request.url() !== own && request.url() !== 'data:,') trouble.push(`asked for ${request.url()}`);
    });
    await page.goto(own);
    return { page, trouble };
  }

  const names = (page: Page) => page.locator('#layer-table tbody tr:visible th').allTextContents();
  const column = async (page: Page, title: string) => {
    const titles = await page.locator('#layer-table thead th').allTextContents();
    const at = titles.indexOf(title);
    expect(at, title).toBeGreaterThan(-1);
    return page.locator(`#layer-table tbody tr:visible > :nth-child(${at + 1})`).allTextContents();
  };
  const head = (page: Page, title: string) => page.locator('#layer-table thead th').filter({ hasText: title }).first();

  test('opens without a word and asks for nothing', async () => {
    const { page, trouble } = await open(60);
    expect(await page.title()).toBe('FluxTransformer2DModel at 4 bits – arrow-quant');
    expect(await page.locator('svg[role=img]').count()).toBeGreaterThan(8);
    // The style is in force: a policy with another hash would leave the page bare.
    expect(await page.evaluate('getComputedStyle(document.querySelector("nav")).position')).toBe('sticky');
    expect(trouble).toEqual([]);
  });

  test('its policy refuses scripts and styles that are not its own', async () => {
    const { page } = await open(12);
    await page.evaluate(`(() => {
      const script = document.createElement('script');
      script.textContent = 'globalThis.struck = true';
      document.body.append(script);
      document.body.setAttribute('style', 'color: red');
    })()`);
    expect(await page.evaluate('globalThis.struck')).toBeUndefined();
    expect(await page.evaluate('getComputedStyle(document.body).color')).not.toBe('rgb(255, 0, 0)');
  });

  test('sorts by numbers and by text, up and down', async () => {
    const { page, trouble } = await open(60);
    const before = await names(page);
    await head(page, 'SQNR, dB').getByRole('button').click();
    const up = (await column(page, 'SQNR, dB')).map(Number);
    expect(up).toEqual([...up].sort((a, b) => a - b));
    expect(await head(page, 'SQNR, dB').getAttribute('aria-sort')).toBe('ascending');
    await head(page, 'SQNR, dB').getByRole('button').click();
    expect((await column(page, 'SQNR, dB')).map(Number)).toEqual([...up].reverse());
    expect(await head(page, 'SQNR, dB').getAttribute('aria-sort')).toBe('descending');
    await head(page, 'role').getByRole('button').click();
    const roles = await column(page, 'role');
    expect(roles).toEqual([...roles].sort());
    expect(await page.locator('[aria-sort]').count()).toBe(1);
    expect([...(await names(page))].sort()).toEqual([...before].sort());
    expect(trouble).toEqual([]);
  });

  test('sorts by keys alone', async () => {
    const { page } = await open(24);
    const focused = () => page.evaluate('document.activeElement.textContent');
    await page.locator('#layer-role').focus();
    for (let presses = 0; presses < 6; presses += 1) {
      await page.keyboard.press('Tab');
      if ((await focused()) === 'similarity') break;
    }
    expect(await focused()).toBe('similarity');
    await page.keyboard.press('Enter');
    expect(await head(page, 'similarity').getAttribute('aria-sort')).toBe('ascending');
    const [first] = await names(page);
    expect(first).toBe(worstLayers(madeResult(24, 5))[0]);
    await page.keyboard.press('Space');
    expect(await head(page, 'similarity').getAttribute('aria-sort')).toBe('descending');
  });

  test('filters by text, outcome and role, and tells how many are left', async () => {
    const { page } = await open(60);
    const told = () => page.locator('#layer-count').textContent();
    expect(await told()).toBe('60 of 60 layers');
    await page.getByLabel('Name contains').fill('BLOCKS.3. attn');
    expect(await names(page)).toHaveLength(7);
    expect(await told()).toBe('7 of 60 layers');
    await page.getByLabel('Name contains').fill('');
    await page.getByLabel('Outcome').selectOption('raised');
    expect(new Set(await column(page, 'outcome'))).toEqual(new Set(['raised']));
    const raised = (await names(page)).length;
    expect(await told()).toBe(`${raised} of 60 layers`);
    await page.getByLabel('Outcome').selectOption('');
    await page.getByLabel('Role', { exact: true }).selectOption('modulation');
    expect(new Set(await column(page, 'role'))).toEqual(new Set(['modulation']));
    await head(page, 'bits').getByRole('button').click();
    expect(new Set(await column(page, 'role'))).toEqual(new Set(['modulation']));
  });

  test('the header of the table stays while it scrolls', async () => {
    const { page } = await open(60);
    const top = () =>
      page.evaluate(
        'document.querySelector("#layer-table thead").getBoundingClientRect().top - document.querySelector("#layer-table").getBoundingClientRect().top',
      );
    await page.evaluate('document.querySelector("#layer-table").scrollTop = 500');
    expect(await page.evaluate('document.querySelector("#layer-table").scrollTop')).toBe(500);
    const box = await head(page, 'layer').boundingBox();
    const table = await page.locator('#layer-table').boundingBox();
    expect(Math.abs((box?.y ?? 0) - (table?.y ?? 99))).toBeLessThan(3);
    expect(await top()).toBeLessThan(-400);
  });

  test.each([1200, 768, 360])('at %i pixels nothing sticks out of the page', async (width) => {
    const { page } = await open(300, { width });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
  });

  test('on paper the table is whole and the controls are gone', async () => {
    const { page } = await open(60);
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('nav').isVisible()).toBe(false);
    expect(await page.locator('#layer-controls').isVisible()).toBe(false);
    expect(
      await page.evaluate(
        '(() => { const box = document.querySelector("#layer-table"); return box.scrollHeight - box.clientHeight; })()',
      ),
    ).toBe(0);
  });

  // A row that breaks its line, or a chart that moves to a page of its own, shows in the number of pages. Fonts differ between machines.
  test.each([
    [60, 5, 10],
    [1000, 20, 40],
  ])('%i layers take %i to %i pages of A4', async (layers, least, most) => {
    const { page } = await open(layers);
    const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
    const pages = pdf.match(/\/Type\s*\/Page\b(?!s)/g)?.length ?? 0;
    expect(pages).toBeGreaterThanOrEqual(least);
    expect(pages).toBeLessThanOrEqual(most);
  });

  test('a thousand layers sort within a second or so', async () => {
    const { page, trouble } = await open(1000);
    const begun = performance.now();
    await head(page, 'worst row').getByRole('button').click();
    await page.getByLabel('Name contains').fill('blocks.77.');
    expect(await names(page)).toHaveLength(10);
    expect(performance.now() - begun).toBeLessThan(5_000);
    expect(trouble).toEqual([]);
  });

  test.each([
    ['light', 1200],
    ['dark', 1200],
    ['light', 360],
  ] as const)('axe finds nothing serious, %s at %i pixels', async (scheme, width) => {
    const { page } = await open(60, { dark: scheme === 'dark', width });
    await page.addScriptTag({ path: AXE });
    const found = (await page.evaluate('axe.run()')) as { readonly violations: readonly Violation[] };
    const serious = found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    expect(serious.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)).toEqual([]);
    expect(found.violations.map(({ id }) => id)).toEqual([]);
  });
});

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}
