/** The command line: the public functions, their options as flags, and an exit code for each kind of failure. */
import { Command, CommanderError } from 'commander';
import { version } from '../generated/version.js';
import { addCalibrate } from './calibrate-command.js';
import { addCompare } from './compare-command.js';
import { addCompletion } from './completion-command.js';
import { addDoctor } from './doctor-command.js';
import { exitCodeOf } from './exit-codes.js';
import { addExplain } from './explain-command.js';
import { addExport } from './export-command.js';
import { addInspect } from './inspect-command.js';
import { addMerge } from './merge-command.js';
import { Output } from './output.js';
import { addPlan } from './plan-command.js';
import { addQuantize } from './quantize-command.js';
import { usageError } from './usage-error.js';
import { addValidate } from './validate-command.js';

/** What a command needs to run, and where it leaves its exit code. */
export interface Session {
  /** Made when a command starts; before that the arguments are not known. */
  output: Output;
  exitCode: number;
}

const EXAMPLES = `
Examples:
  $ arrow-quant inspect ./FLUX.1-dev
  $ arrow-quant quantize ./FLUX.1-dev -o ./FLUX.1-dev-int4 --bit-width 4
  $ arrow-quant calibrate calibration.safetensors --model ./FLUX.1-dev
  $ arrow-quant validate ./FLUX.1-dev ./FLUX.1-dev-int4
  $ arrow-quant export ./FLUX.1-dev-int4 -o ./FLUX.1-dev-decoded --layout plain
  $ arrow-quant explain AQ_VALIDATION_FAILED
  $ arrow-quant doctor
  $ source <(arrow-quant completion bash)

Every option can also be set by an environment variable (ARROW_QUANT_BIT_WIDTH=4) or in a YAML file (--config FILE).
`;

/**
 * Runs one command line.
 *
 * @param args - arguments without the program's own name
 * @returns the exit code
 */
export async function main(args: readonly string[]): Promise<number> {
  const session: Session = { output: Output.before(args), exitCode: 0 };
  Output.endQuietlyOnClosedPipe();
  const program = createProgram(session);
  try {
    await program.parseAsync(args, { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      if (error.code === 'commander.help') return 2; // no command: the help was the answer
    }
    const failure = error instanceof CommanderError ? usageError(error, program) : error;
    session.output.failure(failure);
    return exitCodeOf(failure);
  }
}

function createProgram(session: Session): Command {
  const program = new Command('arrow-quant')
    .description('Quantize diffusion models to 2, 4 or 8 bits.')
    .version(version)
    .showSuggestionAfterError(true)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    // Usage errors are rendered like all others.
    .configureOutput({ outputError: () => undefined });
  const commands = [
    addQuantize,
    addPlan,
    addInspect,
    addCalibrate,
    addValidate,
    addCompare,
    addExport,
    addMerge,
    addExplain,
    addDoctor,
    addCompletion,
  ];
  for (const add of commands) add(program, session);
  return program;
}
