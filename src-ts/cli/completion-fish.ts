/** The completion script for fish. */
import type { CompletedCommand, CompletedOption, CompletedProgram, CompletedValue } from './completion-model.js';

export function fishScript({ name, commands, options }: CompletedProgram): string {
  const line = (rest: string) => `complete -c ${name} ${rest}`;
  const names = commands.map((command) => command.name).join(' ');
  const first = `-n 'not __fish_seen_subcommand_from ${names}'`;
  return [
    `# ${name} completion for fish`,
    ...options.flatMap((option) => optionRests(option).map((rest) => line(`${first} ${rest}`))),
    ...commands.map((command) => line(`${first} -f -a ${command.name} -d ${quoted(command.description)}`)),
    ...commands.flatMap((command) => commandRests(command).map(line)),
  ].join('\n');
}

function commandRests({ name, options, words, takesPath }: CompletedCommand): string[] {
  const seen = `-n '__fish_seen_subcommand_from ${name}'`;
  const argument = takesPath ? [] : [words.length === 0 ? '-f' : `-f -a '${words.join(' ')}'`];
  return [...argument, ...options.flatMap(optionRests)].map((rest) => `${seen} ${rest}`);
}

/** One line for each long name: fish takes several, but tells of each beside the others. */
function optionRests({ flags, description, value }: CompletedOption): string[] {
  const short = flags.filter((flag) => !flag.startsWith('--')).map((flag) => `-s ${flag.slice(1)} `);
  const long = flags.filter((flag) => flag.startsWith('--'));
  return long.map((flag, index) => {
    const letters = index === 0 ? short.join('') : '';
    return `${letters}-l ${flag.slice(2)}${value === null ? '' : ` ${valueRest(value)}`} -d ${quoted(description)}`;
  });
}

function valueRest({ words, isList, path }: CompletedValue): string {
  if (path === 'folder') return `-x -a '(__fish_complete_directories)'`;
  if (path === 'file') return '-r -F';
  if (words.length === 0) return '-x';
  return isList ? `-x -a '(__fish_append , ${words.join(' ')})'` : `-x -a '${words.join(' ')}'`;
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
