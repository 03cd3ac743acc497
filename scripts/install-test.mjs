// Installs arrow-quant as a user would and uses it: npm run test:install, after npm run build. No network, no registry, no Rust.
//
// The main package and this machine's platform package are packed as the release packs them and installed by npm, offline, into an empty
// project in a path with spaces. There the README's first script runs, and the package is used from ESM, CommonJS, TypeScript and `npx`;
// all again where nothing may write to what was installed; and once without the platform package. Prints a line for each check.
//
//   --keep   leave the temporary folder behind and say where it is

import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fillCache, packOurs } from './install-packages.mjs';
import { Checks, cleanEnvironment, ensure, execute, node, npm, npx, succeeded } from './install-run.mjs';
import { COMMONJS, COMPILERS, OPEN, quickStart, TYPESCRIPT, WITHOUT_ADDON } from './install-scripts.mjs';
import { NOTICES } from './platforms.mjs';

/** What a user downloads may weigh, in bytes. */
const MAX_MAIN_PACKED = 300_000;
const MAX_ADDON = 8_000_000;

const root = path.resolve(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const kB = (bytes) => `${(bytes / 1e3).toFixed(0)} kB`;
const MB = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;
const seconds = (value) => `${value.toFixed(2)} s`;

/** Entries of a folder and all below it, with sizes; links are not followed. */
function tree(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) =>
    path.join(entry.parentPath, entry.name),
  );
}
const bytesIn = (folder) =>
  tree(folder).reduce((sum, file) => sum + (lstatSync(file).isFile() ? lstatSync(file).size : 0), 0);

/** An empty project with a model beside it. */
function project(folder) {
  mkdirSync(path.join(folder, 'models'), { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  cpSync(path.join(root, 'examples/digits-dit'), path.join(folder, 'models/digits-dit'), { recursive: true });
  return folder;
}

/** Uses an installed package in every way but TypeScript; the same checks for each kind of install. */
async function use(checks, where, folder, options) {
  const at = { ...options, cwd: folder };
  const out = path.join(folder, `out ${where}`);
  mkdirSync(out, { mode: 0o777 });
  chmodSync(out, 0o777);
  const files = {
    'first.mjs': quickStart('./models/digits-dit', path.join(out, 'first')),
    'required.cjs': COMMONJS,
    'open.mjs': OPEN,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);

  let quantizing = 0;
  let opening = 0;
  await checks.check(`${where}: the README's first script`, async () => {
    const result = succeeded(await node(['first.mjs'], at));
    quantizing = result.seconds;
    ensure(/times smaller, mean cosine 0\.9/.test(result.stdout), result.stdout);
    return seconds(quantizing);
  });
  await checks.check(`${where}: openQuantizedModel on its output`, async () => {
    const result = succeeded(await node(['open.mjs', path.join(out, 'first')], at));
    opening = result.seconds;
    return `${result.stdout.trim()}; ${seconds(opening)}`;
  });
  await checks.check(`${where}: CommonJS require()`, async () => {
    const { stdout } = succeeded(await node(['required.cjs'], at));
    ensure(stdout === `${version} true\n`, stdout);
  });
  await checks.check(`${where}: npx arrow-quant --version`, async () => {
    const { stdout } = succeeded(await npx(['arrow-quant', '--version'], at));
    ensure(stdout.trim() === version, stdout);
  });
  await checks.check(`${where}: npx arrow-quant quantize`, async () => {
    const to = path.join(out, 'by command');
    const args = ['arrow-quant', 'quantize', 'models/digits-dit', '-o', to, '--bit-width', '4', '--json'];
    const { stdout } = succeeded(await npx(args, at));
    ensure(existsSync(path.join(to, 'transformer')), 'no transformer in the output');
    return `${JSON.parse(stdout).report.compressionRatio.toFixed(2)} times smaller`;
  });
  await checks.check(`${where}: npx arrow-quant doctor --json`, async () => {
    const { native } = JSON.parse(succeeded(await npx(['arrow-quant', 'doctor', '--json'], at)).stdout).report;
    ensure(native.loaded && native.version === version, JSON.stringify(native));
  });
  return { quantizing, opening };
}

async function typescript(checks, folder, options) {
  const at = { ...options, cwd: folder };
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
  for (const { title, file, options: flags } of COMPILERS) {
    await checks.check(`TypeScript, ${title}`, async () => {
      writeFileSync(path.join(folder, file), TYPESCRIPT);
      const strict = [
        '--strict',
        '--exactOptionalPropertyTypes',
        '--noUncheckedIndexedAccess',
        '--target',
        'es2022',
        '--types',
        'node',
      ];
      succeeded(await node([tsc, ...strict, ...flags, file], at));
      const script = file.replace(/ts$/, 'js');
      const { stdout } = succeeded(await node([script], at));
      ensure(/^components \d+\n$/.test(stdout), stdout);
    });
  }
}

/** Takes every right to write from a folder, or gives the owner's back. */
function setWritable(folder, writable) {
  const entries = [folder, ...tree(folder)].filter((entry) => !lstatSync(entry).isSymbolicLink());
  for (const entry of entries) {
    const { mode } = lstatSync(entry);
    chmodSync(entry, writable ? mode | 0o200 : mode & ~0o222);
  }
}

/** A read-only install. Rights do not bind root, so as root everything runs as a user without any. */
async function readOnly(checks, folder, temp, options) {
  if (process.getuid === undefined) return checks.leftOut('read-only install', 'this system has no such rights');
  const nobody = process.getuid() === 0;
  const home = path.join(temp, 'home of nobody');
  mkdirSync(home, { mode: 0o777 });
  chmodSync(home, 0o777);
  const env = cleanEnvironment(home, {
    npm_config_offline: 'true',
    npm_config_registry: options.env.npm_config_registry,
  });
  const modules = path.join(folder, 'node_modules');
  setWritable(modules, false);
  try {
    const probe = `const fs = require('fs');
    fs.readFileSync('package.json');
    try { fs.writeFileSync('node_modules/arrow-quant/x', ''); } catch (error) { console.log(error.code); }`;
    const probed = await node(['-e', probe], { env, cwd: folder, nobody });
    if (probed.code !== 0) return checks.leftOut('read-only install', 'another user cannot reach the temporary folder');
    await checks.check(`read-only: nothing can be written${nobody ? ', as a user without rights' : ''}`, () => {
      ensure(
        /^(EACCES|EPERM|EROFS)\n$/.test(probed.stdout),
        `a file could be written into node_modules ${probed.stdout}`,
      );
    });
    await use(checks, 'read-only', folder, { env, nobody });
  } finally {
    setWritable(modules, true);
  }
}

/** The command must end with help: what cannot be loaded and what to do, in words, with nothing left behind. */
async function helps(folder, options) {
  const at = { ...options, cwd: folder };
  const { stdout, stderr } = succeeded(await npx(['arrow-quant', 'quantize', 'models/digits-dit', '-o', 'out'], at), 1);
  ensure(stderr.includes('AQ_NATIVE_LOAD') && /reinstall without omitting optional dependencies/i.test(stderr), stderr);
  ensure(!/^\s+at |node:internal/m.test(stdout + stderr), `a stack trace:\n${stdout}${stderr}`);
  ensure(!existsSync(path.join(folder, 'out')), 'an output was left behind');
  const { report } = JSON.parse(succeeded(await npx(['arrow-quant', 'doctor', '--json'], at), 1).stdout);
  ensure(report.native.loaded === false, 'doctor says that the addon is loaded');
  return stderr;
}

/** The main package alone: what is missing must be said, and nothing but calls may fail. */
async function withoutPlatform(checks, folder, { main, platform }, options) {
  const at = { ...options, cwd: folder };
  succeeded(await npm(['install', '--omit=optional', main.tarball], at));
  let said = '';
  await checks.check('without the platform package: the command and doctor help', async () => {
    said = await helps(folder, options);
  });
  await checks.check('without the platform package: the message names it', () => {
    ensure(said.includes(platform.name), said);
  });
  await checks.check('without the platform package: --version and explain work', async () => {
    ensure(succeeded(await npx(['arrow-quant', '--version'], at)).stdout.trim() === version, 'wrong version');
    succeeded(await npx(['arrow-quant', 'explain', 'AQ_NATIVE_LOAD'], at));
  });
  await checks.check('without the platform package: importing works, a call rejects with the typed error', async () => {
    writeFileSync(path.join(folder, 'without.mjs'), WITHOUT_ADDON);
    const { stdout } = succeeded(await node(['without.mjs'], at));
    ensure(stdout === 'true AQ_NATIVE_LOAD true 4\n', stdout);
  });
}

/** What npm itself picks when nothing but the main package is named; then that is damaged, as by a broken download. */
async function byName(checks, folder, { main, platform, platforms }, options) {
  const at = { ...options, cwd: folder };
  const scope = path.join(folder, 'node_modules/@arrow-quant');
  await checks.check(`npm install arrow-quant takes one of ${platforms.length} platform packages`, async () => {
    succeeded(await npm(['install', `${main.name}@${version}`], at));
    const installed = readdirSync(scope);
    ensure(installed.length === 1 && `@arrow-quant/${installed[0]}` === platform.name, installed.join(', '));
    succeeded(await npx(['arrow-quant', 'doctor', '--json'], at));
    return installed[0];
  });
  await checks.check('a damaged addon: the command helps, and says what the system said', async () => {
    writeFileSync(path.join(folder, 'node_modules', platform.name, platform.manifest.main), 'no addon');
    const said = await helps(folder, options);
    ensure(!/Cannot find module/.test(said), said);
  });
}

async function sizes(checks, { main, platform, addonBytes }) {
  await checks.check(`main package packed, at most ${kB(MAX_MAIN_PACKED)}`, () => {
    const measured = `${kB(main.size)} packed, ${kB(main.unpackedSize)} unpacked, ${main.files.length} files`;
    ensure(main.size <= MAX_MAIN_PACKED, measured);
    return measured;
  });
  await checks.check(`addon, at most ${MB(MAX_ADDON)}`, () => {
    const measured = `${MB(addonBytes)}, its package ${MB(platform.size)} packed`;
    ensure(addonBytes <= MAX_ADDON, measured);
    return measured;
  });
  await checks.check('what is in the packages', () => {
    const foreign = main.files.filter(({ path: file }) =>
      /\.(node|map|tsbuildinfo)$|(?<!\.d)\.ts$|^(?!dist\/).*\//.test(file),
    );
    ensure(foreign.length === 0, `the main package has ${foreign.map(({ path: file }) => file).join(', ')}`);
    const held = platform.files.map(({ path: file }) => file).sort();
    const wanted = ['README.md', 'package.json', NOTICES, platform.manifest.main].sort();
    ensure(held.join() === wanted.join(), `the platform package has ${held.join(', ')}`);
    const optional = Object.keys(main.manifest.optionalDependencies ?? {});
    return `${optional.length} optional dependencies`;
  });
}

/** Whether Bun runs it, where there is one. */
async function bun(checks, folder, options) {
  const at = { ...options, cwd: folder };
  const found = await execute('bun', ['--version'], at);
  if (found.code !== 0) return checks.leftOut('Bun', 'there is no `bun` on the PATH');
  await checks.check(`Bun ${found.stdout.trim()}: the README's first script`, async () => {
    writeFileSync(path.join(folder, 'bun.mjs'), quickStart('./models/digits-dit', './out bun'));
    const { stdout } = succeeded(await execute('bun', ['bun.mjs'], at));
    ensure(/times smaller, mean cosine 0\.9/.test(stdout), stdout);
  });
}

/** Whether a bundle with the package inside runs away from node_modules, with nothing but the addon beside it. */
async function bundle(checks, folder, platform, temp, options) {
  const rolldown = path.join(root, 'node_modules/rolldown/bin/cli.mjs');
  if (!existsSync(rolldown)) return checks.leftOut('a bundle', 'vitest brought no Rolldown');
  await checks.check("a bundle by Rolldown, with the addon beside it: the README's first script", async () => {
    const at = path.join(temp, 'bundled');
    mkdirSync(at);
    writeFileSync(path.join(folder, 'bundle.mjs'), quickStart('./digits-dit', './out'));
    const flags = ['--platform', 'node', '--no-codeSplitting', '--file', path.join(at, 'bundle.mjs')];
    succeeded(await node([rolldown, 'bundle.mjs', ...flags], { ...options, cwd: folder }));
    const { main: addon } = platform.manifest;
    cpSync(path.join(folder, 'node_modules', platform.name, addon), path.join(at, addon));
    cpSync(path.join(root, 'examples/digits-dit'), path.join(at, 'digits-dit'), { recursive: true });
    const { stdout } = succeeded(await node(['bundle.mjs'], { ...options, cwd: at }));
    ensure(/times smaller, mean cosine 0\.9/.test(stdout), stdout);
    return MB(statSync(path.join(at, 'bundle.mjs')).size);
  });
}

async function main(checks, temp) {
  chmodSync(temp, 0o755);
  const home = path.join(temp, 'home');
  mkdirSync(home);
  const online = { cwd: temp, env: cleanEnvironment(home) };
  const ours = await packOurs(temp, online);
  await sizes(checks, ours);
  const { registry, count } = await fillCache([ours.main, ...ours.platforms], temp, online);
  console.log(`      ${count} other packages in npm's cache, from node_modules; offline from here`);
  const options = { env: { ...online.env, npm_config_offline: 'true', npm_config_registry: registry } };

  const folder = project(path.join(temp, 'a project with spaces'));
  let installing = 0;
  await checks.check('npm install of both tarballs, offline', async () => {
    const args = ['install', ours.main.tarball, ours.platform.tarball];
    installing = succeeded(await npm(args, { ...options, cwd: folder })).seconds;
    const modules = path.join(folder, 'node_modules');
    const entries = JSON.parse(readFileSync(path.join(modules, '.package-lock.json'), 'utf8')).packages;
    return `${seconds(installing)}, ${Object.keys(entries).length} packages, ${MB(bytesIn(modules))}`;
  });
  if (installing === 0) return;
  await checks.check('the platform package holds the licences of what its addon links', () => {
    const text = readFileSync(path.join(folder, 'node_modules', ours.platform.name, NOTICES), 'utf8');
    for (const part of [/^napi \d/m, /^arrow-array \d/m, /^zstd-sys \d/m, /Apache License/, /BSD License/])
      ensure(part.test(text), `${NOTICES} lacks ${part}`);
    return `${kB(Buffer.byteLength(text))}`;
  });
  const { quantizing, opening } = await use(checks, 'installed', folder, options);
  console.log(
    `      from npm install to an opened model: ${seconds(installing + quantizing + opening)} ` +
      `(install ${seconds(installing)}, quantize ${seconds(quantizing)}, open ${seconds(opening)})`,
  );
  await bundle(checks, folder, ours.platform, temp, options);
  await bun(checks, folder, options);
  succeeded(await npm(['install', '--save-dev', '@types/node'], { ...options, cwd: folder }));
  await typescript(checks, folder, options);
  await readOnly(checks, folder, temp, options);
  await withoutPlatform(checks, project(path.join(temp, 'without the platform package')), ours, options);
  await byName(checks, project(path.join(temp, 'by name')), ours, options);
}

const checks = new Checks();
const temp = mkdtempSync(path.join(tmpdir(), 'arrow-quant install '));
try {
  await checks.check('everything ran to its end', () => main(checks, temp));
} finally {
  if (process.argv.includes('--keep')) console.log(`left behind: ${temp}`);
  else rmSync(temp, { recursive: true, force: true, maxRetries: 3 });
}
checks.end();
