/** A driver without a device: NVIDIA's functions over this machine's memory, with the kernels compiled for it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { ROOT } from './cli.js';
import { tempDir } from './temp.js';

const SOURCE = path.join(ROOT, 'crates/cuda/tests/driver/driver.cpp');
// As the tests in Rust compile it; products and sums must not be contracted.
const FLAGS = ['-std=c++17', '-O2', '-ffp-contract=off', '-DAQ_HOST', '-shared', '-fPIC', '-fvisibility=hidden'];

let folder: string | undefined;

/** Variables under which a process finds it; what `settings` can be stands in its source. */
export function driver(settings: Readonly<Record<string, string>> = {}): Record<string, string> {
  folder ??= compiled();
  return { LD_LIBRARY_PATH: folder, ...settings };
}

function compiled(): string {
  const made = tempDir();
  const args = [...FLAGS, '-Wno-unknown-pragmas', SOURCE, '-o', path.join(made, 'libcuda.so')];
  const { status, stderr, error } = spawnSync(process.env.CXX ?? 'c++', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`no driver without a C++ compiler: ${error?.message ?? stderr}`);
  return made;
}
