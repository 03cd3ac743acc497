/** The completion script for zsh: to be sourced, or put into a folder of `fpath` as `_arrow-quant`. */
import type { CompletedCommand, CompletedOption, CompletedProgram, CompletedValue } from './completion-model.js';

export function zshScript({ name, commands, options }: CompletedProgram): string {
  const described = commands.map((command) => quoted(`${command.name}:${command.description}`));
  return `#compdef ${name}
# ${name} completion for zsh
_${name}() {
  local state line
  local -A opt_args
  _arguments -C \\
${options.map((option) => `    ${specOf(option)} \\`).join('\n')}
    '1: :->command' '*:: :->rest' && return
  if [[ $state == command ]]; then
    local -a commands=(
${described.map((text) => `      ${text}`).join('\n')}
    )
    _describe -t commands command commands
    return
  fi
  case $line[1] in
${commands.map(commandCase).join('\n')}
  esac
}
# read by source, or by zsh itself the first time that it is needed
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi`;
}

function commandCase({ name, options, words, takesPath }: CompletedCommand): string {
  const rest = takesPath ? `'*: :_files'` : words.length > 0 ? `'1: :(${words.join(' ')})'` : '';
  const specs = [...options.map(specOf), rest].filter((spec) => spec !== '');
  return `    ${name}) _arguments ${specs.map((spec) => `\\\n      ${spec}`).join(' ')} ;;`;
}

function specOf({ flags, description, value }: CompletedOption): string {
  const text = `[${description.replace(/[[\]\\]/g, '\\$&')}]${value === null ? '' : `:${value.name}:${actionOf(value)}`}`;
  const equals = (flag: string) => (value !== null && flag.startsWith('--') ? `${flag}=` : flag);
  const [only] = flags;
  if (flags.length === 1 && only !== undefined) return `${value?.isList ? '\\*' : ''}${equals(only)}${quoted(text)}`;
  return `${quoted(`(${flags.join(' ')})`)}{${flags.map(equals).join(',')}}${quoted(text)}`;
}

function actionOf({ words, isList, path }: CompletedValue): string {
  if (path !== null) return path === 'folder' ? '_files -/' : '_files';
  if (words.length === 0) return ' ';
  return isList ? `_values -s , name ${words.join(' ')}` : `(${words.join(' ')})`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
