// The packages of scripts/install-test.mjs: ours as a release makes them, and the others from node_modules in an npm cache, so that npm
// itself resolves and installs without a registry.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { execute, node, npm, succeeded } from './install-run.mjs';
import { hostTarget, NOTICES, PLATFORMS } from './platforms.mjs';

const root = path.resolve(import.meta.dirname, '..');
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** Packs folders. What npm says of each is returned, with the path of its tarball and its manifest. */
async function pack(folders, to, options) {
  mkdirSync(to, { recursive: true });
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', to, ...folders];
  const packed = JSON.parse(succeeded(await npm(args, options)).stdout);
  return packed.map((entry, at) => ({
    ...entry,
    tarball: path.join(to, entry.filename),
    manifest: readJson(path.join(folders[at], 'package.json')),
  }));
}

/**
 * Packs the main package and all platform packages, after the release's own step that writes optionalDependencies. The
 * host's package has the addon and the notices that were built; those of the others are stubs.
 */
export async function packOurs(temp, options) {
  const host = PLATFORMS[hostTarget()]?.folder;
  if (host === undefined) throw new Error(`no platform package is for ${process.platform}-${process.arch}`);
  const addon = path.join(root, `arrow-quant.${host}.node`);
  const notices = path.join(root, `arrow-quant.${host}.notices.txt`);
  for (const file of [addon, notices, path.join(root, 'dist/index.js')])
    if (!existsSync(file)) throw new Error(`${path.relative(root, file)} is missing: run \`npm run build\` first`);

  const [first] = await pack([root], path.join(temp, 'first'), options);
  // Relative names: a tar that takes `C:` for a host is common on Windows.
  succeeded(await execute('tar', ['-xzf', first.filename], { ...options, cwd: path.join(temp, 'first') }));
  const staged = path.join(temp, 'first/package');
  cpSync(path.join(root, 'npm'), path.join(staged, 'npm'), { recursive: true });
  const folders = readdirSync(path.join(staged, 'npm')).map((name) => path.join(staged, 'npm', name));
  const binaryOf = (folder) => path.join(folder, `arrow-quant.${path.basename(folder)}.node`);
  for (const folder of folders)
    for (const file of [binaryOf(folder), path.join(folder, NOTICES)]) writeFileSync(file, 'a stub');
  const cli = path.join(root, 'node_modules/@napi-rs/cli/dist/cli.js');
  const prepare = ['pre-publish', '-t', 'npm', '--npm-dir', 'npm', '--no-gh-release', '--skip-optional-publish'];
  succeeded(await node([cli, ...prepare], { ...options, cwd: staged }));
  cpSync(addon, binaryOf(path.join(staged, 'npm', host)));
  cpSync(notices, path.join(staged, 'npm', host, NOTICES));

  const [main, ...platforms] = await pack([staged, ...folders], path.join(temp, 'ours'), options);
  const platform = platforms.find(({ name }) => name.endsWith(`-${host}`));
  return { main, platform, platforms, addonBytes: statSync(addon).size };
}

/** Folders of what the main package needs, and of Node's types, as package-lock.json has them. */
function dependencyFolders() {
  const entries = Object.entries(readJson(path.join(root, 'package-lock.json')).packages);
  const types = new Set(['node_modules/@types/node', 'node_modules/undici-types']);
  return entries
    .filter(([name, { dev, optional, peer }]) => types.has(name) || (name !== '' && !dev && !optional && !peer))
    .map(([name]) => path.join(root, name));
}

/** Serves tarballs on the loopback interface, in the form npm asks for. */
async function serve(packages) {
  const tarballs = new Map(packages.map((entry) => [`/-/${entry.filename}`, entry.tarball]));
  const server = createServer((request, response) => {
    const asked = decodeURIComponent(request.url);
    if (tarballs.has(asked)) return response.end(readFileSync(tarballs.get(asked)));
    const versions = packages.filter(({ name }) => `/${name}` === asked);
    if (versions.length === 0) return response.writeHead(404).end();
    const { port } = server.address();
    const described = versions.map(({ version, manifest, integrity, shasum, filename }) => [
      version,
      { ...manifest, dist: { integrity, shasum, tarball: `http://127.0.0.1:${port}/-/${filename}` } },
    ]);
    response.setHeader('content-type', 'application/json');
    const latest = versions[versions.length - 1].version;
    response.end(
      JSON.stringify({ name: asked.slice(1), 'dist-tags': { latest }, versions: Object.fromEntries(described) }),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/**
 * Fills the npm cache of `options.env` with packages. The server it takes them from is gone afterwards, so `npm install --offline` finds
 * them in the cache and nowhere else.
 *
 * @returns the registry address under which the cache has them
 */
export async function fillCache(ours, temp, options) {
  const others = await pack(dependencyFolders(), path.join(temp, 'others'), options);
  const packages = [...others, ...ours];
  const server = await serve(packages);
  const registry = `http://127.0.0.1:${server.address().port}/`;
  try {
    const names = packages.map(({ name, version }) => `${name}@${version}`);
    succeeded(await npm(['cache', 'add', '--registry', registry, ...names], options));
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return { registry, count: others.length };
}
