// The folders under npm/ must say what package.json says: one per target, the same version, engines and licence.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NOTICES, PLATFORMS } from './platforms.mjs';

const read = (path) => JSON.parse(readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8'));

const problems = [];
const same = (what, found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    problems.push(`${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`);
};

const root = read('package.json');
const folders = [];
for (const target of root.napi.targets) {
  const platform = PLATFORMS[target];
  if (!platform) {
    problems.push(`${target}: unknown to this script`);
    continue;
  }
  const { folder, os, cpu, libc } = platform;
  folders.push(folder);
  const own = read(`npm/${folder}/package.json`);
  const file = `${root.napi.binaryName}.${folder}.node`;
  same(`${folder} name`, own.name, `${root.napi.packageName}-${folder}`);
  for (const key of ['version', 'license', 'engines']) same(`${folder} ${key}`, own[key], root[key]);
  same(`${folder} platform`, [own.os, own.cpu, own.libc], [[os], [cpu], libc && [libc]]);
  same(`${folder} file`, [own.main, own.files], [file, [file, NOTICES]]);
}
same('npm/', readdirSync(fileURLToPath(new URL('../npm', import.meta.url))).sort(), folders.sort());
for (const problem of problems) console.log(problem);
console.log(`${folders.length} platform packages checked, ${problems.length} problems`);
process.exitCode = problems.length > 0 ? 1 : 0;
