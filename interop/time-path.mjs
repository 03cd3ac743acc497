// The inputs that the engine computes for layers on the time path, held against what diffusers' own modules take in a forward pass.

import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { example } from '../scripts/example.mjs';

/** As STEPS of time_path.py. */
const EVERY = 111;

/** One check a case, and one that damages of its computed rows are noticed. */
export async function runTimePath({ work, checker, report, wanted }) {
  const cases = (await checker.ask('time_path_cases', {})).filter((name) => wanted(`self-test time path ${name}`));
  if (cases.length === 0) return;
  const program = example('time_inputs');
  for (const name of cases) await checkCase(name, join(work, `time-path-${name}`), program, checker, report);
}

async function checkCase(name, original, program, checker, report) {
  const title = `time path ${name}`;
  try {
    await checker.ask('time_path_make', { name, folder: original });
    const computed = join(original, 'computed.safetensors');
    await promisify(execFile)(program, [original, computed, `${EVERY}`]);
    const r = await checker.ask('time_path', { original, computed });
    const conditions = r.conditions > 1 ? `, ${r.conditions} conditions` : '';
    report(title, r.problems, `${r.layers} layers${conditions}, off by ${r.worst.toFixed(2)} of what is allowed`);
    const unnoticed = r.unnoticed.map((what) => `${what}: not noticed`);
    report(`self-test ${title}`, unnoticed, `${r.damages} kinds of damage are noticed`);
  } catch (error) {
    report(title, [error.message]);
  } finally {
    await rm(original, { recursive: true, force: true });
  }
}
