/** What is logged, where, and only when somebody asked for it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ConfigurationError, setLogLevel } from '../src-ts/index.js';
import { caught } from './helpers/caught.js';
import { CLI, ROOT } from './helpers/cli.js';
import { ditTensors, writeModel } from './helpers/models.js';
import { tempDir } from './helpers/temp.js';

const ENTRY = pathToFileURL(path.join(ROOT, 'dist/index.js')).href;

/** Runs a script against the package in a process of its own, which is what logs. */
function run(script: string, env: Readonly<Record<string, string>> = {}): string {
  const code = `const aq = await import('${ENTRY}');\n${script}`;
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ARROW_QUANT_'));
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    env: { ...Object.fromEntries(inherited), ...env },
  });
  expect(stdout).toBe('');
  return stderr;
}

const missing = `await aq.inspect('/nowhere').catch(() => {});`;

test('nothing by default', () => {
  expect(run(missing)).toBe('');
});

describe('ARROW_QUANT_LOG', () => {
  test('a failure is logged once, at the level of its severity', () => {
    expect(run(missing, { ARROW_QUANT_LOG: 'warn' })).toBe('');
    const lines = run(missing, { ARROW_QUANT_LOG: 'info' }).trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      / INFO .*Model not found: \/nowhere does not exist\..*code="AQ_MODEL_NOT_FOUND" kind="user" phase="open"/,
    );
  });
  test('as JSON lines', () => {
    const line = JSON.parse(run(missing, { ARROW_QUANT_LOG: 'info', ARROW_QUANT_LOG_FORMAT: 'json' }));
    expect(line).toMatchObject({ level: 'INFO', fields: { code: 'AQ_MODEL_NOT_FOUND', kind: 'user', phase: 'open' } });
    expect(line.fields.elapsed_ms).toBeGreaterThanOrEqual(0);
  });
  test('spans tell job and layer', () => {
    const folder = tempDir();
    const [modelPath, outputPath] = [writeModel(folder, ditTensors(2, 64)), path.join(folder, 'out')];
    const script = `await aq.quantizeDiffusionModel(${JSON.stringify({ modelPath, outputPath, minAccuracy: 0 })});`;
    const log = run(script, { ARROW_QUANT_LOG: 'debug' });
    expect(log).toMatch(/job\{job_id="[0-9a-f]{8}"\}/);
    expect(log).toContain('phase="quantize"');
  });
});

describe('logLevel', () => {
  test('the option, the function and the flag', () => {
    expect(run(`await aq.setLogLevel('info'); ${missing}`)).toContain('AQ_MODEL_NOT_FOUND');
    expect(run(`await aq.setLogLevel('info'); await aq.setLogLevel('off'); ${missing}`)).toBe('');
    const job = `await aq.quantizeDiffusionModel({ modelPath: '/nowhere', outputPath: '/tmp/x', logLevel: 'info' }).catch(() => {});`;
    expect(run(job)).toContain('AQ_MODEL_NOT_FOUND');
    const args = [CLI, 'quantize', '/nowhere', '-o', '/tmp/x', '--log-level', 'info', '--json'];
    expect(spawnSync(process.execPath, args, { encoding: 'utf8' }).stderr).toContain(' INFO ');
  });
  test('anything but a level is refused', async () => {
    expect(await caught(() => setLogLevel('loud' as never))).toBeInstanceOf(ConfigurationError);
  });
});
