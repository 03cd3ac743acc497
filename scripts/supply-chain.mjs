// What is installed, linked and run on the way to a published package is named exactly, and installing the package runs nothing:
// the lock files, the package.json files of what is published, and the actions of the workflows. Needs no network.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const text = (path) => readFileSync(`${ROOT}${path}`, 'utf8');
const json = (path) => JSON.parse(text(path));
const names = (path) => readdirSync(`${ROOT}${path}`).sort();

// What npm runs when a package is installed from the registry, and (the last four) from a folder or a repository.
const AT_INSTALL = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare'];
const CRATES_IO = 'registry+https://github.com/rust-lang/crates.io-index';

const problems = [];

/** Nothing of the package in a folder may run at its installation; npm builds a `binding.gyp` without being asked. */
const quiet = (folder, scripts) => {
  const { scripts: own = {}, gypfile } = json(`${folder}package.json`);
  for (const script of scripts) if (own[script]) problems.push(`${folder}package.json: script ${script}`);
  if (gypfile || existsSync(`${ROOT}${folder}binding.gyp`))
    problems.push(`${folder}: a build by node-gyp at installation`);
};

/** Every package of the registry has its hash; with the setting of .npmrc only packages from elsewhere say where they come from. */
const npmLock = () => {
  const entries = Object.entries(json('package-lock.json').packages).filter(([path]) => path !== '');
  for (const [path, entry] of entries) {
    if (entry.resolved) problems.push(`package-lock.json: ${path} is not from the registry, but ${entry.resolved}`);
    else if (!/^sha512-/.test(entry.integrity ?? '')) problems.push(`package-lock.json: ${path} has no SHA-512`);
    if (entry.dev) continue;
    if (entry.hasInstallScript)
      problems.push(`package-lock.json: ${path} is published with us and has an install script`);
    // The lock file repeats what the registry says; what lies here is the package itself.
    if (existsSync(`${ROOT}${path}/package.json`)) quiet(`${path}/`, AT_INSTALL.slice(0, 3));
  }
  return entries.length;
};

const ownPackages = () => {
  const folders = ['', ...names('npm').map((name) => `npm/${name}/`)];
  for (const folder of folders) quiet(folder, AT_INSTALL);
  return folders.length;
};

const cargoLock = () => {
  const field = (block, key) => new RegExp(`^${key} = "(.*)"$`, 'm').exec(block)?.[1];
  const members = new Set(names('crates').map((name) => field(text(`crates/${name}/Cargo.toml`), 'name')));
  const blocks = text('Cargo.lock').split('[[package]]').slice(1);
  for (const block of blocks) {
    const [name, source] = [field(block, 'name'), field(block, 'source')];
    if (source === undefined && members.has(name)) continue;
    if (source !== CRATES_IO)
      problems.push(`Cargo.lock: ${name} is not from crates.io, but ${source ?? 'a path outside crates/'}`);
    else if (!/^[0-9a-f]{64}$/.test(field(block, 'checksum') ?? ''))
      problems.push(`Cargo.lock: ${name} has no checksum`);
  }
  return blocks.length;
};

/** A tag can be moved to other code. GitHub's own actions may go by tag, since GitHub runs the jobs anyway. */
const actions = () => {
  let uses = 0;
  for (const file of names('.github/workflows')) {
    for (const [i, line] of text(`.github/workflows/${file}`).split('\n').entries()) {
      if (!/^[^#]*\buses\s*:/.test(line)) continue;
      const [, action, version] = /^\s*(?:- )?uses: ([^\s'"#]+)(?: # (\S.*))?$/.exec(line) ?? [];
      uses += 1;
      const problem = (what) => problems.push(`.github/workflows/${file}:${i + 1}: ${what}`);
      if (!action) problem(`write it as "uses: NAME@SHA # VERSION": ${line.trim()}`);
      else if (action.startsWith('./') || /^actions\/[\w-]+@v\d+$/.test(action)) continue;
      else if (!/@[0-9a-f]{40}$/.test(action)) problem(`${action} is not pinned to a full commit SHA`);
      else if (!version) problem(`${action} lacks a comment with its version`);
    }
  }
  return uses;
};

const counts = `${npmLock()} npm packages, ${ownPackages()} of our own, ${cargoLock()} crates and ${actions()} uses of actions checked`;
for (const problem of problems) console.log(problem);
console.log(`${counts}, ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;
