/** So much of a shell's language as the docs use, so that their commands run on systems without one. */

export interface ShellCommand {
  /** As it stands in the block, comments and line ends removed. */
  readonly raw: string;
  readonly env: Readonly<Record<string, string>>;
  readonly words: readonly string[];
  /** File that takes what it prints. */
  readonly stdout: string | undefined;
}

// A word: quoted pieces and others; or what stands between words.
const TOKEN =
  /\\\r?\n|[ \t]+|#[^\n]*|&&|;|\r?\n|>|((?:<\([^)\n]*\)|'[^']*'|"[^"$`\\]*"|[^\s'"\\#;&|<>$`()]|(?<=\S)#)+)/gy;

/** Process substitutions `<(…)` stay words. @throws for anything that it does not know: pipes, variables */
export function shellCommands(text: string): ShellCommand[] {
  const commands: ShellCommand[] = [];
  let [words, start, end]: [string[], number, number] = [[], 0, 0];
  const finish = () => {
    if (words.length > 0) commands.push(command(words, text.slice(start, end)));
    words = [];
  };
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`not known to this test: ${text.slice(at).split('\n')[0]}`);
    const [token, word] = match;
    if (word !== undefined || token === '>') {
      if (words.length === 0) start = at;
      words.push(token);
      end = TOKEN.lastIndex;
    } else if (token === '&&' || token === ';' || /^\r?\n$/.test(token)) finish();
  }
  finish();
  return commands;
}

function command(tokens: readonly string[], raw: string): ShellCommand {
  const env: Record<string, string> = {};
  const words = [...tokens];
  for (let pair = /^([A-Z_]+)=(.*)$/.exec(words[0] ?? ''); pair; pair = /^([A-Z_]+)=(.*)$/.exec(words[0] ?? '')) {
    env[pair[1] as string] = unquoted(pair[2] as string);
    words.shift();
  }
  const redirect = words.indexOf('>');
  const stdout = redirect < 0 ? undefined : unquoted(words[redirect + 1] ?? '');
  if (redirect >= 0 && redirect !== words.length - 2) throw new Error(`not known to this test: ${raw}`);
  const rest = redirect < 0 ? words : words.slice(0, redirect);
  return { raw: raw.replace(/\\\r?\n\s*/g, ''), env, words: rest.map(unquoted), stdout };
}

const unquoted = (word: string) => word.replace(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double);
