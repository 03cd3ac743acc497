// The workspace's examples, built as the tests are. With the same packages selected cargo finds the same features of every dependency and builds
// none a second time; `-p aq-engine` alone would build nearly all anew.
//
//   node scripts/example.mjs NAME [ARGUMENT...]   builds and runs one

import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(import.meta.dirname, '..');

/** Builds an example and gives its path; `features`: of the workspace's crates, such as aq-engine/fault. */
export function example(name, features = '') {
  const cargo = ['build', '--locked', '--quiet', '--workspace', '--profile', 'ci', '--example', name];
  if (features !== '') cargo.push('--features', features);
  execFileSync('cargo', cargo, { cwd: root, stdio: 'inherit' });
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return path.resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', `ci/examples/${name}${suffix}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, ...rest] = process.argv.slice(2);
  const { status, error } = spawnSync(example(name), rest, { stdio: 'inherit' });
  if (error) throw error;
  process.exitCode = status ?? 1;
}
