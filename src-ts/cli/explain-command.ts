/** `arrow-quant explain CODE` */
import type { Command } from 'commander';
import { IssueList } from '../config/issues.js';
import { Place } from '../config/place.js';
import type { ErrorCode } from '../errors/details.js';
import { ERROR_CODES, type ErrorExplanation, explainError } from '../errors/explain.js';
import { addCommonFlags, type CommonFlags } from './flags.js';
import type { Session } from './main.js';
import { didYouMean } from './option-values.js';
import { Output } from './output.js';
import { renderFacts } from './table.js';

const EXAMPLES = `
Examples:
  $ arrow-quant explain AQ_VALIDATION_FAILED
  $ arrow-quant explain AQ_IO --json

Codes:
${ERROR_CODES.map((code) => `  ${code}`).join('\n')}
`;

export function addExplain(program: Command, session: Session): void {
  const command = program
    .command('explain')
    .description('tell what an error code means and what to do')
    .argument('<CODE>', 'such as AQ_IO');
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action((code: string, flags: CommonFlags) => {
    session.output = new Output(flags);
    const explanation = explainError(knownCode(code));
    session.output.result(explanation, (width) => describe(explanation, width));
  });
}

/** @throws ConfigurationError that names the nearest code, where there is no such one */
function knownCode(written: string): ErrorCode {
  const known = ERROR_CODES.find((code) => code === written);
  if (known !== undefined) return known;
  const upper = written.toUpperCase();
  const question = didYouMean(upper.startsWith('AQ_') ? upper : `AQ_${upper}`, ERROR_CODES);
  const issues = new IssueList();
  const hint = question ?? 'arrow-quant explain --help lists every code.';
  new Place(issues, 'CODE', 'cli', hint).refuse("a code such as 'AQ_IO'", written);
  throw issues.toError({ operation: 'arrow-quant explain', startedAt: performance.now(), callSite: undefined });
}

function describe(explanation: ErrorExplanation, width: number): string[] {
  const { code, title, className, category, severity, kind, retryable, hint } = explanation;
  return renderFacts(
    [
      ['code', code],
      ['title', title],
      ['class', className],
      ['kind', `${category}, ${severity} severity, ${kind}${retryable ? ', may succeed when repeated' : ''}`],
      ['try', hint],
    ],
    width,
  );
}
