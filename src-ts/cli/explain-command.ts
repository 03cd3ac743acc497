/** `arrow-quant explain CODE` */
import type { Command } from 'commander';
import type { ErrorCode } from '../errors/details.js';
import { ERROR_CODES, type ErrorExplanation, explainError } from '../errors/explain.js';
import { addCommonFlags, type CommonFlags } from './flags.js';
import type { Session } from './main.js';
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
    const explanation = explainError(code as ErrorCode);
    session.output.result(explanation, () => describe(explanation));
  });
}

function describe({ code, title, className, category, severity, kind, retryable, hint }: ErrorExplanation): string[] {
  return renderFacts([
    ['code', code],
    ['title', title],
    ['class', className],
    ['kind', `${category}, ${severity} severity, ${kind}${retryable ? ', may succeed when repeated' : ''}`],
    ['try', hint],
  ]);
}
