/** Each example, run as its first lines say: it tries itself, prints what it did and exits with 0. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT, runCli } from './helpers/cli.js';
import { runIn } from './helpers/docs-run.js';
import { shellCommands } from './helpers/docs-shell.js';

const EXAMPLES = path.join(ROOT, 'examples');

/** What each must have printed: the end of its work, not its start. */
const PRINTED: Readonly<Record<string, readonly RegExp[]>> = {
  'demo.mjs': [/^ +8 .*\n +4 .*\n +2 .*/m, /from_pretrained\("examples\/out\/digits-dit-int4\/transformer"\)/],
  'in-memory.mjs': [/^8 bits asymmetric: .*decoded here 0\.9999/m, /^2 bits symmetric:/m],
  'ci-check.mjs': [/^54 layers compared, 0 below; 2\.\d\d times smaller/m],
  'worker-pool.mjs': [
    /^int8: .*times smaller/m,
    /^aborted: AbortError AQ_ABORTED \(no longer wanted\)/m,
    /^missing: ModelNotFoundError AQ_MODEL_NOT_FOUND/m,
  ],
  'service.mjs': [
    /^bitWidth 3: application\/problem\+json/m,
    /"code": "AQ_INVALID_BIT_WIDTH"/,
    /^job 1 .*[1-9]\d* progress events, then done/m,
    /^job 5 .*then aborted: 410 AQ_ABORTED/m,
  ],
  'opentelemetry.mjs': [
    /^event job\.start /m,
    /^event fallback .* from 2 to 4 bits/m,
    /^event callback-error /m,
    /arrow_quant\.jobs\{outcome=succeeded\} 1/,
    /arrow_quant\.jobs\{outcome=failed\} 2/,
    /arrow_quant\.jobs\{outcome=aborted\} 1/,
    /arrow_quant\.errors\{code=AQ_VALIDATION_FAILED,phase=quantize\} 1/,
    /arrow_quant\.time_to_failure\.sum\{code=AQ_MODEL_NOT_FOUND\} \d+ ms/,
  ],
};

// One after the other: they write into the same folder, and each job takes all cores.
describe('scripts', () => {
  test.for(Object.keys(PRINTED))('%s', { timeout: 300_000 }, async (name) => {
    const ran = await runIn(ROOT, process.execPath, [path.join(EXAMPLES, name)]);
    expect(ran.code, ran.stdout + ran.stderr).toBe(0);
    for (const line of PRINTED[name] ?? []) expect(ran.stdout.replaceAll('\\', '/')).toMatch(line);
  });

  test('ci-check.mjs fails below its threshold', async () => {
    const ran = await runIn(ROOT, process.execPath, [path.join(EXAMPLES, 'ci-check.mjs'), '0.9999']);
    expect(ran).toMatchObject({ code: 1, stdout: expect.stringMatching(/^below 0\.9999: transformer_blocks/m) });
  });

  const interop = process.env.AQ_INTEROP_PYTHON;
  test.skipIf(interop === undefined)(
    'capture_calibration.py, and a job that uses its file',
    { timeout: 300_000 },
    async () => {
      const file = path.join(EXAMPLES, 'out', 'digits-dit-calibration.safetensors');
      const ran = await runIn(ROOT, interop as string, [path.join(EXAMPLES, 'capture_calibration.py'), file]);
      expect(ran.code, ran.stderr).toBe(0);
      const { code, stdout } = await runCli(['calibrate', file, '--model', path.join(EXAMPLES, 'digits-dit')]);
      expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('timestep 0 to 900') });
    },
  );
});

test('README.md lists each example, and no other', () => {
  const isExample = (name: string) => /\.(mjs|py|yml)$/.test(name) && !name.startsWith('service/');
  const files = ['', 'ci'].flatMap((folder) =>
    readdirSync(path.join(EXAMPLES, folder)).map((name) => path.posix.join(folder, name)),
  );
  const table = [...readFileSync(path.join(EXAMPLES, 'README.md'), 'utf8').matchAll(/^\| \[([^\]]+)\]\(\1\) \|/gm)];
  expect(table.map(([, name]) => name).sort()).toEqual(files.filter(isExample).sort());
  const scripts = files.filter((name) => name.endsWith('.mjs'));
  expect(Object.keys(PRINTED).sort()).toEqual(scripts.sort());
});

test('the commands of ci/quantize.yml work', { timeout: 300_000 }, async () => {
  const { env, jobs } = parse(readFileSync(path.join(EXAMPLES, 'ci/quantize.yml'), 'utf8'));
  const own = { MODEL: path.join(EXAMPLES, 'digits-dit'), OUTPUT: path.join(EXAMPLES, 'out/ci-workflow') };
  const steps: readonly { readonly run?: string }[] = jobs.quantize.steps;
  const lines = steps
    .flatMap(({ run }) => run ?? [])
    .map((line) => line.replace(/"\$([A-Z_]+)"/g, (_, name) => `'${{ ...env, ...own }[name as 'MODEL']}'`));
  const ran: string[] = [];
  for (const { words } of lines.flatMap(shellCommands)) {
    const [program, name = '', ...args] = words;
    if (program === 'npx' && name === 'arrow-quant') {
      const overwrite = args[0] === 'quantize' ? ['--overwrite'] : [];
      const { code, stderr } = await runCli([...args, ...overwrite]);
      expect(code, `${words.join(' ')}\n${stderr}`).toBe(0);
      ran.push(args[0] as string);
    } else if (program === 'node') {
      const script = path.join(EXAMPLES, path.basename(name));
      expect(await runIn(ROOT, process.execPath, [script, ...args])).toMatchObject({ code: 0 });
      ran.push(path.basename(name));
    } else {
      expect(words.join(' ')).toBe('npm install --no-save arrow-quant');
    }
  }
  expect(ran).toEqual(['doctor', 'quantize', 'validate', 'ci-check.mjs']);
});
