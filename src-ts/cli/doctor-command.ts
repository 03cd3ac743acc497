/** `arrow-quant doctor` */
import type { Command } from 'commander';
import { diagnose } from '../diagnose/diagnose.js';
import type { Status, StatusCheck } from '../diagnose/status.js';
import { addCommonFlags, type CommonFlags } from './flags.js';
import type { Session } from './main.js';
import { type Line, Output } from './output.js';
import { megabytes, renderFacts } from './table.js';
import { wrap } from './terminal-text.js';

const EXAMPLES = `
Examples:
  $ arrow-quant doctor
  $ arrow-quant doctor --path /mnt/models
  $ arrow-quant doctor --json
`;

/** As for `AQ_NATIVE_LOAD`, the only thing that no call works without. */
const UNUSABLE = 1;

/** Columns of status and name before what is told. */
const INDENT = 14;

interface DoctorFlags extends CommonFlags {
  readonly path?: string;
}

export function addDoctor(program: Command, session: Session): void {
  const command = program
    .command('doctor')
    .description('tell whether the installation and the machine are fit for work')
    .option('--path <folder>', 'where there must be space; the working directory when left out');
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action(async (flags: DoctorFlags) => {
    session.output = new Output(flags);
    const status = await diagnose({ path: flags.path });
    if (status.checks.some((check) => check.status === 'fail')) session.exitCode = UNUSABLE;
    session.output.result(status, (width) => describe(status, width));
  });
}

function describe({ version, node, platform, native, cpu, memory, disk, checks }: Status, width: number): Line[] {
  const { total, available, limit } = memory;
  const limited = limit === null ? '' : `, limit ${megabytes(limit / 1e6)}`;
  return [
    ...renderFacts(
      [
        ['version', version],
        ['node', `${node}, ${platform}`],
        ['addon', native.loaded ? `${native.version}` : 'not loaded'],
        ['cpu', `${cpu.cores} core(s)${cpu.simd === null ? '' : `, ${cpu.simd}`}`],
        ['memory', `${megabytes(available / 1e6)} of ${megabytes(total / 1e6)} available${limited}`],
        ['disk', disk === null ? 'unknown' : `${megabytes(disk.free / 1e6)} free for ${disk.path}`],
      ],
      width,
    ),
    '',
    ...checks.flatMap((check) => checkLines(check, width)),
  ];
}

function checkLines({ name, status, message, hint }: StatusCheck, width: number): Line[] {
  const indent = ' '.repeat(INDENT);
  const [first = '', ...more] = wrap(message, width - INDENT);
  const line = `${status.padEnd(6)}${name.padEnd(8)}${first}`;
  const rest = [...more, ...(hint === null ? [] : wrap(hint, width - INDENT))].map((text) => indent + text);
  return [status === 'ok' ? line : { style: status === 'warn' ? 'yellow' : 'red', text: line }, ...rest];
}
