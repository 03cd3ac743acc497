/** Options from `ARROW_QUANT_*`, for callers that ask for them; the library itself never looks. */
import { displayName } from '../errors/text.js';
import { checkOptions, type Entry, optionPlace } from './entries.js';
import type { IssueList } from './issues.js';
import { OPTION_NAMES, type OptionName } from './option-table.js';
import { parseOptionText } from './parse-text.js';
import { suggestName } from './suggest.js';

const PREFIX = 'ARROW_QUANT_';
/** Variables that are read elsewhere and are not options. */
const NOT_OPTIONS = new Set([`${PREFIX}LOG`, `${PREFIX}LOG_FORMAT`, `${PREFIX}SIMD`]);

/** The variable of an option: `bitWidth` is `ARROW_QUANT_BIT_WIDTH`. */
function variableOf(name: string): string {
  return PREFIX + name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

/**
 * Reads and checks the variables that are set; an empty one is set, and is a problem where empty text is none.
 *
 * @param only - the options a command has; variables of other options are left to the commands that have them
 */
export function readEnvironment(
  env: Readonly<NodeJS.ProcessEnv>,
  issues: IssueList,
  only: readonly OptionName[] = OPTION_NAMES,
): Map<OptionName, Entry> {
  const placeOf = optionPlace(issues, 'env', (name) => `env.${name.startsWith(PREFIX) ? name : variableOf(name)}`);
  const values = new Map<string, unknown>();
  const byVariable = new Map(OPTION_NAMES.map((name) => [variableOf(name), name]));
  for (const variable of Object.keys(env).sort()) {
    const text = env[variable];
    if (text === undefined || !variable.startsWith(PREFIX) || NOT_OPTIONS.has(variable)) continue;
    const name = byVariable.get(variable);
    if (name === undefined) refuseVariable(variable, text, placeOf(variable), [...byVariable.keys()]);
    else if (only.includes(name)) values.set(name, parseOptionText(name, text));
  }
  return checkOptions(values, 'env', placeOf);
}

function refuseVariable(
  variable: string,
  text: string,
  place: ReturnType<ReturnType<typeof optionPlace>>,
  known: readonly string[],
): void {
  const nearest = suggestName(variable, known);
  place.refuse('a known option', text, {
    message: `Unknown variable ${displayName(variable)}${nearest === undefined ? '.' : `; did you mean ${nearest}?`}`,
    hint: nearest === undefined ? 'Unset it, or correct its name.' : `Did you mean ${nearest}?`,
  });
}
