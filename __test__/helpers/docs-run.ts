/** Runs what the docs show, in a folder of its own. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CLI, ROOT } from './cli.js';
import type { ShellCommand } from './docs-shell.js';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runIn(
  folder: string,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ran> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ARROW_QUANT_|NO_COLOR|FORCE_COLOR)/.test(name));
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: folder, env: { ...Object.fromEntries(inherited), ...env } });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** What a command of a shell block is run by; undefined: this test does not run it. */
export async function runShell(folder: string, { words, env, stdout }: ShellCommand): Promise<Ran | undefined> {
  const [name, ...args] = words;
  if (name === 'cp' && args.length === 2) {
    const [from, to] = args as [string, string];
    // As cp does, and unlike cpSync: the folder must be there.
    if (!existsSync(path.dirname(path.join(folder, to)))) throw new Error(`no folder for ${to}`);
    cpSync(path.join(folder, from), path.join(folder, to), { recursive: true });
    return { code: 0, stdout: '', stderr: '' };
  }
  const script = name === 'arrow-quant' ? CLI : name === 'node' ? path.join(ROOT, args.shift() ?? '') : undefined;
  if (script === undefined) return undefined;
  const ran = await runIn(folder, process.execPath, [script, ...args], env);
  if (stdout !== undefined) {
    const file = path.join(folder, stdout);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, ran.stdout);
  }
  return ran;
}

/** Writes a module beside links to the packages that it imports, and returns its path. */
export function writeModule(folder: string, text: string, name = 'block.mjs'): string {
  const modules = path.join(folder, 'node_modules');
  mkdirSync(modules, { recursive: true });
  for (const [, found] of text.matchAll(/from '((?:@[\w-]+\/)?[a-z][\w-]*)'/g)) {
    const link = path.join(modules, found as string);
    const target = found === 'arrow-quant' ? ROOT : path.join(ROOT, 'node_modules', found as string);
    mkdirSync(path.dirname(link), { recursive: true });
    // A junction needs no rights on Windows, and is a link like any other elsewhere.
    if (!existsSync(link)) symlinkSync(target, link, 'junction');
  }
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}
