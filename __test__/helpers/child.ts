/** Programs that use the built package, each in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from './cli.js';

export const ENTRY = pathToFileURL(path.join(ROOT, 'dist/index.js')).href;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds from the first output to the end. */
  readonly afterOutput: number;
}

export interface Program {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves when the text was written to stdout, or the program has ended. */
  said(text: string): Promise<void>;
}

export interface ProgramOptions {
  /** A command that runs the one that follows it. */
  readonly prefix?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a module. It has the package as `aq` and what it is given as `data`. */
export function program(module: string, data: unknown = null, options: ProgramOptions = {}): Program {
  const source = `import * as aq from '${ENTRY}';\nconst data = JSON.parse(process.argv[1]);\n${module}`;
  const line = [process.execPath, '--input-type=module', '-e', source, JSON.stringify(data)];
  const [command = '', ...args] = [...(options.prefix ?? []), ...line];
  const child = spawn(command, args, { env: { ...process.env, ...options.env }, stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  let firstOutput = performance.now();
  const waiting: { readonly text: string; readonly resolve: () => void }[] = [];
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    if (stdout === '') firstOutput = performance.now();
    stdout += piece;
    for (const { text, resolve } of waiting) if (stdout.includes(text)) resolve();
  });
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece;
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr, afterOutput: performance.now() - firstOutput });
    });
  });
  const said = (text: string) =>
    new Promise<void>((resolve) => {
      waiting.push({ text, resolve });
      if (stdout.includes(text)) resolve();
      void ended.then(() => resolve());
    });
  return { child, ended, said };
}

/** Runs a module to its end. */
export const runProgram = (module: string, data?: unknown, options?: ProgramOptions): Promise<Ended> =>
  program(module, data, options).ended;
