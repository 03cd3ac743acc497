// Commands of the benchmarks, and the libraries that others built, kept in a cache folder outside the clone.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GGML = { name: '@node-llama-cpp/linux-x64', version: '3.22.1' };
const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a command and gives its stdout; what it says on stderr goes through. */
export function run(command, args, env = {}) {
  const options = { cwd: root, encoding: 'utf8', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...env } };
  const { stdout, status, error } = spawnSync(command, args, { ...options, stdio: ['ignore', 'pipe', 'inherit'] });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${status}`);
  return stdout;
}

/** The lines that are JSON objects. */
export const jsonLines = (text) => text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));

/** The folder that interop/setup.sh keeps its environment in. */
export function cacheFolder() {
  const shared = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return join(process.env.AQ_INTEROP_CACHE || join(shared, 'arrow-quant'), 'peers');
}

/** ggml's library; the versions are in the folders' names, so that a changed pin makes new ones. */
export function ggmlLibrary(cache) {
  const folder = join(cache, `ggml-${GGML.version}`);
  const bins = join(folder, 'node_modules', GGML.name, 'bins');
  const find = () => {
    const names = existsSync(bins) ? readdirSync(bins, { recursive: true }) : [];
    return names.find((name) => name.endsWith('libggml-base.so'));
  };
  if (find() === undefined) {
    mkdirSync(folder, { recursive: true });
    run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, `${GGML.name}@${GGML.version}`]);
  }
  const found = find();
  if (found === undefined) throw new Error(`no libggml-base.so in ${bins}`);
  return join(bins, found);
}
