/** The options of the table as flags, and what was given as flags, environment and file as one set of options. */
import { type Command, Option } from 'commander';
import { checkOptions, type Entry, mergeEntries, optionPlace } from '../config/entries.js';
import { readEnvironment } from '../config/environment.js';
import type { IssueList } from '../config/issues.js';
import { OPTION_TABLE, type OptionName } from '../config/option-table.js';
import { parseOptionText } from '../config/parse-text.js';
import { readPath } from '../config/paths.js';
import { Place } from '../config/place.js';
import { readYamlFile } from '../config/yaml-file.js';

/** Flags that are no options of the table. */
export interface CommonFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly color?: 'always' | 'never' | 'auto';
  readonly progress?: boolean;
  readonly config?: string;
}

/** `bitWidth` is `--bit-width`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Adds a flag for each option, in the order given. */
export function addOptionFlags(command: Command, names: readonly OptionName[]): void {
  for (const name of names) {
    const { text, help } = OPTION_TABLE[name];
    const flag = flagOf(name);
    if (text === 'boolean') {
      command.addOption(new Option(flag, help));
      command.addOption(new Option(`--no-${flag.slice(2)}`, `not ${flag}`));
    } else if (name === 'deploymentProfile') {
      command.addOption(new Option('--profile, --deployment-profile <name>', help));
    } else {
      const isMany = text === 'list' || text === 'one-or-list' || text === 'widths';
      const option = new Option(`${flag} <${isMany ? 'list' : text}>`, help);
      // A repeated list goes on where the last one ended.
      command.addOption(
        isMany
          ? option.argParser((value, previous) => (previous === undefined ? value : `${previous},${value}`))
          : option,
      );
    }
  }
}

/** Adds the flags every command has. */
export function addCommonFlags(command: Command): void {
  command
    .option('--json', 'one line of JSON on stdout, nothing else')
    .option('--quiet', 'no progress and no warnings')
    .option('--verbose', 'errors with stack and causes')
    .addOption(
      new Option('--color <when>', 'always, never or auto').choices(['always', 'never', 'auto']).default('auto'),
    );
}

/** Adds the flags of commands that run a job. */
export function addJobFlags(command: Command): void {
  command
    .option('--config <file>', 'YAML file with options')
    .option('--progress', 'show progress, as JSON lines on stderr with --json')
    .option('--no-progress', 'show no progress');
}

/** Options of a command from its flags, the environment and its option file, strongest first. */
export function readFlags(
  flags: Readonly<Record<string, unknown>> & CommonFlags,
  names: readonly OptionName[],
  issues: IssueList,
): Map<OptionName, Entry> {
  const values = new Map<string, unknown>();
  for (const name of names) {
    const given = flags[name];
    if (given !== undefined) values.set(name, typeof given === 'string' ? parseOptionText(name, given) : given);
  }
  const own = checkOptions(values, 'call', optionPlace(issues, 'cli', flagOf), names);
  const env = readEnvironment(process.env, issues, names);
  const path = flags.config === undefined ? undefined : readPath(flags.config, new Place(issues, '--config', 'cli'));
  const file = path === undefined ? new Map<OptionName, Entry>() : readYamlFile(path, issues);
  const merged = mergeEntries([own, env, file], optionPlace(issues, 'cli', flagOf));
  return new Map([...merged].filter(([name]) => names.includes(name)));
}
