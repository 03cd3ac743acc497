// Writes what a platform package must say of the Rust crates in its addon: node scripts/third-party-notices.mjs [TARGET]
//
// The file is arrow-quant.<platform>.notices.txt beside the addon, TARGET (this machine's when left out) one of package.json's. Crates are
// those that cargo resolves as normal dependencies of aq-node for the target, without macros, which only run in the compiler. Cargo
// resolves the workspace as one, so a crate or two may be listed that only a test's features bring in.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { hostTarget, PLATFORMS } from './platforms.mjs';

const root = path.resolve(import.meta.dirname, '..');
const ROOT_CRATE = 'aq-node';
const LICENCE_FILE = /(^|\/)((licen[cs]e|copying|copyright|notice|unlicense)([-_.][^/]*)?|licen[cs]es\/[^/]+)$/i;
const SOURCE_FILE = /\.(rs|[ch]|py|json|toml|html)$/i;
// What zstd offers beside BSD. deny.toml allows none of them, so the choice is made.
const NOT_CHOSEN = /^\s*GNU (Lesser |Affero )?General Public License/i;

const STANDARD_LIBRARY = {
  title: "Rust's standard library",
  license: 'MIT OR Apache-2.0',
  repository: 'https://github.com/rust-lang/rust',
  authors: ['The Rust Project Contributors'],
  texts: [],
};

/** Equal texts are to be found equal, whatever line ends they were packed with. */
const tidy = (text) => text.replace(/\r\n?/g, '\n').replace(/[ \t]+$/gm, '').replace(/^\n+|\n+$/g, '');
const ours = (name) => tidy(readFileSync(path.join(root, name), 'utf8'));
const byCodeUnits = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function linkedPackages(target) {
  const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', target];
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'] };
  const { packages, resolve } = JSON.parse(execFileSync('cargo', args, options));
  const packageOf = new Map(packages.map((one) => [one.id, one]));
  const nodeOf = new Map(resolve.nodes.map((node) => [node.id, node]));
  const isMacro = (id) => packageOf.get(id).targets.some(({ kind }) => kind.includes('proc-macro'));
  const linked = new Set([packages.find(({ name, source }) => name === ROOT_CRATE && source === null).id]);
  // A set that grows while it is walked: what is added is visited too.
  for (const id of linked)
    for (const { pkg, dep_kinds: kinds } of nodeOf.get(id).deps)
      if (kinds.some(({ kind }) => kind === null) && !isMacro(pkg)) linked.add(pkg);
  return [...linked].map((id) => packageOf.get(id)).filter(({ source }) => source !== null);
}

function describe({ name, version, license, repository, authors, manifest_path: manifest }) {
  const folder = path.dirname(manifest);
  const files = readdirSync(folder, { recursive: true }).map((file) => file.replaceAll('\\', '/'));
  const texts = files
    .filter((file) => LICENCE_FILE.test(file) && !SOURCE_FILE.test(file))
    .sort(byCodeUnits)
    .map((file) => ({ file, text: tidy(readFileSync(path.join(folder, file), 'utf8')) }))
    .filter(({ text }) => text !== '' && !NOT_CHOSEN.test(text));
  return { title: `${name} ${version}`, license, repository, authors, texts };
}

/** The texts of licences that a crate names and does not hold; ours are the same but for whose they are. */
function standardTexts({ title, license, authors }) {
  const names = (license ?? '').split(/ OR | AND |\//);
  return names.map((name) => {
    if (name === 'Apache-2.0') return { file: name, text: ours('LICENSE-APACHE') };
    if (name !== 'MIT') throw new Error(`${title} holds no licence text, and this script has none for ${license}`);
    const holders = authors.map((author) => author.replace(/ <.*>$/, '')).join(', ');
    return { file: name, text: ours('LICENSE-MIT').replace(/^Copyright .*$/m, () => `Copyright (c) ${holders}`) };
  });
}

function render(target, parts) {
  const groups = new Map();
  for (const part of parts)
    for (const { file, text } of part.texts.length > 0 ? part.texts : standardTexts(part))
      groups.set(text, [...(groups.get(text) ?? []), `${part.title}: ${file}`]);
  const list = parts.map(({ title, license, repository }) => [title, license, repository].filter(Boolean).join(', '));
  const texts = [...groups].map(([text, users]) => `${'='.repeat(80)}\n${users.join('\n')}\n${'-'.repeat(80)}\n\n${text}\n`);
  return `Third-party notices

The addon for ${target} is arrow-quant's own, MIT OR Apache-2.0, and holds besides:

${list.join('\n')}

Their licence texts follow, equal ones once. Where a licence has no text in the crate, it is the usual one with the crate's authors.

${texts.join('\n')}`;
}

const [target = hostTarget(), ...rest] = process.argv.slice(2);
if (rest.length > 0) throw new Error('usage: node scripts/third-party-notices.mjs [TARGET]');
if (target === undefined) {
  // Whoever builds for another system than those of package.json packs nothing.
  console.log('no notices: no platform package is for this machine');
} else {
  if (!Object.hasOwn(PLATFORMS, target)) throw new Error(`no platform package is for ${target}`);
  const parts = linkedPackages(target).map(describe);
  parts.push(STANDARD_LIBRARY);
  parts.sort((a, b) => byCodeUnits(a.title, b.title));
  const file = `arrow-quant.${PLATFORMS[target].folder}.notices.txt`;
  writeFileSync(path.join(root, file), render(target, parts));
  console.log(`${file}: ${parts.length} parts`);
}
