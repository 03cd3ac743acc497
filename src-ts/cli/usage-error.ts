/** A command line that does not parse, as the same kind of error as a wrong option. */
import type { Command, CommanderError } from 'commander';
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import type { ConfigurationError } from '../errors/classes.js';
import { didYouMean } from './option-values.js';

const EXPECTED: Readonly<Record<string, string>> = {
  'commander.unknownOption': 'a known option',
  'commander.unknownCommand': 'a known command',
  'commander.missingArgument': 'to be given',
  'commander.optionMissingArgument': 'a value',
  'commander.excessArguments': 'no further arguments',
};

/** What is wrong, in the words of an option's problem. */
interface Usage {
  readonly subject: string;
  readonly expected: string;
  readonly received: string;
  readonly hint: string;
}

/** Where to read on: in the help of the command, where one was named. */
function helpFor({ args, commands }: Command): string {
  const command = commands.find((one) => one.name() === args[0]);
  return command === undefined
    ? 'arrow-quant --help lists the commands.'
    : `arrow-quant ${command.name()} --help lists arguments and options.`;
}

/** From what commander found. */
export function usageError(error: CommanderError, program: Command): ConfigurationError {
  const [sentence = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const question = rest.join(' ').replace(/[()]/g, '').trim();
  const { subject, expected, received, hint } = usageOf(error, sentence, question, program);
  const issues = new IssueList();
  new Place(issues, subject, 'cli').refuse(expected, undefined, {
    received,
    message: sentence,
    hint,
  });
  return issues.toError({ operation: 'arrow-quant', startedAt: performance.now(), callSite: undefined });
}

function usageOf({ code }: CommanderError, sentence: string, question: string, program: Command): Usage {
  const help = question === '' ? helpFor(program) : question;
  const named = /'([^']+)'/.exec(sentence)?.[1] ?? 'arguments';
  // "-o, --output-path <folder>" is one option with its ways to be written.
  const subject = /^-.*(--[\w-]+) <[^>]*>$|^(--[\w-]+) <[^>]*>$/.exec(named)?.slice(1).find(Boolean) ?? named;
  const choice =
    /argument '(.*)' is invalid\. Allowed choices are (.+)\.$|value '(.*)' is invalid for argument '(.*)'\. Allowed choices are (.+)\.$/s.exec(
      sentence,
    );
  if (code === 'commander.invalidArgument' && choice !== null) {
    const written = choice[1] ?? choice[3] ?? '';
    const known = (choice[2] ?? choice[5] ?? '').split(', ');
    const hint = didYouMean(written, known) ?? help;
    const expected = `${known.slice(0, -1).join(', ')} or ${known.at(-1)}`;
    return { subject: choice[4] ?? subject, expected, received: `'${written}'`, hint };
  }
  const received = /missing/i.test(code) ? 'nothing' : `'${subject}'`;
  const usage = { subject, expected: EXPECTED[code] ?? 'a valid command line', received, hint: help };
  if (code === 'commander.excessArguments') {
    const [, most = '', given = ''] = /Expected (\d+) arguments? but got (\d+)/.exec(sentence) ?? [];
    return { ...usage, subject: 'arguments', expected: `at most ${most} for ${subject}`, received: given };
  }
  if (code !== 'commander.unknownOption') return usage;
  const flag = subject.replace(/=.*$/s, '');
  const owners = program.commands.filter(({ options }) =>
    options.some(({ long, short }) => long === flag || short === flag),
  );
  if (owners.length === 0) return usage;
  return {
    ...usage,
    hint: `${flag} is an option of ${owners.map((command) => command.name()).join(', ')}. ${helpFor(program)}`,
  };
}
