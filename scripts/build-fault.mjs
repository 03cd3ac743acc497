// Builds the addon with faults on purpose and a simulated device, for the tests in __test__/fault: node scripts/build-fault.mjs
// It goes to target/fault and is never packed.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const library = { darwin: 'libaq_node.dylib', win32: 'aq_node.dll' }[process.platform] ?? 'libaq_node.so';
const target = path.join(root, process.env.CARGO_TARGET_DIR ?? 'target');

// All packages, with an example: then the dependencies are those that the tests were built with.
const selected = ['--workspace', '--lib', '--example', 'quantize_once', '--features', 'aq-node/fault'];
const cargo = ['build', '--locked', '--quiet', ...selected, '--profile', 'ci'];
execFileSync('cargo', cargo, { cwd: root, stdio: 'inherit' });

// The folder of the workspace, wherever cargo builds: the tests look there.
const folder = path.join(root, 'target/fault');
mkdirSync(folder, { recursive: true });
const addon = path.join(folder, 'arrow-quant.node');
// A running process may have the old one open: a new file in its place leaves that alone.
rmSync(addon, { force: true });
copyFileSync(path.join(target, 'ci', library), addon);
