/** Completion scripts, asked by the shells themselves. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPTION_VALUES } from '../src-ts/cli/option-values.js';
import { checkOptions } from '../src-ts/config/entries.js';
import { IssueList } from '../src-ts/config/issues.js';
import { OPTION_NAMES, OPTION_TABLE, type OptionName } from '../src-ts/config/option-table.js';
import { parseOptionText } from '../src-ts/config/parse-text.js';
import { Place } from '../src-ts/config/place.js';
import { ERROR_CODES } from '../src-ts/index.js';
import { runCli } from './helpers/cli.js';
import { tempDir } from './helpers/temp.js';

const LAYOUTS = ['auto', 'sdnq', 'compressed-tensors', 'gguf', 'comfyui', 'parquet', 'plain'];
const COMMANDS = [
  'quantize',
  'plan',
  'inspect',
  'calibrate',
  'validate',
  'compare',
  'export',
  'merge',
  'explain',
  'doctor',
  'completion',
];

const has = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0;
const SHELLS = { bash: has('bash'), zsh: has('zsh'), fish: has('fish') };
for (const [shell, found] of Object.entries(SHELLS)) {
  if (!found) process.stderr.write(`skipped: completion in ${shell}, which is not installed\n`);
}

const scripts: Record<string, string> = {};
const folder = mkdtempSync(path.join(tmpdir(), 'arrow-quant-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  for (const shell of Object.keys(SHELLS)) {
    const { code, stdout } = await runCli(['completion', shell]);
    expect(code).toBe(0);
    scripts[shell] = path.join(folder, shell);
    writeFileSync(scripts[shell], stdout);
  }
});

test('needs no addon', async () => {
  const broken = path.join(tempDir(), 'addon.node');
  writeFileSync(broken, 'no shared library');
  const { code, stderr } = await runCli(['completion', 'bash'], { env: { NAPI_RS_NATIVE_LIBRARY_PATH: broken } });
  expect([code, stderr]).toEqual([0, '']);
});
test('--json holds the script', async () => {
  const { stdout } = await runCli(['completion', 'fish', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, report: { shell: 'fish' } });
});
test('an unknown shell', async () => {
  const { code, stdout, stderr } = await runCli(['completion', 'bsh']);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain('Did you mean bash?');
});

describe('words of options', () => {
  const accepts = (name: OptionName, text: string) => {
    const issues = new IssueList();
    checkOptions(new Map([[name, parseOptionText(name, text)]]), 'call', (one) => new Place(issues, one));
    return issues.empty;
  };
  test.each(Object.entries(OPTION_VALUES).flatMap(([name, words]) => words.map((word) => [name as OptionName, word])))(
    '%s takes %s',
    (name, word) => expect(accepts(name as OptionName, word as string)).toBe(true),
  );
  test('no option that takes words is forgotten', () => {
    const others = OPTION_NAMES.filter((name) => OPTION_TABLE[name].text === 'string' && !(name in OPTION_VALUES));
    expect(others).toEqual(['calibration', 'partition']);
  });
});

const asked: [words: string[], found: (replies: string[]) => void][] = [
  [['quan'], (replies) => expect(replies).toEqual(['quantize'])],
  [[''], (replies) => expect(replies).toEqual(expect.arrayContaining(COMMANDS))],
  [['quantize', '--bit-w'], (replies) => expect(replies).toEqual(['--bit-width'])],
  [['quantize', '--bit-width', ''], (replies) => expect(replies).toEqual(['2', '4', '8'])],
  [['quantize', '--layout', ''], (replies) => expect([...replies].sort()).toEqual([...LAYOUTS].sort())],
  [['quantize', 'm', '--layout', 'sdnq,g'], (replies) => expect(replies).toEqual(['sdnq,gguf'])],
  [['quantize', '--profile', ''], (replies) => expect([...replies].sort()).toEqual(['cloud', 'edge', 'local'])],
  [['quantize', '--method', 'g'], (replies) => expect(replies).toEqual(['gptq'])],
  [['doctor', '--color', ''], (replies) => expect([...replies].sort()).toEqual(['always', 'auto', 'never'])],
  [['explain', 'AQ_'], (replies) => expect(replies).toEqual(ERROR_CODES)],
  [['completion', ''], (replies) => expect([...replies].sort()).toEqual(['bash', 'fish', 'zsh'])],
  [['validate', 'a', 'b', '--min'], (replies) => expect(replies).toEqual(['--min-accuracy'])],
];

describe.skipIf(!SHELLS.bash)('bash', () => {
  const ask = (words: readonly string[]) => {
    const line = `set -u; source "$1"; source "$1"; shift; COMP_WORDS=(arrow-quant "$@"); COMP_CWORD=$#
_arrow_quant; [ "\${#COMPREPLY[@]}" = 0 ] || printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', line, 'bash', scripts.bash ?? '', ...words], {
      encoding: 'utf8',
      cwd: tempDir(),
    });
    expect([status, stderr]).toEqual([0, '']);
    return stdout.split('\n').filter((one) => one !== '');
  };
  test.each(asked)('arrow-quant %j', (words, found) => found(ask(words)));
  test('--flag=value, which bash takes for three words', () => {
    expect(ask(['quantize', '--layout', '=', 's'])).toEqual(['sdnq']);
    expect(ask(['quantize', '--bit-width', '='])).toEqual(['2', '4', '8']);
  });
  test('paths and numbers are left to bash and to the user', () => {
    expect(ask(['quantize', ''])).toEqual([]);
    expect(ask(['quantize', 'm', '-o', ''])).toEqual([]);
    expect(ask(['quantize', '--num-threads', ''])).toEqual([]);
  });
  test('what is typed is never run', () => {
    const mark = path.join(tempDir(), 'ran');
    expect(ask(['quantize', `$(touch ${mark})`, '--bit-w'])).toEqual(['--bit-width']);
    expect(spawnSync('ls', [mark]).status).not.toBe(0);
  });
});

describe.skipIf(!SHELLS.fish)('fish', () => {
  const ask = (words: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(
      'fish',
      [
        '--no-config',
        '-c',
        'source $argv[1]; complete -C $argv[2]',
        scripts.fish ?? '',
        ['arrow-quant', ...words].join(' '),
      ],
      { encoding: 'utf8', cwd: tempDir(), env: { ...process.env, HOME: tempDir() } },
    );
    expect([status, stderr]).toEqual([0, '']);
    return stdout
      .split('\n')
      .map((one) => one.replace(/\t.*/, ''))
      .filter((one) => one !== '');
  };
  test.each(asked)('arrow-quant %j', (words, found) => found(ask(words)));
});

describe.skipIf(!SHELLS.zsh)('zsh', () => {
  /** zsh completes at a terminal only: one of its own, where the list of matches is asked for and read. */
  const ask = (line: string) => {
    const inner = `zmodload zsh/zpty
zpty -b z zsh -f -i
read_until() { local out='' piece; while zpty -r z piece "*$1*"; do out+=$piece; [[ $out == *$1* ]] && break; done; print -r -- "$out" }
zpty -w z "PS1='' PROMPT_EOL_MARK='' TERM=dumb; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; LISTMAX=10000; source $1; bindkey '^I' list-choices; print REA''DY"
read_until READY > /dev/null
zpty -w -n z "$2"$'\\t'
sleep 1.5
zpty -w -n z $'\\x15'"print DO''NE"$'\\n'
read_until DONE`;
    const { status, stdout } = spawnSync('zsh', ['-f', '-c', inner, 'zsh', scripts.zsh ?? '', line], {
      encoding: 'utf8',
      cwd: tempDir(),
      timeout: 30_000,
    });
    expect(status).toBe(0);
    return stdout;
  };
  test.each([
    ['arrow-quant quan', /quantize/],
    ['arrow-quant quantize --bit-w', /--bit-width/],
    ['arrow-quant quantize --bit-width ', /2\s+4\s+8/],
    ['arrow-quant quantize --layout ', /compressed-tensors/],
    ['arrow-quant explain AQ_INV', /AQ_INVALID_BIT_WIDTH/],
    ['arrow-quant completion ', /bash\s+fish\s+zsh/],
  ])('%s', (line, found) => expect(ask(line)).toMatch(found));
});
