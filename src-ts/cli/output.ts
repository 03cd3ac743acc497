/** Where results, errors and warnings of a command go: results to stdout, everything else to stderr. */
import { ArrowQuantError } from '../errors/classes.js';
import { escapeText } from '../errors/text.js';
import { type ColourMode, type Palette, palette, wantsColour } from './colour.js';
import { renderError } from './render-error.js';

const MAX_WIDTH = 100;
const MIN_WIDTH = 40;

export interface OutputFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly color?: ColourMode;
}

/** A line of a result. What it holds may come from a file, so it is coloured here, once it is escaped. */
export type Line = string | { readonly style: keyof Palette; readonly text: string };

/** A table whose header line stands back. */
export function dimHeader([header = '', ...rows]: readonly string[]): Line[] {
  return [{ style: 'dim', text: header }, ...rows];
}

export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Of stderr. */
  readonly palette: Palette;
  readonly #verbose: boolean;
  readonly #resultPalette: Palette;

  constructor(flags: OutputFlags) {
    this.json = flags.json ?? false;
    this.quiet = flags.quiet ?? false;
    this.#verbose = flags.verbose ?? false;
    const paletteOf = ({ isTTY }: { readonly isTTY?: boolean }) =>
      palette(!this.json && wantsColour(flags.color ?? 'auto', process.env, isTTY === true));
    this.palette = paletteOf(process.stderr);
    this.#resultPalette = paletteOf(process.stdout);
  }

  /** For the time before the arguments are understood; a wrong argument must be reported in the wanted form too. */
  static before(args: readonly string[]): Output {
    const flags = args.slice(0, args.includes('--') ? args.indexOf('--') : undefined);
    const colour = flags
      .map((flag) => /^--color=(always|never|auto)$/.exec(flag)?.[1])
      .find((mode) => mode !== undefined);
    return new Output({
      json: flags.includes('--json'),
      verbose: flags.includes('--verbose'),
      ...(colour === undefined ? {} : { color: colour as ColourMode }),
    });
  }

  /** A reader that closed the pipe (`| head`) has seen enough. */
  static endQuietlyOnClosedPipe(): void {
    for (const stream of [process.stdout, process.stderr]) {
      stream.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EPIPE') throw error;
        process.exit();
      });
    }
  }

  /** The result: one JSON line, or the lines for people; `width` is that of the terminal, and without one nothing is cut. */
  result(report: object, lines: (width: number) => readonly Line[]): void {
    const shown = (line: Line) =>
      typeof line === 'string' ? safeLine(line) : this.#resultPalette[line.style](safeLine(line.text));
    const width = (process.stdout.isTTY && process.stdout.columns) || Number.POSITIVE_INFINITY;
    const text = this.json ? JSON.stringify({ ok: true, report }) : lines(width).map(shown).join('\n');
    process.stdout.write(`${text}\n`);
  }

  warning(code: string, message: string): void {
    if (this.json || this.quiet) return; // --json carries them in the report
    process.stderr.write(`${this.palette.yellow('warning')} ${code}  ${safeLine(message)}\n`);
  }

  failure(error: unknown): void {
    if (this.json) {
      const report = error instanceof ArrowQuantError ? (error.report ?? null) : null;
      process.stdout.write(`${JSON.stringify({ ok: false, error: asData(error), report })}\n`);
      return;
    }
    // Some terminals say that they have no columns at all.
    const width = Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, process.stderr.columns || MAX_WIDTH));
    const text = renderError(error, { palette: this.palette, width, verbose: this.#verbose });
    process.stderr.write(`${text}\n`);
  }
}

function asData(error: unknown): object {
  if (error instanceof ArrowQuantError) return error.toJSON();
  return { name: error instanceof Error ? error.name : typeof error, message: String(error), code: null };
}

function safeLine(line: string): string {
  return line.split('\n').map(escapeText).join('\n');
}
