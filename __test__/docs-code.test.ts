/** Every command and block of code in README.md and docs/ does what it says, on small models that have the names of the large ones. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { ROOT } from './helpers/cli.js';
import { type Block, blocksOf, DOCS, inlineCommands } from './helpers/docs-blocks.js';
import { ModelStore } from './helpers/docs-models.js';
import { type Ran, runIn, runShell, writeModule } from './helpers/docs-run.js';
import { type ShellCommand, shellCommands } from './helpers/docs-shell.js';
import { BEFORE, NO_CODE, NOT_RUN, PYTHON } from './helpers/docs-tables.js';

// Some blocks are ten commands, and many run side by side.
vi.setConfig({ testTimeout: 300_000 });

const blocks = DOCS.flatMap(blocksOf);
const inLanguage = (...languages: string[]) => blocks.filter(({ language }) => languages.includes(language));
const title = ({ doc, line }: Block) => `${doc}:${line}`;
const folder = mkdtempSync(path.join(tmpdir(), 'arrow-quant-docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const store = new ModelStore(path.join(folder, 'models'));
const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));

let sandboxes = 0;
/** A folder with what the text names. */
async function sandboxFor(text: string): Promise<string> {
  sandboxes += 1;
  const sandbox = path.join(folder, `block-${sandboxes}`);
  mkdirSync(sandbox);
  await store.provide(text, sandbox);
  return sandbox;
}

function expectSuccess(what: string, ran: Ran): void {
  expect(ran.code, `${what}\n${ran.stdout.slice(-1500)}\n${ran.stderr.slice(-1500)}`).toBe(0);
}

const reasonNotToRun = ({ raw }: ShellCommand) => NOT_RUN.find(([begins]) => raw.startsWith(begins));

async function runCommands(commands: readonly ShellCommand[], sandbox: string): Promise<void> {
  for (const command of commands) {
    if (reasonNotToRun(command) !== undefined) {
      checkNames(command);
      const inner = command.words.filter((word) => word.startsWith('<(')).map((word) => word.slice(2, -1));
      await runCommands(inner.flatMap(shellCommands), sandbox);
      continue;
    }
    const ran = await runShell(sandbox, command);
    if (ran === undefined) throw new Error(`neither run nor in NOT_RUN: ${command.raw}`);
    expectSuccess(command.raw, ran);
  }
}

/** Of a command that is not run: scripts, files and flags that it names must be there. */
function checkNames({ raw, words }: ShellCommand): void {
  const [program, first = '', second = ''] = words;
  if (program === 'npm' && first === 'run') expect(Object.keys(manifest.scripts), raw).toContain(second);
  const script = /^(?:tools|examples|interop|scripts|bench)\//.test(first) ? first : undefined;
  if (script === undefined) return;
  const source = readFileSync(path.join(ROOT, script), 'utf8');
  for (const flag of words.filter((word) => /^--[a-z]/.test(word))) expect(source, raw).toContain(`"${flag}"`);
}

test('every block is of a language that this test knows', () => {
  const known = [...NO_CODE, 'sh', 'js', 'ts', 'python', 'yaml', 'json'];
  expect(blocks.filter(({ language }) => !known.includes(language)).map(title)).toEqual([]);
});

describe.concurrent('shell', () => {
  test.for(inLanguage('sh').map((block) => [title(block), block] as const))('%s', async ([, { text }]) => {
    const commands = shellCommands(text);
    expect(commands.length).toBeGreaterThan(0);
    await runCommands(commands, await sandboxFor(text));
  });
});

/** Words in capitals stand for something, and an ellipsis for more. */
const isPattern = (code: string) => /\b[A-Z]+\b|[[…<|]/.test(code);

/** A command in the text is run; of patterns and bare names, the command must be there. */
async function tryInline(code: string): Promise<void> {
  const [program = '', name = '', third = ''] = code.split(/[ []/);
  if (program === 'npm') {
    if (name === 'run') expect(Object.keys(manifest.scripts), code).toContain(third);
  } else if (program === 'node') {
    if (/\.m?js$/.test(name)) readFileSync(path.join(ROOT, name));
  } else if (program === 'npx') {
    if (name !== 'arrow-quant') readFileSync(path.join(ROOT, 'node_modules', '.bin', name));
  } else if (/^[a-z]/.test(name) && (isPattern(code) || third === '')) {
    const ran = await runIn(folder, process.execPath, [path.join(ROOT, 'dist/cli.js'), name, '--help']);
    expectSuccess(code, ran);
    // Of a command that there is not, commander gives the general help.
    expect(ran.stdout, code).toContain(`Usage: arrow-quant ${name}`);
  } else if (name !== '') {
    await runCommands(shellCommands(code), await sandboxFor(code));
  }
}

describe.concurrent('commands in the text', () => {
  test.for(DOCS)('%s', async (doc) => {
    for (const code of inlineCommands(doc)) await tryInline(code);
  });
});

const moduleOf = ({ language, text }: Block) => {
  const before = BEFORE.filter(([holds]) => text.includes(holds)).map(([, code]) => code);
  const whole = [...before, text].join('\n');
  const { outputText } = ts.transpileModule(whole, {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
  });
  return { source: whole, runs: language === 'ts' ? outputText : whole };
};

describe.concurrent('JavaScript', () => {
  const scripts = inLanguage('js', 'ts');
  test.for(scripts.map((block) => [title(block), block] as const))('%s runs', async ([name, block]) => {
    const { runs } = moduleOf(block);
    const sandbox = await sandboxFor(runs);
    const ran = await runIn(sandbox, process.execPath, [writeModule(sandbox, runs)]);
    expectSuccess(name, ran);
    // Where a value is missing it is printed so, or not at all.
    expect(ran.stdout).not.toMatch(/undefined|NaN/);
    expect(ran.stderr).toBe('');
  });

  test('names and types are those of the package', () => {
    const checked = path.join(folder, 'types');
    mkdirSync(checked);
    const files = scripts.map((block, index) =>
      writeModule(checked, moduleOf(block).source, `block-${index}.${block.language === 'ts' ? 'mts' : 'mjs'}`),
    );
    const program = ts.createProgram(files, {
      allowJs: true,
      checkJs: true,
      noEmit: true,
      skipLibCheck: true,
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.NodeNext,
      strict: false,
      types: ['node'],
      typeRoots: [path.join(ROOT, 'node_modules/@types')],
    });
    const said = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
      const block = scripts[files.findIndex((name) => path.basename(name) === path.basename(file?.fileName ?? ''))];
      return `${block && title(block)}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    });
    expect(said).toEqual([]);
  });
});

describe('Python', async () => {
  const interop = process.env.AQ_INTEROP_PYTHON;
  const python = interop ?? (await findPython());
  const scripts = inLanguage('python');

  test('every block is in the table', () => {
    const unknown = scripts.filter(({ text }) => !PYTHON.some(([holds]) => text.includes(holds)));
    expect(unknown.map(title)).toEqual([]);
  });
  // Shown as skipped where there is no Python at all.
  test.skipIf(python === undefined)('compiles', async () => {
    for (const block of scripts) {
      const ran = await runIn(folder, python as string, [
        '-c',
        'import sys; compile(sys.argv[1], "block", "exec")',
        block.text,
      ]);
      expectSuccess(title(block), ran);
    }
  });
  for (const [by, found] of [
    ['any', python],
    ['interop', interop],
  ] as const) {
    const runs = scripts.filter(({ text }) => PYTHON.some(([holds, needs]) => needs === by && text.includes(holds)));
    test.skipIf(found === undefined).for(runs.map((block) => [title(block), block] as const))(
      '%s runs',
      async ([name, { text }]) => {
        expectSuccess(name, await runIn(await sandboxFor(text), found as string, ['-c', text]));
      },
    );
  }
});

async function findPython(): Promise<string | undefined> {
  for (const name of ['python3', 'python']) {
    const ran = await runIn(folder, name, ['-c', '']).catch(() => undefined);
    if (ran?.code === 0) return name;
  }
  return undefined;
}

describe('data', () => {
  test.for(inLanguage('yaml', 'json').map((block) => [title(block), block] as const))('%s', async ([, block]) => {
    if (block.language === 'json') JSON.parse(block.text);
    else expect((await import('yaml')).parse(block.text)).toBeTypeOf('object');
  });
  test('no row of the tables is left over', () => {
    const commands = inLanguage('sh').flatMap(({ text }) => shellCommands(text));
    const used = new Set(commands.map((command) => reasonNotToRun(command)));
    expect(NOT_RUN.filter((row) => !used.has(row)).map(([begins]) => begins)).toEqual([]);
    const code = blocks.map(({ text }) => text);
    const unused = [...PYTHON, ...BEFORE].filter(([holds]) => !code.some((text) => text.includes(holds)));
    expect(unused.map(([holds]) => holds)).toEqual([]);
  });
});
