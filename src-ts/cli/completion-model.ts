/** What can be completed, read from the commands themselves: a new flag needs no second mention. */
import type { Command, Option } from 'commander';
import { isOptionName, OPTION_TABLE } from '../config/option-table.js';
import { ERROR_CODES } from '../errors/explain.js';
import { OPTION_VALUES } from './option-values.js';

/** Flags whose value is a path, by the name that commander has for them. */
const PATHS: Readonly<Record<string, 'file' | 'folder'>> = {
  config: 'file',
  calibration: 'file',
  model: 'file',
  path: 'folder',
  outputPath: 'folder',
};

export interface CompletedOption {
  /** `-o`, `--output-path`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** null where the flag stands alone. */
  readonly value: CompletedValue | null;
}

export interface CompletedValue {
  readonly name: string;
  /** Every word that is taken; empty where it is a number, a name or a path. */
  readonly words: readonly string[];
  /** Whether several words may be joined by commas. */
  readonly isList: boolean;
  readonly path: 'file' | 'folder' | null;
}

export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletedOption[];
  /** Words for the argument; empty where it is a path. */
  readonly words: readonly string[];
  readonly takesPath: boolean;
}

export interface CompletedProgram {
  readonly name: string;
  readonly commands: readonly CompletedCommand[];
  /** Without a command. */
  readonly options: readonly CompletedOption[];
}

export function completedProgram(program: Command): CompletedProgram {
  return {
    name: program.name(),
    commands: program.commands.map((command) => {
      const words = command.registeredArguments.flatMap((argument): readonly string[] =>
        argument.name() === 'CODE' ? ERROR_CODES : (argument.argChoices ?? []),
      );
      const takesPath = command.registeredArguments.length > 0 && words.length === 0;
      return {
        name: command.name(),
        description: command.description(),
        options: optionsOf(command),
        words,
        takesPath,
      };
    }),
    options: optionsOf(program),
  };
}

function optionsOf(command: Command): CompletedOption[] {
  // The help flag is one that commander adds by itself.
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({
      flags: [option.short, option.long].filter((flag) => flag !== undefined),
      description: option.description,
      value: option.required || option.optional ? completedValue(option) : null,
    }));
}

function completedValue(option: Option): CompletedValue {
  const name = option.attributeName();
  const words = option.argChoices ?? (isOptionName(name) ? OPTION_VALUES[name] : undefined) ?? [];
  const isList = isOptionName(name) && OPTION_TABLE[name].text === 'one-or-list';
  return { name: /<([^>]+)>/.exec(option.flags)?.[1] ?? 'value', words, isList, path: PATHS[name] ?? null };
}
