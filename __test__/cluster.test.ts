/** The recipes of examples/cluster, as far as they go without Slurm, Kubernetes and Ray. The try.sh scripts there run two of them for real. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { CLI, ROOT, runCli } from './helpers/cli.js';
import { type Ran, runIn } from './helpers/docs-run.js';
import { tempDir } from './helpers/temp.js';
import { hashes, listing } from './helpers/tree.js';

const CLUSTER = path.join(ROOT, 'examples/cluster');
const MODEL = path.join(ROOT, 'examples/digits-dit');
const OPTIONS = ['--bit-width', '8'];
const files = readdirSync(CLUSTER, { recursive: true, encoding: 'utf8' });
const manifestOf = (folder: string) => readFileSync(path.join(folder, 'arrow-quant.json'), 'utf8');

async function starts(command: string, args: readonly string[]): Promise<boolean> {
  const ran = await runIn(ROOT, command, args).catch(() => undefined);
  return ran?.code === 0;
}
const hasBash = process.platform !== 'win32' && (await starts('bash', ['--version']));
const hasPython = await starts('python3', ['-c', '']);

/** The clone's command line under a path with a space, in the quotes that a shell needs. */
function quotedCli(folder: string): string {
  const script = path.join(folder, 'the command');
  writeFileSync(script, `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`);
  chmodSync(script, 0o755);
  return `'${script}'`;
}

function expectSuccess(ran: Ran): Ran {
  expect(ran.code, ran.stdout + ran.stderr).toBe(0);
  return ran;
}

async function expectSingleRun(folder: string, joined: string): Promise<void> {
  const single = path.join(folder, 'single');
  expect((await runCli(['quantize', MODEL, '-o', single, ...OPTIONS])).code).toBe(0);
  expect(listing(joined)).toEqual(listing(single));
  expect(hashes(joined)).toEqual(hashes(single));
  expect(manifestOf(joined)).toBe(manifestOf(single));
}

describe.skipIf(!hasBash)('shell scripts', () => {
  const scripts = files.filter((name) => /\.(sh|sbatch)$/.test(name));
  test.for(scripts)('%s parses', async (name) => {
    expectSuccess(await runIn(ROOT, 'bash', ['-n', path.join(CLUSTER, name)]));
  });
});

test.skipIf(!hasPython)('Python compiles', async () => {
  const scripts = files.filter((name) => name.endsWith('.py')).map((name) => path.join(CLUSTER, name));
  expect(scripts).not.toEqual([]);
  const env = { PYTHONPYCACHEPREFIX: tempDir() };
  expectSuccess(await runIn(ROOT, 'python3', ['-m', 'py_compile', ...scripts], env));
});

describe.skipIf(!hasBash)('Slurm', () => {
  const script = (name: string) => path.join(CLUSTER, 'slurm', name);

  /** A task of the array as Slurm would start it. Without scontrol a failed one is not queued again. */
  const task = (folder: string, number: number, args: readonly string[], env: Readonly<Record<string, string>>) =>
    runIn(folder, 'bash', [script('quantize.sbatch'), ...args], {
      SLURM_ARRAY_JOB_ID: '7',
      SLURM_ARRAY_TASK_ID: `${number}`,
      SLURM_CPUS_PER_TASK: '1',
      ...env,
    });

  test('two tasks and the merge are a single run', async () => {
    const folder = tempDir();
    const env = { AQ_CLI: quotedCli(folder) };
    const shares = path.join(folder, 'a model.shares');
    for (const number of [1, 2]) {
      const ran = expectSuccess(await task(folder, number, [MODEL, shares, '2', ...OPTIONS], env));
      expect(ran.stdout).toContain(`share ${number}/2, attempt 1 on `);
    }
    const again = expectSuccess(
      await task(folder, 2, [MODEL, shares, '2', ...OPTIONS], { ...env, SLURM_RESTART_COUNT: '1' }),
    );
    expect(again.stdout).toMatch(/^share 2\/2, attempt 2 on .*\nshare 2\/2 is there\n$/);

    const joined = path.join(folder, 'a model');
    expectSuccess(await runIn(folder, 'bash', [script('merge.sbatch'), MODEL, shares, '2', joined], env));
    await expectSingleRun(folder, joined);
  });

  test.for([
    { name: 'no model', command: undefined, code: 20, requeued: false },
    { name: 'killed', command: 'kill -KILL $$', code: 137, requeued: true },
  ])('$name: $code, queued again: $requeued', async ({ command, code, requeued }) => {
    const folder = tempDir();
    const stub = (name: string, body: string) => {
      writeFileSync(path.join(folder, name), `#!/bin/sh\n${body}\n`);
      chmodSync(path.join(folder, name), 0o755);
    };
    // Slurm ends the attempt; here it is the wait for that which is cut short.
    stub('scontrol', `echo "$@" >'${path.join(folder, 'asked')}'`);
    stub('sleep', 'exit 0');
    if (command !== undefined) stub('the command', command);
    const cli = command === undefined ? quotedCli(folder) : `'${path.join(folder, 'the command')}'`;
    const env = { AQ_CLI: cli, PATH: `${folder}${path.delimiter}${process.env.PATH}` };
    const args = [path.join(folder, 'none'), path.join(folder, 'shares'), '2'];
    expect(await task(folder, 2, args, env)).toMatchObject({ code });
    const asked = path.join(folder, 'asked');
    expect(existsSync(asked) ? readFileSync(asked, 'utf8') : undefined).toBe(requeued ? 'requeue 7_2\n' : undefined);
    const last = await task(folder, 2, args, { ...env, SLURM_RESTART_COUNT: '3', PATH: `${process.env.PATH}` });
    expect(last).toMatchObject({ code });
  });
});

describe('Kubernetes', () => {
  const read = (name: string) => parse(readFileSync(path.join(CLUSTER, 'kubernetes', name), 'utf8'));
  const [shares, merge] = [read('quantize.yaml'), read('merge.yaml')];
  const containerOf = (job: typeof shares) => job.spec.template.spec.containers[0];
  const variableOf = (job: typeof shares, name: string) =>
    containerOf(job).env.find((variable: { readonly name: string }) => variable.name === name)?.value;

  test('an indexed job that retries each share, and one that joins what it made', () => {
    for (const job of [shares, merge]) {
      expect(job).toMatchObject({ apiVersion: 'batch/v1', kind: 'Job' });
      const { volumes, restartPolicy } = job.spec.template.spec;
      expect(restartPolicy).toBe('Never'); // what a failure policy wants
      expect(containerOf(job).resources.limits.memory).toMatch(/^\d+Gi$/);
      expect(containerOf(job).volumeMounts[0].name).toBe(volumes[0].name);
      expect(volumes[0].persistentVolumeClaim.claimName).toBeTypeOf('string');
      const named = job.spec.podFailurePolicy.rules.flatMap((rule: { onExitCodes?: { containerName: string } }) =>
        rule.onExitCodes ? [rule.onExitCodes.containerName] : [],
      );
      expect(named).toEqual([containerOf(job).name]);
    }
    expect(shares.spec).toMatchObject({ completionMode: 'Indexed', backoffLimitPerIndex: expect.any(Number) });
    expect(variableOf(shares, 'SHARES')).toBe(`${shares.spec.completions}`);
    for (const name of ['MODEL', 'OUT', 'SHARES', 'AQ_CLI']) {
      expect(variableOf(shares, name)).toBeTypeOf('string');
      expect(variableOf(merge, name)).toBe(variableOf(shares, name));
    }
  });

  test('the share is the index and one', () => {
    const script: string = containerOf(shares).command[2];
    expect(script).toContain('number=$((JOB_COMPLETION_INDEX + 1))\n');
    expect(script).toContain('share="$OUT.shares/$number"\n');
    expect(script).toContain('--partition "$number/$SHARES"');
  });

  test.skipIf(!hasBash)('the commands of its pods make a single run', async () => {
    const folder = tempDir();
    const bin = path.join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(path.join(bin, 'arrow-quant'), `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`);
    chmodSync(path.join(bin, 'arrow-quant'), 0o755);
    const joined = path.join(folder, 'a model');
    const pod = (job: typeof shares, args: readonly string[], more: Readonly<Record<string, string>> = {}) => {
      const [program, ...words] = containerOf(job).command;
      const own = { MODEL, OUT: joined, SHARES: '2', AQ_CLI: variableOf(job, 'AQ_CLI') };
      const env = { ...own, PATH: `${bin}${path.delimiter}${process.env.PATH}`, ...more };
      return runIn(folder, program, [...words, ...args], env);
    };
    for (const index of ['0', '1', '1']) expectSuccess(await pod(shares, OPTIONS, { JOB_COMPLETION_INDEX: index }));
    expectSuccess(await pod(merge, []));
    await expectSingleRun(folder, joined);
  });
});
