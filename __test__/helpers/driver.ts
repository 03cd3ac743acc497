/** A driver without a device: NVIDIA's functions over this machine's memory, with the kernels compiled for it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { ROOT } from './cli.js';

const SOURCE = path.join(ROOT, 'crates/cuda/tests/driver/driver.cpp');
// As the tests in Rust compile it; products and sums must not be contracted.
const FLAGS = ['-std=c++17', '-O2', '-ffp-contract=off', '-DAQ_HOST', '-shared', '-fPIC', '-fvisibility=hidden'];

/** Compiles it into a folder, where a process with this folder as `LD_LIBRARY_PATH` finds it. */
export function compileDriver(folder: string): void {
  const args = [...FLAGS, '-Wno-unknown-pragmas', SOURCE, '-o', path.join(folder, 'libcuda.so')];
  const { status, stderr, error } = spawnSync(process.env.CXX ?? 'c++', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`no driver without a C++ compiler: ${error?.message ?? stderr}`);
}
