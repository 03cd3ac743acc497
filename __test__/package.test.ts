/** Facts about the package itself: what it exports, that require() works, and what happens without the addon. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import * as aq from '../src-ts/index.js';
import { ROOT } from './helpers/cli.js';
import { tempDir } from './helpers/temp.js';

const run = promisify(execFile);
const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
const ENTRY = path.join(ROOT, 'dist/index.js');

test('the exports', () => {
  expect(Object.keys(aq).sort()).toEqual([
    'AbortError',
    'ArrowQuantError',
    'ArrowQuantV2',
    'ConfigurationError',
    'DiffusionQuantConfig',
    'ERROR_CODES',
    'MetadataError',
    'ModelNotFoundError',
    'QuantizationError',
    'QuantizedModel',
    'ShapeMismatchError',
    'ValidationError',
    'compare',
    'diagnose',
    'errorFromJSON',
    'errorMetrics',
    'explainError',
    'exportModel',
    'inspect',
    'inspectCalibration',
    'instrument',
    'isArrowQuantError',
    'merge',
    'openQuantizedModel',
    'plan',
    'quantize',
    'quantizeDiffusionModel',
    'quantizeMany',
    'renderErrorHtml',
    'setLogLevel',
    'validateQuality',
    'version',
  ]);
  expect(aq.version).toBe(manifest.version);
});

describe('package.json', () => {
  test('is an ES module that require() can load on every Node it admits', () => {
    expect(manifest.type).toBe('module');
    expect(manifest.engines.node).toBe('^20.19 || >=22.12');
    expect(manifest.exports['.']).toEqual({ types: './dist/index.d.ts', default: './dist/index.js' });
    expect(manifest.bin).toEqual({ 'arrow-quant': './dist/cli.js' });
  });
  test('what is imported is a dependency, and nothing else is', () => {
    const imported = new Set<string>();
    for (const entry of readdirSync(path.join(ROOT, 'src-ts'), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
      const source = readFileSync(path.join(entry.parentPath, entry.name), 'utf8');
      for (const [, name] of source.matchAll(/(?: from |\bimport\()'((?:@[^'/:]+\/)?[^'./:@][^'/:]*)(?:\/[^':]*)?'/g))
        imported.add(name as string);
    }
    expect([...imported].sort()).toEqual(Object.keys(manifest.dependencies).sort());
  });
  test('the command has a shebang', () => {
    expect(readFileSync(path.join(ROOT, 'dist/cli.js'), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });
});

test('CommonJS require', async () => {
  const script = `const aq = require(${JSON.stringify(ENTRY)});
    try { new aq.DiffusionQuantConfig({ bitWidth: 3 }); } catch (e) {
      console.log(JSON.stringify([e instanceof aq.ConfigurationError, e.code, typeof aq.quantizeDiffusionModel]));
    }`;
  const { stdout } = await run(process.execPath, ['--input-type=commonjs', '-e', script]);
  expect(JSON.parse(stdout)).toEqual([true, 'AQ_INVALID_BIT_WIDTH', 'function']);
});

test('the published addon holds nothing of the fault build', () => {
  const addons = readdirSync(ROOT).filter((name) => name.endsWith('.node'));
  expect(addons.length).toBeGreaterThan(0);
  for (const name of addons) {
    const bytes = readFileSync(path.join(ROOT, name));
    for (const marker of ['AQ_FAULT_PLAN', 'setFaultPlan', 'a fault was asked for']) {
      expect(bytes.includes(marker), `${name}: ${marker}`).toBe(false);
    }
  }
});

test('without the addon importing works and calls reject with help', async () => {
  const broken = path.join(tempDir(), 'broken.node');
  writeFileSync(broken, 'no shared library');
  const script = `const aq = await import(${JSON.stringify(ENTRY)});
    const error = await aq.inspect('/nowhere').catch((e) => e);
    console.log(JSON.stringify([error instanceof aq.ArrowQuantError, error.code, error.suggestions.length > 1, new aq.DiffusionQuantConfig().bitWidth]));`;
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: broken };
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { env });
  expect(JSON.parse(stdout)).toEqual([true, 'AQ_NATIVE_LOAD', true, 4]);
});

test('no file is longer than 400 lines', () => {
  const long: string[] = [];
  for (const folder of ['src-ts', '__test__']) {
    for (const entry of readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name);
      if (entry.isFile() && file.endsWith('.ts') && readFileSync(file, 'utf8').split('\n').length > 400)
        long.push(file);
    }
  }
  expect(long).toEqual([]);
});
