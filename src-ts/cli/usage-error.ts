/** A command line that does not parse, as the same kind of error as a wrong option. */
import type { CommanderError } from 'commander';
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import type { ConfigurationError } from '../errors/classes.js';

const EXPECTED: Readonly<Record<string, string>> = {
  'commander.unknownOption': 'a known option',
  'commander.unknownCommand': 'a known command',
  'commander.missingArgument': 'to be given',
  'commander.optionMissingArgument': 'a value',
  'commander.excessArguments': 'no further arguments',
};

/** From what commander found. */
export function usageError(error: CommanderError): ConfigurationError {
  const [sentence = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const subject = /'([^']+)'/.exec(sentence)?.[1] ?? 'arguments';
  const question = rest.join(' ').replace(/[()]/g, '').trim();
  const issues = new IssueList();
  new Place(issues, subject, 'cli').refuse(EXPECTED[error.code] ?? 'a valid command line', undefined, {
    received: /missing/i.test(error.code) ? 'nothing' : `'${subject}'`,
    message: sentence,
    hint: question === '' ? 'arrow-quant --help lists commands, arrow-quant COMMAND --help options.' : question,
  });
  return issues.toError({ operation: 'arrow-quant', startedAt: performance.now(), callSite: undefined });
}
