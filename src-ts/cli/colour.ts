/** When and how text is coloured. Meaning never rests on colour alone. */

export type ColourMode = 'always' | 'never' | 'auto';

export interface Palette {
  readonly red: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly green: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
}

/** The flag decides first, then NO_COLOR, then FORCE_COLOR, then whether a terminal reads along. */
export function wantsColour(mode: ColourMode, env: Readonly<NodeJS.ProcessEnv>, isTerminal: boolean): boolean {
  if (mode !== 'auto') return mode === 'always';
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false';
  return isTerminal && env.TERM !== 'dumb';
}

export function palette(coloured: boolean): Palette {
  const paint = (codes: string) => (text: string) =>
    coloured && text !== '' ? `\u001b[${codes}m${text}\u001b[0m` : text;
  return { red: paint('1;31'), yellow: paint('33'), green: paint('32'), bold: paint('1'), dim: paint('2') };
}
