/** `arrow-quant completion bash|zsh|fish` */
import { Argument, type Command } from 'commander';
import { bashScript } from './completion-bash.js';
import { fishScript } from './completion-fish.js';
import { type CompletedProgram, completedProgram } from './completion-model.js';
import { zshScript } from './completion-zsh.js';
import { addCommonFlags, type CommonFlags } from './flags.js';
import type { Session } from './main.js';
import { Output } from './output.js';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  string,
  (program: CompletedProgram) => string
>;
const EXAMPLES = `
The script completes commands, flags, their values and error codes, and starts nothing while you type. Print it anew after an update.

Examples:
  $ arrow-quant completion bash > ~/.local/share/bash-completion/completions/arrow-quant   # with bash-completion
  $ echo 'source <(arrow-quant completion bash)' >> ~/.bashrc                              # without it
  $ arrow-quant completion zsh > ~/.zfunc/_arrow-quant          # with fpath+=(~/.zfunc) before compinit in ~/.zshrc
  $ echo 'source <(arrow-quant completion zsh)' >> ~/.zshrc     # after compinit
  $ arrow-quant completion fish > ~/.config/fish/completions/arrow-quant.fish
`;

export function addCompletion(program: Command, session: Session): void {
  const command = program
    .command('completion')
    .description('print a script that completes command lines in a shell')
    .addArgument(new Argument('<SHELL>', 'bash, zsh or fish').choices(Object.keys(SCRIPTS)));
  addCommonFlags(command);
  command.addHelpText('after', EXAMPLES).action((shell: keyof typeof SCRIPTS, flags: CommonFlags) => {
    session.output = new Output(flags);
    const script = SCRIPTS[shell](completedProgram(program));
    session.output.result({ shell, script }, () => script.split('\n'));
  });
}
