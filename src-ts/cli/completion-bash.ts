/** The completion script for bash, from 3.2 (macOS) on, without the package bash-completion. */
import type { CompletedOption, CompletedProgram } from './completion-model.js';

export function bashScript({ name, commands, options }: CompletedProgram): string {
  const flags = (list: readonly CompletedOption[]) => list.flatMap((option) => option.flags).join(' ');
  return `# ${name} completion for bash
_${functionName(name)}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command='' i
  COMPREPLY=()
  # bash takes --flag=value for three words
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for (( i = 1; i < COMP_CWORD; i++ )); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then
      command=\${COMP_WORDS[i]}
      break
    fi
  done

  local words='' list='' paths=''
  case "$command $prev" in
${commands.flatMap((command) => command.options.flatMap((option) => valueCase(command.name, option))).join('\n')}
    *)
      case $command in
        '') words='${commands.map((command) => command.name).join(' ')}'; [[ $cur == -* ]] && words='${flags(options)}' ;;
${commands
  .map((command) => {
    const argument = command.takesPath ? 'paths=1' : `words='${command.words.join(' ')}'`;
    return `        ${command.name}) if [[ $cur == -* ]]; then words='${flags(command.options)}'; else ${argument}; fi ;;`;
  })
  .join('\n')}
      esac ;;
  esac

  # an empty reply leaves the word to the completion of paths
  [[ -n $paths ]] && return
  type compopt &> /dev/null && compopt +o default +o bashdefault 2> /dev/null
  # a list goes on after its last comma
  local before=''
  if [[ -n $list && $cur == *,* ]]; then
    before=\${cur%,*},
    cur=\${cur##*,}
  fi
  local word
  for word in $words; do
    [[ $word == "$cur"* ]] && COMPREPLY+=("$before$word")
  done
}
complete -o bashdefault -o default -F _${functionName(name)} ${name}`;
}

function functionName(name: string): string {
  return name.replace(/\W/g, '_');
}

function valueCase(command: string, { flags, value }: CompletedOption): string[] {
  if (value === null) return [];
  const patterns = flags.map((flag) => `'${command} ${flag}'`).join('|');
  const list = value.isList ? '; list=1' : '';
  return [`    ${patterns}) ${value.path === null ? `words='${value.words.join(' ')}'${list}` : 'paths=1'} ;;`];
}
