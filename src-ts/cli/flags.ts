/** The options of the table as flags, and what was given as flags, environment and file as one set of options. */
import { type Command, Option } from 'commander';
import { checkOptions, type Entry, mergeEntries, optionPlace } from '../config/entries.js';
import { readEnvironment } from '../config/environment.js';
import { IssueList, type IssueSink, type Problem } from '../config/issues.js';
import { OPTION_TABLE, type OptionName } from '../config/option-table.js';
import { parseOptionText } from '../config/parse-text.js';
import { readPath } from '../config/paths.js';
import { Place } from '../config/place.js';
import { readYamlFile } from '../config/yaml-file.js';
import type { ConfigIssue } from '../errors/details.js';
import { displayName } from '../errors/text.js';
import { suggestValue } from './option-values.js';

/** Flags that are no options of the table. */
export interface CommonFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly color?: 'always' | 'never' | 'auto';
  readonly progress?: boolean;
  readonly config?: string;
  readonly outputPath?: string;
}

/** Adds to refused words what they may have been meant to be. */
class SuggestingSink implements IssueSink {
  readonly #issues: IssueSink;
  readonly #name: OptionName;
  readonly #written: string;

  constructor(issues: IssueSink, name: OptionName, written: string) {
    this.#issues = issues;
    this.#name = name;
    this.#written = written;
  }

  get empty(): boolean {
    return this.#issues.empty;
  }

  add(path: string, source: ConfigIssue['source'], problem: Problem): void {
    const question = suggestValue(this.#name, this.#written);
    if (question === undefined) {
      this.#issues.add(path, source, problem);
      return;
    }
    const message = `Expected ${problem.expected} for ${path} but received ${displayName(this.#written)}. ${question}`;
    this.#issues.add(path, source, { ...problem, message, hint: `${question} ${problem.hint ?? ''}`.trimEnd() });
  }
}

/** `bitWidth` is `--bit-width`. */
function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What stands behind a flag in the help, where "name" or the kind of number does not say it. */
const VALUES: Readonly<Partial<Record<OptionName, string>>> = {
  calibration: 'file',
  partition: 'i/n',
  layout: 'names',
  components: 'names',
  skipLayers: 'names',
  layerBitWidths: 'name=bits',
};

type Entries = ReturnType<typeof mergeEntries>;

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
      const option = new Option(`${flag} <${VALUES[name] ?? (text === 'string' ? 'name' : text)}>`, help);
      // A repeated list goes on where the last one ended.
      command.addOption(
        isMany
          ? option.argParser((value, previous) => (previous === undefined ? value : `${previous},${value}`))
          : option,
      );
    }
  }
}

const OUTPUT_GROUP = 'What is shown:';

/** Adds the folder that a command makes. */
export function addOutputFlag(command: Command): void {
  command.option('-o, --output-path <folder>', 'folder to make; required');
}

/** The folder to make; leaving it out is a problem among others. */
function readOutputPath({ outputPath }: CommonFlags, issues: IssueList): string | undefined {
  if (outputPath !== undefined) return outputPath;
  const place = new Place(issues, '--output-path', 'cli', 'Name the folder to make with -o.');
  return place.refuse('a path', undefined, { received: 'nothing' });
}

/**
 * The options and the folder of a command that writes one; all problems are told at once.
 *
 * @param check - notes what else is wrong
 */
export function readWriting(
  command: string,
  flags: CommonFlags & Readonly<Record<string, unknown>>,
  names: readonly OptionName[],
  check: (entries: Entries, issues: IssueList) => void = () => undefined,
): { readonly entries: Entries; readonly outputPath: string } {
  const issues = new IssueList();
  const entries = readFlags(flags, names, issues);
  check(entries, issues);
  const outputPath = readOutputPath(flags, issues);
  const call = { operation: `arrow-quant ${command}`, startedAt: performance.now(), callSite: undefined };
  issues.throwIfAny(call);
  if (outputPath === undefined) throw issues.toError(call);
  return { entries, outputPath };
}

/** Adds the flags every command has. */
export function addCommonFlags(command: Command): void {
  command
    .optionsGroup(OUTPUT_GROUP)
    .option('--json', 'one line of JSON on stdout, nothing else')
    .option('--quiet', 'no progress and no warnings')
    .option('--verbose', 'errors with stack and causes')
    .addOption(
      new Option('--color <when>', 'when text is coloured').choices(['always', 'never', 'auto']).default('auto'),
    );
}

/** Adds the file that options may come from. */
export function addConfigFlag(command: Command): void {
  command.option('--config <file>', 'YAML file with options; a flag wins over a variable, a variable over the file');
}

/** Adds the flags of commands that run a job. */
export function addJobFlags(command: Command): void {
  addConfigFlag(command);
  command
    .optionsGroup(OUTPUT_GROUP)
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
  const placeOf = (name: string) => {
    const written = flags[name];
    const sink = typeof written === 'string' ? new SuggestingSink(issues, name as OptionName, written) : issues;
    return new Place(sink, flagOf(name), 'cli');
  };
  const own = checkOptions(values, 'call', placeOf, names);
  const env = readEnvironment(process.env, issues, names);
  const path = flags.config === undefined ? undefined : readPath(flags.config, new Place(issues, '--config', 'cli'));
  const file = path === undefined ? new Map<OptionName, Entry>() : readYamlFile(path, issues);
  const merged = mergeEntries([own, env, file], optionPlace(issues, 'cli', flagOf));
  return new Map([...merged].filter(([name]) => names.includes(name)));
}
