// The models the checks run on. The flux-like folder is made anew: random weights need no place in the repository.

import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

export const TRAINED = {
  'digits-dit': root('examples/digits-dit'),
  'digits-unet': root('testdata/digits-unet'),
  'verses-dllm': root('testdata/verses-dllm'),
};

/** A FLUX-shaped folder of 5 M parameters in 4 shards, with every kind of layer of the real one. */
export async function makeFluxLike(python, folder) {
  const sizes = ['--hidden', '256', '--context', '512', '--double', '1', '--single', '2', '--shard-mb', '2.8'];
  await promisify(execFile)(python, [root('bench/flux_like.py'), folder, ...sizes]);
  const shards = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  if (shards.length !== 4)
    throw new Error(`the flux-like folder has ${shards.length} shards, not 4: adjust --shard-mb`);
  return folder;
}

/** Small models of many families; their names, in the order of the folder. */
export async function makeFamilies(python, folder) {
  await promisify(execFile)(python, [root('interop/families.py'), folder]);
  return (await readdir(folder)).sort();
}
