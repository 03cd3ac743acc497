// Talks to checker.py: one Python process for a whole run, one JSON object a line each way.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const STDERR_KEPT = 4000;

/** The interpreter of the pinned environment, made on first use (minutes, and about 6 GB of disk). */
export async function pythonPath() {
  // setup.sh says on stderr what it is doing: that goes through, since it may take minutes.
  const child = spawn('bash', [here('setup.sh')], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`interop/setup.sh ended with ${code}`);
  return printed.trim();
}

export class Checker {
  #child;
  #waiting = new Map();
  #last = 0;
  #stderr = '';
  #gone;

  /** Resolves once the loaders are imported; `versions` says which. */
  static async start(python) {
    const checker = new Checker(python);
    checker.versions = await checker.#answer(0);
    return checker;
  }

  constructor(python) {
    this.#child = spawn(python, [here('checker.py')], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#settle(JSON.parse(line)));
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.on('close', (code) => this.#fail(new Error(`the Python process ended with ${code}\n${this.#stderr}`)));
    // A write to a process that is gone is reported by 'close', with what it printed.
    this.#child.stdin.on('error', () => {});
  }

  /** Resolves with the check's value; rejects when the check itself broke down. */
  ask(check, request) {
    const id = ++this.#last;
    this.#child.stdin.write(`${JSON.stringify({ id, check, ...request })}\n`);
    return this.#answer(id);
  }

  stop() {
    this.#child.stdin.end();
  }

  #answer(id) {
    if (this.#gone) return Promise.reject(this.#gone);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #settle({ id, value, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }

  #fail(error) {
    this.#gone ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
