/** As many threads by default as the process may really run at once: its affinity and the quota of its control group. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { CLI } from './helpers/cli.js';

const run = promisify(execFile);
const leftOut = (why: string) => process.stdout.write(`left out: ${why}\n`);

/** The number that `doctor` tells, in a process started by a shell line that ends with `"$@"`. */
async function cores(shell: string): Promise<number> {
  const { stdout } = await run('sh', ['-c', shell, 'sh', process.execPath, CLI, 'doctor', '--json']);
  return JSON.parse(stdout).report.cpu.cores;
}

/** A control group of one CPU's time, of either version; undefined where this process may not make one. */
function group(): { procs: string; remove: () => void } | undefined {
  const own = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  const of = (controller: string) =>
    own.find((line) => line.split(':')[1]?.split(',').includes(controller))?.split(':')[2];
  const first = of('cpu');
  const base = first === undefined ? `/sys/fs/cgroup${of('') ?? '/'}` : `/sys/fs/cgroup/cpu${first}`;
  const folder = `${base}/arrow-quant-test-${process.pid}`;
  try {
    mkdirSync(folder);
    if (existsSync(`${folder}/cpu.max`)) writeFileSync(`${folder}/cpu.max`, '100000 100000');
    else writeFileSync(`${folder}/cpu.cfs_quota_us`, '100000');
    return { procs: `${folder}/cgroup.procs`, remove: () => rmdirSync(folder) };
  } catch {
    if (existsSync(folder)) rmdirSync(folder);
    return undefined;
  }
}

describe.skipIf(process.platform !== 'linux' || availableParallelism() < 2)('default number of threads', () => {
  test('all that there are', async () => {
    expect(await cores('exec "$@"')).toBe(availableParallelism());
  });

  test('those of the affinity', async () => {
    const { stdout } = await run('sh', ['-c', 'taskset -cp $$ 2>/dev/null || true']);
    const cpu = /: (\d+)/.exec(stdout)?.[1];
    if (cpu === undefined) {
      leftOut('there is no taskset');
      return;
    }
    expect(await cores(`exec taskset -c ${cpu} "$@"`)).toBe(1);
  });

  test('those of the quota', async () => {
    const made = group();
    if (made === undefined) {
      leftOut('no control group can be made');
      return;
    }
    try {
      expect(await cores(`echo $$ > ${made.procs} && exec "$@"`)).toBe(1);
    } finally {
      made.remove();
    }
  });
});
