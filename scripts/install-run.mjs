// What scripts/install-test.mjs runs things with: npm's own files, a clean environment, a list of checks.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

/** Any user without rights will do; this number is `nobody` nearly everywhere, and need not have a name. */
const NOBODY = 65534;

/** npm as a script of Node, since `npm` is a batch file on Windows and mangles arguments there. */
function npmScript(name) {
  const bin = path.dirname(process.execPath);
  const folders = [path.join(bin, 'node_modules/npm/bin'), path.join(bin, '../lib/node_modules/npm/bin')];
  if (process.env.npm_execpath?.endsWith('npm-cli.js')) folders.unshift(path.dirname(process.env.npm_execpath));
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  if (found === undefined)
    throw new Error(`${name} was not found beside ${process.execPath}; use \`npm run test:install\``);
  return found;
}

/**
 * What a user's shell has, without what the caller's npm, proxy, Node and options leave in it: nothing but `settings` decides where
 * packages come from.
 */
export function cleanEnvironment(home, settings) {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|node_options$|node_path$|napi_rs_|arrow_quant_|init_cwd$|(https?|all|no)_proxy$)/i.test(name),
  );
  return {
    ...Object.fromEntries(kept),
    HOME: home,
    USERPROFILE: home,
    npm_config_cache: path.join(home, 'npm-cache'),
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_yes: 'false',
    NO_COLOR: '1',
    ...settings,
  };
}

/**
 * Runs a program to its end.
 *
 * @returns its exit code, what it wrote, and the seconds it took; it never rejects
 */
export function execute(file, args, { cwd, env, nobody = false }) {
  const user = nobody ? { uid: NOBODY, gid: NOBODY } : {};
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd, env, ...user, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'])
      child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
    const finish = (code) => resolve({ code, ...output, seconds: (performance.now() - started) / 1000 });
    child.on('error', (error) => {
      output.stderr += `${error.message}\n`;
      finish(null);
    });
    child.on('close', finish);
  });
}

export const node = (args, options) => execute(process.execPath, args, options);
export const npm = (args, options) => node([npmScript('npm-cli.js'), ...args], options);
export const npx = (args, options) => node([npmScript('npx-cli.js'), ...args], options);

/** Throws with everything the program said, where it did not end as it should. */
export function succeeded(result, code = 0) {
  if (result.code === code) return result;
  throw new Error(`exit code ${result.code}, expected ${code}\n${result.stdout}${result.stderr}`.trimEnd());
}

/** Throws `what` where a condition does not hold. */
export function ensure(condition, what) {
  if (!condition) throw new Error(what);
}

/** Prints a line for each check and counts. */
export class Checks {
  passed = 0;
  failed = 0;

  /** @param run - throws where the check fails, and may return a word about what it found */
  async check(title, run) {
    try {
      const found = await run();
      this.passed += 1;
      console.log(`ok    ${title}${found === undefined ? '' : `: ${found}`}`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL  ${title}\n${error.message.replace(/^/gm, '        ')}`);
    }
  }

  leftOut(title, reason) {
    console.log(`left out  ${title}: ${reason}`);
  }

  /** The line that .ci/run counts. */
  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exitCode = this.failed > 0 ? 1 : 0;
  }
}
