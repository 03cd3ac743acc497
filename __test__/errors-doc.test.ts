/** docs/errors.md is what the catalogue says. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { ERROR_CODES, explainError } from '../src-ts/index.js';
import { ROOT } from './helpers/cli.js';
import { tempDir } from './helpers/temp.js';

const run = promisify(execFile);
const check = (...more: string[]) =>
  run(process.execPath, [path.join(ROOT, 'scripts/errors-doc.mjs'), '--check', ...more]).then(
    () => '',
    ({ stderr }: { readonly stderr: string }) => stderr,
  );

/** The catalogue with a change, in a file of its own. */
function changed(change: (text: string) => string): string {
  const text = readFileSync(path.join(ROOT, 'src-ts/generated/error-catalog.ts'), 'utf8');
  const file = path.join(tempDir(), 'catalogue.ts');
  expect(change(text)).not.toBe(text);
  writeFileSync(file, change(text));
  return `--catalogue=${file}`;
}

test('the committed page is what the script writes', async () => {
  expect(await check()).toBe('');
});
test('every code has its row and its cause', () => {
  const page = readFileSync(path.join(ROOT, 'docs/errors.md'), 'utf8');
  for (const code of ERROR_CODES) {
    const { className, title, kind, retryable } = explainError(code);
    expect(page).toContain(`| \`${code}\` | ${className} | ${title} | ${kind} | ${retryable ? 'yes' : 'no'} | `);
    expect(page).toMatch(new RegExp(`^- \`${code}\`( \\(not raised by this version\\))?: [A-Z].+\\.$`, 'm'));
  }
});
test('a changed hint, a code more and a code less are noticed', async () => {
  expect(await check(changed((text) => text.replace('Raise timeoutMs.', 'Wait.')))).toContain('docs/errors.md differs');
  expect(await check(changed((text) => text.replace('"AQ_IO"', '"AQ_NEW"')))).toContain('no cause for AQ_NEW');
  const without = changed((text) => text.replace(/,\s*"AQ_NATIVE_LOAD": \{[^}]*\}/, ''));
  expect(await check(without)).toContain('unknown codes: AQ_NATIVE_LOAD');
});
