/** The words of each error that ordinary inputs provoke, so that a change of wording is seen and meant. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ERROR_CODES, explainError } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { PROVOCATIONS } from './helpers/provocations.js';
import { RUN_PROVOCATIONS } from './helpers/run-provocations.js';
import { tempDir } from './helpers/temp.js';

/** These need the fault build: __test__/fault/reachable.test.ts. */
const BY_FAULT_ONLY = ['AQ_DEVICE_FAILED', 'AQ_INTERNAL'];
const ALL = [...PROVOCATIONS, ...RUN_PROVOCATIONS];

/** What differs from run to run and from machine to machine becomes a placeholder. */
function steady(message: string, folder: string): string {
  return message
    .replaceAll(folder, '<folder>')
    .replaceAll(process.cwd(), '<cwd>')
    .replace(/x{20,}…x{20,}/, '<cut>')
    .replace(/after [\d.]+ m?s/, 'after <time>')
    .replace(/in phase \w+ after/, 'in phase <phase> after')
    .replace(`pid ${process.pid}`, 'pid <pid>')
    .replace(`${process.platform}-${process.arch}`, '<platform>')
    .replace(/(addon\.node): .*?\. Suggestions/, '$1: <reason of the loader>. Suggestions')
    .replace(/(is not available): .*?\. Suggestions/, '$1: <what the machine has>. Suggestions');
}

test('every code is provoked, or is named as one that only a fault reaches', () => {
  const provoked = new Set(ALL.map(({ code }) => code));
  expect(ERROR_CODES.filter((code) => !provoked.has(code))).toEqual(BY_FAULT_ONLY);
});

test.each(ALL.map(({ code, name, run }) => [code, name, run] as const))('%s, %s', async (code, _, run) => {
  const folder = tempDir();
  const error = await caught(() => run(folder));
  expect(error.code).toBe(code);
  expect(error).toMatchObject({ name: explainError(code).className, title: explainError(code).title });
  expect(steady(error.message, folder)).toMatchSnapshot();
  expect(error.message.length).toBeLessThanOrEqual(2000);
  if (code !== 'AQ_OUTPUT_EXISTS' && code !== 'AQ_OUTPUT_BUSY')
    expect(existsSync(path.join(folder, 'out'))).toBe(false);
});
